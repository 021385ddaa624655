"""From CT-VAE as published to ours on coloured sprites, one change at a time.

    cdis train --config ct_vae/ablation:VARIANT --workdir runs/ablation_VARIANT
    cdis evaluate --workdir runs/ablation_VARIANT

Each rung of the ladder keeps the changes of those above it:

    (none)     as published: `ct_vae/published`
    networks   our autoencoder of eight nodes, each with a mechanism of its own, and our losses;
               graph, retrieval and training of the codes as published (`cdis.methods.joint_ct_vae`)
    rate       the learning rate is 2e-3, in place of 5e-4
    sum        retrieval sums its evidence over nodes, in place of the mean
    table      a free logit for each hit of an action on a node, with a price on hits, in place of
               the additive mask
    gates      deterministic, in place of stochastic
    joint      transitions shape the codes, in place of reconstruction alone
    sharing    two factors should not move the same node
    consistency  the encoder reads recombined codes off their images: ours, a third as long as the
               quickstart

Two changes make the published autoencoder worse, so they lead off the ladder, from its first rung:

    symmetric  images in [-1, 1], in place of [0, 1]
    normal     code vectors drawn from a normal distribution, of norm 1.1, in place of a uniform one

All rungs but the first take the same steps of batches of the same size: two to three minutes on one
core. A step of the first rung takes about ten times as long, and in three minutes it would learn
nothing; it has the length of `ct_vae/published` instead.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override
from cdis.methods import joint_ct_vae

#: What each rung leaves behind, as it is on the rungs above.
_RUNGS = {
    "networks": {},
    "rate": {"stages.joint.learning_rate": 5e-4, "stages.transition.learning_rate": 5e-4},
    "sum": {"model.retrieval.over_nodes": "mean"},
    "table": {
        "model.transition.mask": "additive",
        "model.transition.mask_start": 0.0,
        "model.transition.edge_start": 0.0,
        "model.weights.mask": 0.0,
    },
    "gates": {"model.gates": "stochastic"},
    "joint": {"model.ramps.transitions": (1_000_000, 1_000_001)},
    "sharing": {"model.weights.sharing": 0.0},
    "consistency": {"model.weights.consistency": 0.0},
}
_BESIDE = {
    "symmetric": {"model.images": "symmetric"},
    "normal": {"model.codes.start": "normal", "model.codes.initial_scale": 0.1},
}


def get_config(variant: str = "") -> ConfigDict:
    """The experiment as published, or one of its variants."""
    if variant in ("", *_BESIDE):
        config = beside(__file__, "published")()
        override(config, _BESIDE.get(variant, {}))
        return config
    if variant in _RUNGS:
        return _ours(variant)
    names = ", ".join(map(repr, (*_RUNGS, *_BESIDE)))
    raise ValueError(f"no variant {variant!r}; there are {names} and 'smoke'")


def _ours(rung: str) -> ConfigDict:
    config = joint_ct_vae.defaults()
    override(config, {"stages.joint.steps": 2000, "stages.transition.steps": 200})
    names = list(_RUNGS)
    for name in names[names.index(rung) + 1 :]:
        override(config, _RUNGS[name])
    return config
