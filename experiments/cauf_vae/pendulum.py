"""Anchored CauF-VAE on clean Pendulum, the larger run.

    cdis train --config cauf_vae/pendulum --workdir runs/pendulum
    cdis evaluate --workdir runs/pendulum

As `pendulum_cpu.py`, with wider networks and more than ten times the steps: for a GPU. Not measured
yet.
"""

from ml_collections import ConfigDict

from cdis.config import override
from cdis.methods import anchored_cauf_vae


def get_config() -> ConfigDict:
    """The experiment."""
    config = anchored_cauf_vae.defaults()
    override(
        config,
        {
            "validate_every": 1000,
            "checkpoint_every": 1000,
            "stages.flow.steps": 10000,
            "stages.images.steps": 40000,
            "stages.images.batch_size": 128,
            "stages.images.learning_rate": 1e-3,
            "stages.images.warmup_steps": 500,
            "model.autoencoder.width": 64,
            "model.autoencoder.hidden": 512,
        },
    )
    return config
