"""Anchored CauF-VAE on images of your own: a few minutes on one CPU core.

    cdis train --config cauf_vae/own --config.data.name=own:FOLDER --workdir runs/own
    cdis evaluate --workdir runs/own
    cdis intervene --workdir runs/own X.png --do FACTOR=VALUE --out Y.png

The folder's about.json names the edges of the causal graph; without one, give
--config.model.flow.order_only=true, so that every factor may depend on those before it. The recipe
of `pendulum_cpu.py`; more images need more steps (--config.stages.images.steps=5000). If labels
describe only a part of what is seen, --config.model.extra=16 adds latents for the rest. The variant
"binary" is for causes or effects with two values, whose latents are logits: as in
`celeba_smile.py`, an encoder comes first, and the causal flow is fitted to its latents.
"""

from ml_collections import ConfigDict

from cdis.config import override, stage
from cdis.methods import anchored_cauf_vae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or its variant "binary"; the data are to be named."""
    if variant not in ("", "binary"):
        raise ValueError(f"no variant {variant!r}; there are 'binary' and 'smoke'")
    config = anchored_cauf_vae.defaults()
    config.data.name = "own:"
    if variant == "binary":
        override(config, {"model.flow.fit_to": "images"})
        config.stages.encoder = stage(
            steps=1000,
            batch_size=64,
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=100,
            clip_norm=1.0,
        )
    return config
