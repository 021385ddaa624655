"""CauF-VAE on noisy Pendulum: Gaussian noise on the shadow's length and position.

    cdis train --config experiments/cauf_vae/pendulum_noisy.py --workdir runs/pendulum_noisy
    cdis evaluate --workdir runs/pendulum_noisy

As `pendulum.py`; the flow's noise now has something to say. Not measured.
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
    config.data.name = "pendulum/noisy"
    config.validate_every = 1000
    config.checkpoint_every = 1000
    config.stages.flow = stage(
        steps=2 if smoke else 5000,
        batch_size=8 if smoke else 256,
        learning_rate=1e-2,
        schedule="cosine",
        warmup_steps=1 if smoke else 100,
        clip_norm=10.0,
    )
    config.stages.images = stage(
        steps=2 if smoke else 40000,
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
            "extra": 0,  # latents beyond the labelled ones
            "posterior_floor": 0.03,  # of the standard deviation of eps
            "pixel_std": 0.1,  # of the decoder's Gaussian, for pixels in [0, 1]
            "prior_hidden": 4 if smoke else 16,
            "autoencoder": {
                "patch": 4,  # pixels
                "width": 4 if smoke else 64,
                "hidden": 8 if smoke else 512,
                "rank": 2 if smoke else 48,  # of the separable pictures; 0: convolutions
            },
            "flow": {
                "graph": (),  # the data set's
                "order_only": False,
                "transform": "affine",  # | "spline"
                "hidden": 4 if smoke else 64,
                "fit_to": "labels",  # | "images"
                "blur": 0.05,  # of standardised labels, when the flow is fitted
                "frozen": True,
                "threshold": 0.2,  # a weaker edge counts as absent
            },
            "weights": {
                "reconstruction": 1.0,
                "kl": 1.0,
                "extra": 1.0,
                "alignment": 2000.0,
                "flow": 0.0,
                "group_lasso": 0.0,
            },
        }
    )
    return config.lock()
