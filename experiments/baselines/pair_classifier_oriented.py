"""The practical ceiling of action retrieval on sprites2d/oriented: a supervised pair classifier.

cdis train --config experiments/baselines/pair_classifier_oriented.py --workdir runs/ceiling
cdis evaluate --workdir runs/ceiling

One seed: all 1,122 test pairs right, directed and undirected, after 1033 s on one core of a busy
machine; validation accuracy is 1.000 from step 500 on.
"""

from ml_collections import ConfigDict

from cdis.config import common, stage


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or with "smoke" two steps of it with a tiny network."""
    if variant not in ("", "smoke"):
        raise ValueError(f"no variant {variant!r}; there is only 'smoke'")
    smoke = variant == "smoke"
    config = common()
    config.method = "cdis.methods.pair_classifier"
    config.data.name = "sprites2d/oriented"
    config.validate_every = 250
    config.checkpoint_every = 250
    config.stages.classifier = stage(
        steps=2 if smoke else 1000,
        batch_size=8 if smoke else 128,
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=0 if smoke else 100,
        weight_decay=1e-2,
        clip_norm=1.0,
    )
    config.model.first_stride = 4  # pixels
    config.model.widths = (4, 4) if smoke else (32, 32, 32)  # of the convolutions on one image
    config.model.pair_width = 4 if smoke else 48  # of those on a pair
    config.model.hidden = 8 if smoke else 256
    return config.lock()
