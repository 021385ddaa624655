"""Anchored CauF-VAE on noisy Pendulum: Gaussian noise on the shadow's length and position.

    cdis train --config cauf_vae/pendulum_noisy --workdir runs/pendulum_noisy
    cdis evaluate --workdir runs/pendulum_noisy

As `pendulum.py`, on data whose shadows are not determined by their causes alone. Not measured.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum = beside(__file__, "pendulum")


def get_config() -> ConfigDict:
    """The experiment."""
    config = pendulum()
    override(config, {"data.name": "pendulum/noisy", "stages.flow.steps": 5000})
    return config
