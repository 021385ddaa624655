"""CauF-VAE on Flow: a ball, water, a hole and a jet.

    cdis train --config experiments/cauf_vae/flow.py --workdir runs/flow
    cdis evaluate --workdir runs/flow

As `pendulum.py`, with half of the steps: for a GPU. Not measured.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum = beside(__file__, "pendulum")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or with "smoke" two steps of each stage with tiny networks."""
    config = pendulum(variant)
    override(config, {"data.name": "flow/default"})
    if variant != "smoke":
        override(config, {"stages.flow.steps": 5000, "stages.images.steps": 20000})
    return config
