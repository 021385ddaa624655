"""Joint CT-VAE on coloured sprites or oriented ones: minutes on two CPU cores.

    cdis train --config experiments/ct_vae/quickstart.py --workdir runs/quickstart
    cdis train --config experiments/ct_vae/quickstart.py:oriented --workdir runs/oriented

The recipe fits itself to the data; others than these need no settings, but perhaps more steps:

    cdis train --config ct_vae/quickstart --config.data.name=own:FOLDER --workdir runs/own
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
