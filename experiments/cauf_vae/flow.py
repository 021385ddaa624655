"""Anchored CauF-VAE on Flow: a ball, water, a hole and a jet.

    cdis train --config cauf_vae/flow --workdir runs/flow
    cdis evaluate --workdir runs/flow

As `pendulum.py`, with half of the steps: for a GPU. Not measured.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum = beside(__file__, "pendulum")


def get_config() -> ConfigDict:
    """The experiment."""
    config = pendulum()
    override(
        config,
        {"data.name": "flow/default", "stages.flow.steps": 5000, "stages.images.steps": 20000},
    )
    return config
