"""CT-VAE as we ship it, on 10,000 rooms (rooms3d/small): meant for two CPU cores.

    cdis train --config experiments/ct_vae/rooms3d_cpu.py --workdir runs/rooms3d_cpu

The recipe of experiments/ct_vae/quickstart.py. An image has four times its pixels, so patches are
twice as wide; rooms are richer than sprites on black, so the decoder has more terms. Sums over
pixels weigh an eighth: with a quarter, the hues of floor and wall, which colour most pixels, took
nodes that other factors needed in two of three seeds.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

quickstart = beside(__file__, "quickstart")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" is two steps of each stage on small drawn images."""
    if variant not in ("", "smoke"):
        raise ValueError(f"no variant {variant!r}; there is only 'smoke'")
    config = quickstart(variant)
    if variant == "smoke":
        return config
    override(
        config,
        {
            "data.name": "rooms3d/small",
            "model.autoencoder.patch": 4,
            "model.autoencoder.decoder_rank": 48,
            "model.weights.reconstruction": config.model.weights.reconstruction / 8,
            "model.weights.image": config.model.weights.image / 8,
        },
    )
    return config
