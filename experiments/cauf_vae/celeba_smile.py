"""Anchored CauF-VAE on CelebA: smiling, and what it causes.

    cdis data prepare celeb_a/64 --manual_dir FOLDER
    cdis train --config cauf_vae/celeba_smile --workdir runs/celeba_smile
    cdis evaluate --workdir runs/celeba_smile

CelebA must be downloaded by hand; the first command says what to put into FOLDER. The graph is
DEAR's. Labels are binary, and each latent is the logit of its attribute. Labels are not on the
scale of logits, so the causal flow is fitted to the latents of an encoder (`flow.fit_to`), which
comes first. Attributes describe little of a photograph: 64 extra latents hold the rest, and their
KL divergence has four times the weight, so that they do not hold what the labelled ones can.
Weights and networks are ours. For a GPU. Not measured: no copy of the data was available.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override, stage

pendulum = beside(__file__, "pendulum")


def get_config() -> ConfigDict:
    """The experiment."""
    config = pendulum()
    config.stages.encoder = stage(
        steps=10000, batch_size=128, learning_rate=1e-3, schedule="cosine", warmup_steps=500
    )
    override(
        config,
        {
            "data.name": "celeb_a/smile",
            "stages.images.steps": 100_000,
            "model.extra": 64,
            "model.autoencoder.rank": 0,
            "model.flow.fit_to": "images",
            "model.weights.extra": 4.0,
            "model.weights.alignment": 1000.0,
        },
    )
    return config
