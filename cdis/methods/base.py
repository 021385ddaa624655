"""What a method is: a small tuple of pure functions, as an optax optimiser is.

A method module has one public function, ``make(config, info) -> Method``; the training loop finds
it through ``config.method`` and calls nothing else of it. What a trained method can do is in
optional groups (`Codes`, `Actions`, `Factors`); what it cannot do is ``None``, and evaluation
leaves it out.

Images go in as uint8 ``[B, H, W, C]`` and come out as float32 in [-1, 1].
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.data.examples import Rows
from cdis.data.info import Dataset

#: ``{"params": tree, ...}``; "params" is what optimisers train, other collections (such as
#: codebooks kept by moving averages) are replaced by what a loss returns in ``Aux.variables``.
Variables = dict[str, Any]
#: ``{"x": {column: [B, ...]}}`` and whatever else the rows of the stage hold: ``"y"`` likewise and
#: ``"action"`` (int32 ``[B]``) for pairs.
Batch = dict[str, Any]
#: ``{"vectors": float32 [B, d]}`` and, of a method with codes, ``"codes": int32 [B, N]``.
Representation = dict[str, Array]
#: Where a parameter stands inside "params", such as ``("encoder", "Conv_0", "kernel")``.
Path = tuple[str, ...]


class Context(NamedTuple):
    """What a loss is told beside variables and batch."""

    key: PRNGKeyArray  #: for all that is random in this step
    step: Int[Array, ""]  #: counts within the stage, from 0
    axis_name: str | None  #: the devices that share the batch, for collectives; None: one device


class Aux(NamedTuple):
    """What a loss returns beside its value."""

    metrics: dict[str, Array]  #: scalars for the log
    variables: Variables  #: new values of collections other than "params"; ``{}`` if none


class Loss(Protocol):
    """A scalar to minimise, of one batch."""

    def __call__(
        self, variables: Variables, batch: Batch, context: Context
    ) -> tuple[Float[Array, ""], Aux]: ...


class MakeOptimizer(Protocol):
    """An optimiser from the settings of a stage, ``config.stages[name]``."""

    def __call__(
        self, settings: ConfigDict, steps_per_epoch: int
    ) -> optax.GradientTransformation: ...


class Objective(NamedTuple):
    """A loss, the parameters that it trains and how."""

    loss: Loss
    #: is the parameter trained by this loss?
    trainable: Callable[[Path], bool] = lambda path: True
    #: None: AdamW as the stage's settings say (`cdis.train.optimizer`)
    optimizer: MakeOptimizer | None = None


class Precompute(Protocol):
    """Columns made of images once, when a stage begins."""

    def __call__(
        self, variables: Variables, images: UInt8[Array, "b h w c"]
    ) -> dict[str, Array]: ...


class Stage(NamedTuple):
    """One training stage; the loop runs a method's stages one after another."""

    name: str  #: ``config.stages[name]`` holds its steps, batch size and optimiser settings
    rows: Rows  #: what a batch is made of: `IMAGES`, `PAIRS` or rows of one's own
    #: what a batch holds of each image: "image", "factors" (int32 [B, F], indices), "values"
    #: (float32 [B, F], physical) or keys of `precompute`
    columns: tuple[str, ...]
    #: One or several losses. In every step each moves its parameters in turn, on the same batch,
    #: and sees what the ones before it have moved: a discriminator is a second objective.
    objectives: tuple[Objective, ...]
    precompute: Precompute | None = None


class Init(Protocol):
    """Variables to start from; `batch` holds some training images, ``{"x": {column: ...}}``."""

    def __call__(self, key: PRNGKeyArray, batch: Batch) -> Variables: ...


class Encode(Protocol):
    """Images to their representation; `values` are the labels, for an encoder that reads them."""

    def __call__(
        self,
        variables: Variables,
        images: UInt8[Array, "b h w c"],
        values: Float[Array, "b f"] | None = None,
    ) -> Representation: ...


class Decode(Protocol):
    """A representation to images."""

    def __call__(
        self, variables: Variables, representation: Representation
    ) -> Float[Array, "b h w c"]: ...


class Elbo(Protocol):
    """A lower bound on log p of each image, in nats."""

    def __call__(
        self,
        variables: Variables,
        images: UInt8[Array, "b h w c"],
        values: Float[Array, "b f"],
        key: PRNGKeyArray,
    ) -> Float[Array, " b"]: ...


class Retrieve(Protocol):
    """Probability of each action to be the one that leads from x to y."""

    def __call__(
        self,
        variables: Variables,
        x: UInt8[Array, "b h w c"],
        y: UInt8[Array, "b h w c"],
    ) -> Float[Array, "b a"]: ...


class Intervene(Protocol):
    """Images after an action on each."""

    def __call__(
        self, variables: Variables, images: UInt8[Array, "b h w c"], action: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]: ...


class ActionGraph(NamedTuple):
    """What an action does to the causal graph of an image's N nodes."""

    mask: Float[Array, "b n"]  #: 1 where the action hits the node
    edges: Float[Array, "b n n"]  #: probability of the edge into i from j, with the action
    edges_no_action: Float[Array, "b n n"]  #: and without it


class Describe(Protocol):
    """What an action on each image does to its graph."""

    def __call__(
        self, variables: Variables, images: UInt8[Array, "b h w c"], action: Int[Array, " b"]
    ) -> ActionGraph: ...


class Do(Protocol):
    """Counterfactual images: a factor set to a value (physical), its effects following."""

    def __call__(
        self,
        variables: Variables,
        images: UInt8[Array, "b h w c"],
        factor: Int[Array, ""],
        value: Float[Array, " b"],
    ) -> Float[Array, "b h w c"]: ...


class FactorGraph(NamedTuple):
    """The causal graph of the factors that a method has learnt; row i holds what moves factor i."""

    edge_strength: Float[Array, "f f"]
    adjacency: Float[Array, "f f"]  #: 1 for the edges that count as present


class Structure(Protocol):
    """The factors' graph, its strengths measured at the factor values given."""

    def __call__(self, variables: Variables, values: Float[Array, "b f"]) -> FactorGraph: ...


class Codes(NamedTuple):
    """Of a method whose representation is discrete."""

    num_codes: int  #: K, the size of one codebook
    num_codebooks: int  #: C; nodes are sorted by codebook


class Actions(NamedTuple):
    """What a method does with actions, steps of one factor (`cdis.ops.actions`)."""

    retrieve: Retrieve | None = None
    intervene: Intervene | None = None
    describe: Describe | None = None


class Factors(NamedTuple):
    """What a method does with labelled factors, each of which has a latent of its own."""

    num_labelled: int = 0  #: so many entries of "vectors", the first ones, stand for the factors
    do: Do | None = None
    structure: Structure | None = None


class Method(NamedTuple):
    """A method: what it starts from, how it trains and what it can do afterwards."""

    init: Init
    stages: tuple[Stage, ...]
    encode: Encode | None = None
    decode: Decode | None = None
    elbo: Elbo | None = None
    codes: Codes | None = None
    actions: Actions = Actions()
    factors: Factors = Factors()
    #: raises `UserError` for data that the method cannot be trained on
    check: Callable[[Dataset], None] | None = None
