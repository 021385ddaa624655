"""CT-VAE as we ship it, on 10,000 rooms (rooms3d/small): about seven minutes on two CPU cores.

    cdis train --config experiments/ct_vae/rooms3d_cpu.py --workdir runs/rooms3d_cpu

The recipe of experiments/ct_vae/quickstart.py. An image has four times its pixels, so that sums
over them weigh a quarter and patches are twice as wide; rooms are richer than sprites on black, so
the decoder has more terms. As many nodes have one factor more to hold, so to share one costs more.
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
            "model.weights.sharing": 60.0,
            "model.autoencoder.decoder_rank": 48,
            "model.weights.reconstruction": config.model.weights.reconstruction / 4,
            "model.weights.image": config.model.weights.image / 4,
        },
    )
    return config
