"""CT-VAE on coloured sprites, in a few minutes on two CPU cores.

cdis train --config experiments/ct_vae/quickstart.py --workdir runs/quickstart
"""

from ml_collections import ConfigDict

from cdis.config import common, stage


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" is the same, shrunk to a few steps."""
    config = common()
    config.method = "cdis.methods.ct_vae"
    config.data.name = "sprites2d/coloured"
    settings = dict(schedule="cosine", warmup_steps=100, weight_decay=1e-4, clip_norm=1.0)
    config.stages.autoencoder = stage(steps=2500, batch_size=64, learning_rate=4e-3, **settings)
    config.stages.transition = stage(steps=500, batch_size=64, learning_rate=1e-3, **settings)
    config.model = ConfigDict(
        {
            "joint": True,
            "modes": "together",  # | "alternating"
            "reverse": True,
            "gates": "deterministic",  # | "stochastic"; of evaluation
            "reconstruction": "cross_entropy",  # | "squared_error"
            "edge_rate": 0.1,
            "autoencoder": {
                "kind": "compact",  # | "grid"
                "width": 32,
                "hidden": 256,
                "decoder_hidden": (512, 512),
                "widths": (64, 128, 256),  # of kind "grid", as are the residual blocks
                "residual_blocks": 6,
            },
            "codes": {
                "num_codebooks": 10,
                "num_codes": 8,
                "code_dim": 2,
                "initial_scale": 0.8,
                "gradient": "assignment",  # | "copy"
                "assignment_temperature": 0.25,
                "decay": 0.0,  # of a moving-average codebook; 0: trained by gradient
                "restart_below": 0.0,  # uses a step, of a moving-average codebook; 0: never
            },
            "transition": {
                "kind": "graph",  # | "dense"
                "dense_hidden": (256, 256),
                "embedding": 32,
                "mask": "table",  # | "additive"
                "edge_hidden": 8,
                "message_heads": 1,  # 0: 1 + A
                "message_hidden": (8,),
                "mechanism": "per_node",  # | "shared"
                "copy": True,
                "noise": "off",  # | "exo" | "endo"
            },
            "retrieval": {
                "over_nodes": "sum",
                "temperature": 0.5,
                "learned_temperature": True,
            },
            "weights": {
                "reconstruction": 0.01,
                "codebook": 0.25,
                "commitment": 0.0625,
                "usage": 0.5,
                "doubt": 0.25,
                "retrieval": 2.0,
                "action": 0.5,
                "image": 0.01,
                "base": 0.0,
                "identity": 0.0,
                "edge_prior": 0.0,
                "graph_size": 0.0,
                "orphans": 0.0,
                "mask": 0.0,
            },
        }
    )
    if variant == "smoke":
        for settings in config.stages.values():
            settings.steps, settings.batch_size, settings.warmup_steps = 2, 8, 1
    return config
