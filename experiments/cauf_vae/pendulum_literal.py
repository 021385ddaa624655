"""CauF-VAE as published, on clean Pendulum: everything at once, and a flow with weak edges.

    cdis train --config experiments/cauf_vae/pendulum_literal.py --workdir runs/pendulum_literal
    cdis evaluate --workdir runs/pendulum_literal

Labels go into the encoder, which tells the noise; the flow has no other teacher than the ELBO and
the alignment of its outputs. That latents agree with their factors does not show that interventions
work: measure those, and look at the strengths of the edges in the log. Settings that the paper does
not give, or that were not at hand, are ours: the weight of the alignment, the networks, the
training. README has what came of it.
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
    config.data.name = "pendulum/clean"
    config.validate_every = 500
    config.checkpoint_every = 500
    config.stages.images = stage(
        steps=2 if smoke else 3000,
        batch_size=8 if smoke else 64,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=1 if smoke else 100,
    )
    config.model = ConfigDict(
        {
            "head": "noise",  # | "factor"
            "labels_into_encoder": True,
            "label_fraction": 1.0,
            "tinted": False,  # half of the images in another light
            "extra": 0,  # latents beyond the labelled ones
            "posterior_floor": 0.0,  # of the standard deviation of eps
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
                "order_only": False,
                "transform": "affine",  # | "spline"
                "hidden": 4 if smoke else 64,
                "fit_to": "labels",  # | "images"
                "blur": 0.05,  # of standardised labels, when the flow is fitted
                "frozen": False,
                "threshold": 0.2,  # a weaker edge counts as absent
            },
            "weights": {
                "reconstruction": 1.0,
                "kl": 1.0,
                "extra": 1.0,
                "alignment": 100.0,
                "flow": 0.0,
                "group_lasso": 0.0,
            },
        }
    )
    return config.lock()
