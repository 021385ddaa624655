"""Which factors of Pendulum cause which? Learnt from labels, the order alone being known.

    cdis train --config experiments/cauf_vae/structure_pendulum.py --workdir runs/structure_pendulum
    cdis evaluate --workdir runs/structure_pendulum

First every edge that the order allows is paid for, then what is weaker than `flow.threshold` is cut
and the flow fitted again without a price; metrics.json has the structural Hamming distance to the
true graph. --config.data.name=pendulum/clean learns from labels without noise. The variant "images"
takes the encoder's latents of images in place of labels. No edge was wrong
in any of thirteen runs; see README.
"""

from ml_collections import ConfigDict

from cdis.config import common, stage


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variants are "images", and "smoke", two steps with tiny networks."""
    if variant not in ("", "images", "smoke"):
        raise ValueError(f"no variant {variant!r}; there are 'images' and 'smoke'")
    smoke = variant == "smoke"
    config = common()
    config.method = "cdis.methods.cauf_vae"
    config.data.name = "pendulum/noisy"
    config.validate_every = 1000
    config.checkpoint_every = 1000
    if variant == "images":
        config.stages.encoder = stage(
            steps=1500,
            batch_size=64,
            learning_rate=2e-3,
            schedule="cosine",
            warmup_steps=100,
        )
    config.stages.structure = stage(
        steps=2 if smoke else 4000,
        batch_size=8 if smoke else 256,
        learning_rate=5e-3,
        schedule="cosine",
        warmup_steps=1 if smoke else 100,
        clip_norm=10.0,
    )
    config.stages.flow = stage(
        steps=2 if smoke else 2000,
        batch_size=8 if smoke else 256,
        learning_rate=5e-3,
        schedule="cosine",
        warmup_steps=1 if smoke else 100,
        clip_norm=10.0,
    )
    config.model = ConfigDict(
        {
            "head": "factor",  # | "noise"
            "labels_into_encoder": False,
            "label_fraction": 1.0,
            "tinted": False,  # half of the images in another light
            "extra": 0,  # latents beyond the labelled ones
            "posterior_floor": 0.03,  # of the standard deviation of eps
            "pixel_std": 0.1,  # of the decoder's Gaussian, for pixels in [0, 1]
            "prior_hidden": 4 if smoke else 16,
            "autoencoder": {
                "patch": 4,  # pixels
                "width": 4 if smoke else 32,
                "hidden": 8 if smoke else 256,
                "rank": 2 if smoke else 48,  # of the separable pictures; 0: convolutions
            },
            "flow": {
                "graph": (),  # the data set's
                "order_only": True,
                "transform": "affine",  # | "spline"
                "hidden": 4 if smoke else 64,
                "fit_to": "images" if variant == "images" else "labels",
                "blur": 0.05,  # of standardised labels, when the flow is fitted
                "frozen": False,
                "threshold": 0.2,  # a weaker edge counts as absent
            },
            "weights": {
                "reconstruction": 1.0,
                "kl": 1.0,
                "extra": 1.0,
                "alignment": 2000.0,
                "flow": 0.0,
                "group_lasso": 0.03,
            },
        }
    )
    return config.lock()
