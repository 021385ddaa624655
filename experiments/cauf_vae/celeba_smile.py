"""CauF-VAE on CelebA: smiling, and what it causes.

    cdis data prepare celeb_a/64 --manual_dir FOLDER
    cdis train --config experiments/cauf_vae/celeba_smile.py --workdir runs/celeba_smile
    cdis evaluate --workdir runs/celeba_smile

CelebA is fetched by hand; the first command says what to put into FOLDER. The graph is DEAR's.
Labels are binary: a latent is the logit of its attribute. So the flow is fitted, before images are
drawn, to what an encoder makes of images (`flow.fit_to`), and not to labels, which are not on the
scale of logits. Much of a photograph is told by no attribute: 64 more latents, whose KL divergence
weighs four times as much, so that they do not say what the labelled ones can. Weights and networks
are ours. For a GPU. Not measured: no copy of the data was at hand.
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
    config.data.name = "celeb_a/smile"
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
