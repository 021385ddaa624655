"""Anchored CauF-VAE on Flow: a ball, water, a hole and a jet. Minutes on two CPU cores.

    cdis train --config cauf_vae/flow --workdir runs/flow
    cdis evaluate --workdir runs/flow

The recipe of `pendulum_cpu.py`, nothing tuned.

Held-out images, three seeds: R^2 of the worst labelled latent .9996; under do() of a cause, R^2 of
the worst effect .999, largest drift .020. About 160 s of one core.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum_cpu = beside(__file__, "pendulum_cpu")


def get_config() -> ConfigDict:
    """The experiment."""
    config = pendulum_cpu()
    override(config, {"data.name": "flow/default"})
    return config
