"""beta-VAE on clean Pendulum, beside CauF-VAE: about four minutes on two CPU cores.

    cdis train --config experiments/baselines/beta_vae_pendulum_cpu.py --workdir runs/beta_vae
    cdis evaluate --workdir runs/beta_vae

The networks, the likelihood, the number of latents and of training steps on images, and the batches
are those of `experiments/cauf_vae/pendulum_cpu.py`. Its learning rate is not: with that, two of
three seeds ended with a decoder that draws the mean image whatever the latents say. Without labels;
`--config.model.beta=1.0` is the VAE, `--config.model.penalty=total_correlation` the beta-TCVAE.
Variants:

    "tinted"             beside CauF-VAE's: half of the images in another light, and a latent more
    "supervised"         the labels that CauF-VAE has, with the same weight
    "tinted_supervised"  both

README has the variants "tinted" and "tinted_supervised" beside CauF-VAE.
"""

from ml_collections import ConfigDict

from cdis.config import common, stage

VARIANTS = ("", "smoke", "tinted", "supervised", "tinted_supervised")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment or a variant of it; "smoke" is two steps with tiny networks."""
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS[1:])}")
    smoke, tinted = variant == "smoke", "tinted" in variant
    config = common()
    config.method = "cdis.methods.beta_vae"
    config.data.name = "pendulum/clean"
    config.validate_every = 500
    config.checkpoint_every = 500
    config.stages.images = stage(
        steps=2 if smoke else 5000,
        batch_size=8 if smoke else 64,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=1 if smoke else 100,
    )
    config.model = ConfigDict(
        {
            "beta": 4.0,
            "penalty": "kl",  # | "total_correlation"
            "latents": 5 if tinted else 4,
            "tinted": tinted,  # half of the images in another light
            "pixel_std": 0.1,  # of the decoder's Gaussian, for pixels in [0, 1]
            "autoencoder": {
                "patch": 4,  # pixels
                "width": 4 if smoke else 32,
                "hidden": 8 if smoke else 256,
                "rank": 2 if smoke else 48,  # of the separable pictures; 0: convolutions
            },
            "weights": {"alignment": 2000.0 if "supervised" in variant else 0.0},
        }
    )
    return config.lock()
