"""What a method is: a small tuple of pure functions, as an optax optimiser is.

A method module has one public function, ``make(config, info) -> Method``; the training loop finds
it through ``config.method`` and calls nothing else of it. Everything a trained method can do is a
field of the tuple; what it cannot do is ``None``, and evaluation leaves that part out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

#: ``{"params": tree, ...}``; "params" is what the optimiser trains, other collections (such as
#: codebooks kept by moving averages) are replaced by what the loss returns in ``Aux.variables``.
Variables = dict[str, Any]
#: ``{"x": {column: [B, ...]}}`` and, for pairs, also ``"y"`` and ``"action"`` (int32 ``[B]``).
Batch = dict[str, Any]


class Aux(NamedTuple):
    """What a loss returns beside its value."""

    metrics: dict[str, Array]  #: scalars for the log
    variables: Variables  #: new values of collections other than "params"; ``{}`` if none


class Stage(NamedTuple):
    """One training stage; the loop runs a method's stages one after another."""

    name: str  #: ``config.stages[name]`` holds its steps, batch size and optimiser settings
    inputs: str  #: "images" or "pairs"
    #: what a batch holds of each image: "image", "factors" (int32 [B, F], indices), "values"
    #: (float32 [B, F], physical) or keys of `precompute`
    columns: tuple[str, ...]
    #: ``(variables, batch, key, step, axis_name) -> (scalar, Aux)``; `step` counts in the stage
    loss: Callable[..., tuple[Array, Aux]]
    #: path of a parameter inside "params" -> is it trained in this stage?
    trainable: Callable[[tuple[str, ...]], bool]
    #: ``(variables, images uint8 [B, H, W, C]) -> {column: [B, ...]}``, computed once for every
    #: image when the stage begins
    precompute: Callable[..., dict[str, Array]] | None = None


class Method(NamedTuple):
    """A method: what it starts from, how it trains and what it can do afterwards.

    Images go in as uint8 ``[B, H, W, C]`` and come out as float32 in [-1, 1].
    """

    init: Callable[..., Variables]  #: ``(key, batch) -> variables``
    stages: tuple[Stage, ...]
    #: ``(variables, images) -> {"vectors": float32 [B, d], "codes": int32 [B, N] (if any)}``
    encode: Callable[..., dict[str, Array]] | None = None
    decode: Callable[..., Array] | None = None  #: ``(variables, representation) -> images``
    #: ``(variables, x, y) -> probabilities float32 [B, A]`` of the action that lies between them
    retrieve: Callable[..., Array] | None = None
    intervene: Callable[..., Array] | None = None  #: ``(variables, images, action [B]) -> images``
    #: ``(variables, images, action [B]) -> {"mask": [B, N], "edges": [B, N, N], "edges_no_action":
    #: [B, N, N]}``: the nodes that the action hits, edge probabilities with and without it
    describe: Callable[..., dict[str, Array]] | None = None
    #: the first so many entries of "vectors" stand for the factors, in their order
    num_labelled: int | None = None
    #: ``(variables, images, factor [], value float32 [B]) -> images`` with that factor set to a
    #: value (physical) and its effects in accordance: a counterfactual
    intervene_value: Callable[..., Array] | None = None
    #: ``(variables, images, values [B, F], key) -> float32 [B]``, a lower bound on log p in nats
    elbo: Callable[..., Array] | None = None
    #: ``(variables, values [B, F]) -> {"edge_strength": [F, F], "adjacency": [F, F]}``: how
    #: strongly each factor (column) moves each other (row), and which edges count as being there
    structure: Callable[..., dict[str, Array]] | None = None
    #: ``(dataset) -> None``; raises `UserError` for data that it cannot be trained on
    check: Callable[..., None] | None = None
    num_codes: int | None = None  #: K, the size of one codebook
    num_codebooks: int | None = None  #: C; nodes are sorted by codebook
