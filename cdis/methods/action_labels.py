"""Labels of actions that are few or partly wrong: which pairs have one, and what to believe.

Fields of `config.model.action_labels`:

    fraction        the share of training pairs with a label
    wrong           the share of these labels that is replaced by a wrong one, for experiments
    assumed_wrong   the share of labels that the loss takes to be wrong
    ramp            two steps of the first stage: up to the first one, pairs without a label teach
                    nothing and labels are taken to be right; all of this holds from the second on

A pair and its reverse count as one: they have a label both or neither, and both are right or both
wrong. A hash of the pair decides, so the choice never changes. Pairs for validation and tests keep
their true actions.

The action of a pair is a latent variable. Its prior is uniform without a label; with one it is
`1 - e` for the label and `e / (A - 1)` for every other action, where e is `assumed_wrong`. Losses
use the most probable action, given label and codes, weighted by its probability: expectation-
maximisation with a hard choice, as in Lee, "Pseudo-label" (2013), weighted.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Int64
from ml_collections import ConfigDict

from cdis.data.examples import PAIRS, Examples, Rows
from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.ops.actions import opposite

#: The label of a pair without one.
UNKNOWN = -1


def defaults() -> dict[str, Any]:
    """Every pair has its true label."""
    return {"fraction": 1.0, "wrong": 0.0, "assumed_wrong": 0.0, "ramp": (1000, 2000)}


def check(config: ConfigDict, info: Info) -> None:
    """Raise `UserError` for shares that make no sense."""
    if not 0 < config.fraction <= 1:
        raise UserError(
            f"config.model.action_labels.fraction is {config.fraction:g}, but must be above 0 and "
            "at most 1: without any label nothing says which action is which."
        )
    most = 1 - 1 / info.num_actions
    for name in ("wrong", "assumed_wrong"):
        if not 0 <= config[name] < most:
            raise UserError(
                f"config.model.action_labels.{name} is {config[name]:g}, but must be at least 0 "
                f"and below {most:g}, the share at which labels of {info.num_actions} actions say "
                "nothing."
            )


def check_data(config: ConfigDict, dataset: Dataset) -> tuple[str, ...]:
    """A line for the log: how many training pairs have a label, and how many labels are wrong.

    Raises `UserError` if an action has training pairs, but none with a label.
    """
    if rows(config) is PAIRS:
        return ()
    pairs = PAIRS.find(dataset, dataset.splits["train"])
    label, action = _labels(config, pairs, dataset.info), pairs.labels["action"]
    known = label != UNKNOWN
    missing = np.setdiff1d(action, label[known])
    if len(missing):
        raise UserError(
            f"config.model.action_labels.fraction is {config.fraction:g}, which leaves labels on "
            f"{known.sum():,} of {len(label):,} training pairs of {dataset.info.name}, and none of "
            f"the action {dataset.info.action_names[missing[0]]}. Raise it."
        )
    wrong = int((label != action)[known].sum())
    return (
        f"Action labels: {int(known.sum()):,} of {len(label):,} training pairs have one; {wrong:,} "
        "of these are wrong (config.model.action_labels).",
    )


def rows(config: ConfigDict) -> Rows:
    """Pairs whose "action", in the split "train", is their label or `UNKNOWN`.

    Where fewer than half of the pairs have a label, those that do are repeated, so that they make
    up half of the batches.
    """
    if config.fraction == 1 and config.wrong == 0:
        return PAIRS

    def find(dataset: Dataset, index: Int64[np.ndarray, " n"]) -> Examples:
        pairs = PAIRS.find(dataset, index)
        if not np.array_equal(index, dataset.splits["train"]):
            return pairs
        label = _labels(config, pairs, dataset.info)
        known, unknown = np.flatnonzero(label != UNKNOWN), np.flatnonzero(label == UNKNOWN)
        chosen = np.concatenate([np.resize(known, max(len(known), len(unknown))), unknown])
        images = {role: image[chosen] for role, image in pairs.images.items()}
        return Examples(images, {"action": label[chosen]})

    return Rows("pairs", find)


def _labels(config: ConfigDict, pairs: Examples, info: Info) -> Int32[np.ndarray, " p"]:
    """The label of each pair, or `UNKNOWN`."""
    action, backward = pairs.labels["action"], pairs.images["x"] > pairs.images["y"]
    label = np.where(backward, opposite(action, info.num_factors), action)
    wrong = _lots(pairs, 1) < config.wrong
    others = info.num_actions - 1
    label = (label + wrong * (1 + (_lots(pairs, 2) * others).astype(int))) % info.num_actions
    label = np.where(backward, opposite(label, info.num_factors), label)
    return np.where(_lots(pairs, 0) < config.fraction, label, UNKNOWN).astype(np.int32)


def _lots(pairs: Examples, purpose: int) -> Float[np.ndarray, " p"]:
    """A number in [0, 1) for each pair, the same for its reverse.

    The multipliers are those of SplitMix64 (Steele, Lea and Flood 2014).
    """
    x, y = pairs.images["x"], pairs.images["y"]
    mixed = np.full(len(x), purpose, np.uint64)
    for part in (np.minimum(x, y), np.maximum(x, y)):
        mixed += part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) / 2.0**53


class Belief(NamedTuple):
    """What is believed of each pair's action; a constant to gradients."""

    action: Int[Array, " p"]
    weight: Float[Array, " p"]  #: 1: certain


def believe(
    config: ConfigDict,
    label: Int[Array, " p"],
    log_p: Float[Array, "p a"],
    log_p_back: Float[Array, "p a"],
    trust: Float[Array, ""] | float,
) -> Belief:
    """The most probable action of each pair, given its label and its codes.

    Args:
      label: an action or `UNKNOWN`.
      log_p: log probability of each action from x to y, by the codes alone.
      log_p_back: the same from y to x.
      trust: how much the codes may say, from 0 to 1. It multiplies the share of labels taken to be
        wrong, and the weight of pairs without a label.
    """
    if config.fraction == 1 and config.assumed_wrong == 0:
        return Belief(label, jnp.ones(len(label)))
    num_actions = log_p.shape[1]
    actions = jnp.arange(num_actions)
    wrong = trust * config.assumed_wrong
    prior = jnp.where(actions == label[:, None], 1 - wrong, wrong / (num_actions - 1))
    prior = jnp.where(label[:, None] == UNKNOWN, 1 / num_actions, prior)
    evidence = log_p + log_p_back[:, opposite(actions, num_actions // 2)]
    posterior = jax.nn.softmax(jax.lax.stop_gradient(jnp.log(prior) + evidence))
    weight = posterior.max(-1) * jnp.where(label == UNKNOWN, trust, 1.0)
    return Belief(posterior.argmax(-1), weight)
