"""CT-VAE as published (arXiv 2302.00869), on pairs of CelebA's photographs.

    cdis data prepare celeb_a/64 --manual_dir FOLDER
    cdis train --config experiments/ct_vae/celeba.py --workdir runs/celeba
    cdis evaluate --workdir runs/celeba

CelebA is fetched by hand; the first command says what to put into FOLDER. A transition is two
photographs whose first ten attributes agree in all but one, a seeded sample of all such pairs; the
numbers of pairs are very unequal (`cdis data show celeb_a/first_10`), so look at the results of
each action. Published settings, as in `published.py`: 20 epochs of the autoencoder; 100 of the
transitions, of which ours have as many pairs as there are training images, 162,770. For a GPU. Not
measured: no copy of the data was at hand.
"""

from ml_collections import ConfigDict

from cdis.config import common, stage


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" is two steps of a stage with small networks."""
    if variant not in ("", "smoke"):
        raise ValueError(f"no variant {variant!r}; there is only 'smoke'")
    smoke = variant == "smoke"
    config = common()
    config.method = "cdis.methods.ct_vae"
    config.data.name = "celeb_a/first_10"
    config.stages.autoencoder = stage(
        steps=2 if smoke else 50_866,
        batch_size=8 if smoke else 64,
        learning_rate=5e-4,
        schedule="exponential",
        decay_per_epoch=0.98,
    )
    config.stages.transition = stage(
        steps=3 if smoke else 1_017_313,
        batch_size=4 if smoke else 16,
        learning_rate=5e-4,
        schedule="exponential",
        decay_per_epoch=0.994,
    )
    config.model = ConfigDict(
        {
            "joint": False,
            "joint_graph": "learned",  # of a joint stage, as are the ramps
            "ramps": {"transitions": (0, 1), "sharing": (0, 1)},
            "modes": "alternating",
            "reverse": False,
            "gates": "stochastic",
            "reconstruction": "squared_error",
            "edge_rate": 0.1,  # ours; the authors' prior is random
            "autoencoder": {
                "kind": "grid",
                "widths": (8, 8, 8) if smoke else (64, 128, 256),
                "residual_blocks": 1 if smoke else 6,
                "width": 32,  # of kind "compact", as are the three below
                "hidden": 256,
                "decoder_hidden": (256, 256),
                "decoder_rank": 24,
            },
            "codes": {
                "num_codebooks": 1,
                "num_codes": 8 if smoke else 64,
                "code_dim": 8 if smoke else 128,
                "initial_scale": 0.1,
                "gradient": "copy",
                "assignment_temperature": 1.0,
                "decay": 0.0,
                "restart_below": 0.0,
            },
            "transition": {
                "kind": "graph",
                "dense_hidden": (256, 256),
                "embedding": 0,
                "mask": "additive",
                "mask_start": 0.0,
                "edge_start": 0.0,
                "edge_hidden": 8 if smoke else 800,
                "message_heads": 0,
                "message_hidden": (8,) if smoke else (100,),
                "mechanism": "shared",
                "copy": False,
                "noise": "off",
            },
            "retrieval": {
                "over_nodes": "mean",
                "temperature": 1.0,
                "learned_temperature": False,
            },
            "weights": {
                "reconstruction": 1.0,
                "codebook": 1.0,
                "commitment": 0.25,
                "usage": 0.0,
                "doubt": 0.0,
                # gamma = 1.5 times alpha_id, beta, delta and epsilon
                "base": 1.5,
                "identity": 0.015,
                "action": 1.5,
                "retrieval": 1.5,
                "edge_prior": 0.6,
                "graph_size": 0.015,
                "orphans": 0.15,
                "mask": 0.0,
                "sharing": 0.0,
                "image": 0.0,
            },
        }
    )
    return config.lock()
