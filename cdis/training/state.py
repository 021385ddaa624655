"""The state of a training run."""

from typing import Any, NamedTuple

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from cdis.methods.base import Objective, Variables

#: Parameters by path, ``{"encoder/conv/kernel": array}``.
Flat = dict[str, Any]


class State(NamedTuple):
    """Everything that a step changes."""

    variables: Variables
    #: an optax state for each objective of the current stage, over the parameters that it trains
    optimizer: Any
    step: Any  #: int32 scalar, counted over all stages


def split(params: Any, objective: Objective) -> tuple[Flat, Flat]:
    """The parameters that `objective` trains and the others, both by path."""
    flat = flatten_dict(params, sep="/")
    trained = {
        path: leaf for path, leaf in flat.items() if objective.trainable(tuple(path.split("/")))
    }
    return trained, {path: leaf for path, leaf in flat.items() if path not in trained}


def merge(trained: Flat, frozen: Flat) -> Any:
    """The inverse of `split`."""
    return unflatten_dict(trained | frozen, sep="/")


def by_path(tree: Any) -> Flat:
    """All leaves of any tree by path, ``{"params/encoder/conv/kernel": leaf}``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
