"""CauF-VAE on CelebA: attractiveness, and what is taken to cause it.

    cdis data prepare celeb_a/64 --manual_dir FOLDER
    cdis train --config experiments/cauf_vae/celeba_attractive.py --workdir runs/celeba_attractive
    cdis evaluate --workdir runs/celeba_attractive

As `celeba_smile.py`, with another graph. It is ours, since the paper's could not be read: DEAR's
graph of age, all of which causes Attractive (`cdis.data.celeb_a`); --config.data.name=celeb_a/age
has it without. For a GPU. Not measured: no copy of the data was at hand.
"""

from ml_collections import ConfigDict

from cdis.config import common, stage


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or with "smoke" two steps of each stage with tiny networks."""
    if variant not in ("", "smoke"):
        raise ValueError(f"no variant {variant!r}; there is only 'smoke'")
    smoke = variant == "smoke"
    config = common()
    config.method = "cdis.methods.cauf_vae"
    config.data.name = "celeb_a/attractive"
    config.validate_every = 1000
    config.checkpoint_every = 1000
    config.stages.encoder = stage(
        steps=2 if smoke else 10000,
        batch_size=8 if smoke else 128,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=1 if smoke else 500,
    )
    config.stages.flow = stage(
        steps=2 if smoke else 10000,
        batch_size=8 if smoke else 256,
        learning_rate=1e-2,
        schedule="cosine",
        warmup_steps=1 if smoke else 100,
        clip_norm=10.0,
    )
    config.stages.images = stage(
        steps=2 if smoke else 100_000,
        batch_size=8 if smoke else 128,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=1 if smoke else 500,
    )
    config.model = ConfigDict(
        {
            "head": "factor",  # | "noise"
            "labels_into_encoder": False,
            "label_fraction": 1.0,
            "tinted": False,  # half of the images in another light
            "extra": 2 if smoke else 64,  # latents beyond the labelled ones
            "posterior_floor": 0.03,  # of the standard deviation of eps
            "pixel_std": 0.1,  # of the decoder's Gaussian, for pixels in [0, 1]
            "prior_hidden": 4 if smoke else 16,
            "autoencoder": {
                "patch": 4,  # pixels
                "width": 4 if smoke else 64,
                "hidden": 8 if smoke else 512,
                "rank": 0,  # of separable pictures, as drawn images are; 0: convolutions
            },
            "flow": {
                "graph": (),  # the data set's
                "order_only": False,
                "transform": "affine",  # | "spline"
                "hidden": 4 if smoke else 64,
                "fit_to": "images",  # | "labels"
                "blur": 0.05,  # of standardised labels, when the flow is fitted
                "frozen": True,
                "threshold": 0.2,  # a weaker edge counts as absent
            },
            "weights": {
                "reconstruction": 1.0,
                "kl": 1.0,
                "extra": 4.0,
                "alignment": 1000.0,
                "flow": 0.0,
                "group_lasso": 0.0,
            },
        }
    )
    return config.lock()
