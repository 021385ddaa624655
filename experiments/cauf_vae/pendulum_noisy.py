"""CauF-VAE on noisy Pendulum: Gaussian noise on the shadow's length and position.

    cdis train --config experiments/cauf_vae/pendulum_noisy.py --workdir runs/pendulum_noisy
    cdis evaluate --workdir runs/pendulum_noisy

As `pendulum.py`; the flow's noise now has something to say. Not measured.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum = beside(__file__, "pendulum")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or with "smoke" two steps of each stage with tiny networks."""
    config = pendulum(variant)
    override(config, {"data.name": "pendulum/noisy"})
    if variant != "smoke":
        override(config, {"stages.flow.steps": 5000})
    return config
