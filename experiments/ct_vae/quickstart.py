"""Joint CT-VAE on coloured sprites or oriented ones: minutes on two CPU cores.

    cdis train --config experiments/ct_vae/quickstart.py --workdir runs/quickstart
    cdis train --config experiments/ct_vae/quickstart.py:few_labels --workdir runs/few_labels
    cdis train --config experiments/ct_vae/quickstart.py:noisy_labels --workdir runs/noisy_labels
    cdis train --config experiments/ct_vae/quickstart.py:oriented --workdir runs/oriented

The recipe fits itself to the data; others than these need no settings, but perhaps more steps:

    cdis train --config ct_vae/quickstart --config.data.name=own:FOLDER --workdir runs/own
"""

from ml_collections import ConfigDict

from cdis.methods import joint_ct_vae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or a variant: other sprites, or action labels that are few or wrong."""
    if variant not in ("", "oriented", "few_labels", "noisy_labels"):
        raise ValueError("the variants are 'oriented', 'few_labels', 'noisy_labels' and 'smoke'")
    config = joint_ct_vae.defaults()
    if variant == "few_labels":
        config.model.action_labels.fraction = 0.05
    if variant == "noisy_labels":
        config.model.action_labels.update(wrong=0.1, assumed_wrong=0.1)
    if variant == "oriented":
        config.data.name = "sprites2d/oriented"
        config.stages.joint.steps = 11_000
    return config
