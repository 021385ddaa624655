"""Joint CT-VAE on coloured sprites or oriented ones: minutes on two CPU cores.

    cdis train --config experiments/ct_vae/quickstart.py --workdir runs/quickstart
    cdis train --config experiments/ct_vae/quickstart.py:oriented --workdir runs/oriented

Ours, retrieval of held-out pairs (directed / undirected): coloured 1.000 / 1.000 after 230 s of
training on two cores, oriented .999 / .999 (seed 1) after 484 s on one.
"""

from ml_collections import ConfigDict

from cdis.methods import joint_ct_vae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or its variant "oriented"."""
    if variant not in ("", "oriented"):
        raise ValueError(f"no variant {variant!r}; there are 'oriented' and 'smoke'")
    config = joint_ct_vae.defaults()
    if variant == "oriented":
        config.data.name = "sprites2d/oriented"
        config.stages.joint.steps = 9000
    return config
