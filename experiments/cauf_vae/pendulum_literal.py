"""CauF-VAE as published, on clean Pendulum: everything at once, and a causal flow with weak edges.

    cdis train --config cauf_vae/pendulum_literal --workdir runs/pendulum_literal
    cdis evaluate --workdir runs/pendulum_literal

Only the ELBO and the alignment of the encoder's outputs with labels teach the causal flow. The
networks and the budget, 2,000 steps of 64 images, are those of `pendulum_cpu.py`. The paper's
protocol is not known in full (`cdis.methods.cauf_vae`), so there are four variants:

    (none)          half of the training images hide their labels from the encoder, and evaluation
                    gives it images alone
    labels_given    the encoder reads the labels of all images, in training and in evaluation: the
                    paper, as we read it. That its latents agree with the labels proves nothing
    no_labels       the encoder reads images alone, in training as well
    standard_prior  as no_labels, and the causal flow is the prior of the latents, without p(z|u)

The weight of the alignment and the learning rate, which we do not know of the paper, are ours.

Latents that agree with their factors do not prove that interventions work: measure those, and look
at the strengths of the edges in the log.

Held-out images, labels_given, three seeds: R^2 of the worst latent .999, mean squared error of
reconstructions 5.2e-5, but R^2 of the worst effect under do() of a cause .08 to .33.
"""

from ml_collections import ConfigDict

from cdis.config import override
from cdis.methods import cauf_vae

_VARIANTS = {
    "": {},
    "labels_given": {"model.labels_hidden": 0.0, "model.labels_at_evaluation": True},
    "no_labels": {"model.labels_into_encoder": False},
    "standard_prior": {"model.labels_into_encoder": False, "model.prior": "standard"},
}


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or one of its variants."""
    if variant not in _VARIANTS:
        names = ", ".join(f"{name!r}" for name in _VARIANTS if name)
        raise ValueError(f"no variant {variant!r}; there are {names} and 'smoke'")
    config = cauf_vae.defaults()
    override(config, _VARIANTS[variant])
    return config
