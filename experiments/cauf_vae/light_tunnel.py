"""Anchored CauF-VAE on the simulated light tunnel.

    pip install 'cdis[chamber]'
    cdis train --config cauf_vae/light_tunnel --workdir runs/light_tunnel
    cdis evaluate --workdir runs/light_tunnel

As `pendulum_cpu.py`, with 3,000 steps on images instead of 5,000 and clipped gradients.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum_cpu = beside(__file__, "pendulum_cpu")


def get_config() -> ConfigDict:
    """The experiment."""
    config = pendulum_cpu()
    override(
        config,
        {
            "data.name": "light_tunnel/default",
            "stages.images.steps": 3000,
            "stages.images.clip_norm": 1.0,
        },
    )
    return config
