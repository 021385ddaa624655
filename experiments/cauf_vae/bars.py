"""Anchored CauF-VAE on ten bars with a nonlinear, noisy causal model. Minutes on two CPU cores.

    cdis train --config cauf_vae/bars --workdir runs/bars
    cdis evaluate --workdir runs/bars
    cdis train --config cauf_vae/bars --config.data.name=bars/16_seed3 --workdir runs/bars16

The recipe of `pendulum_cpu.py`, nothing tuned.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum_cpu = beside(__file__, "pendulum_cpu")


def get_config() -> ConfigDict:
    """The experiment."""
    config = pendulum_cpu()
    override(config, {"data.name": "bars/10"})
    return config
