"""The interface of methods: a small tuple of pure functions, like an optax optimiser.

A method's module defines ``make(config, info) -> Method``, which the training loop finds through
``config.method``. What a trained method can do is in optional fields and groups (`Codes`,
`Actions`, `Factors`); fields that are ``None`` are skipped by evaluation.

Images are uint8 ``[B, H, W, C]`` as inputs and float32 in [-1, 1] as outputs.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from cdis.data.examples import Rows
from cdis.data.info import Dataset
from cdis.ops.retrieve import Steps

if TYPE_CHECKING:  # only training needs it
    import optax

#: ``{"params": tree, ...}``. Optimisers train "params"; a loss replaces other collections, such as
#: codebooks that are moving averages, through ``Aux.variables``.
Variables = dict[str, Any]
#: ``{"x": {column: [B, ...]}}`` and what else the rows of the stage hold; for pairs, ``"y"`` like
#: "x", and ``"action"``, int32 ``[B]``.
Batch = dict[str, Any]
#: ``{"vectors": float32 [B, d]}`` and, for a method with codes, ``"codes": int32 [B, N]``.
Representation = dict[str, Array]
#: The path of a parameter inside "params", such as ``("encoder", "Conv_0", "kernel")``.
Path = tuple[str, ...]


class Context(NamedTuple):
    """What a loss needs besides variables and batch."""

    key: PRNGKeyArray  #: for everything random in this step
    step: Int[Array, ""]  #: within the stage, from 0
    axis_name: str | None  #: for collectives over the devices that share the batch; None: no axis
    training: bool = True  #: False in validation, where a loss may leave out dropout


class Aux(NamedTuple):
    """What a loss returns besides its value."""

    metrics: dict[str, Array]  #: scalars for the log, in the order to show them
    variables: Variables  #: new values of collections other than "params"; ``{}`` for none


class Loss(Protocol):
    """A scalar to minimise, on one batch."""

    def __call__(
        self, variables: Variables, batch: Batch, context: Context, /
    ) -> tuple[Float[Array, ""], Aux]: ...


class MakeOptimizer(Protocol):
    """Makes an optimiser from the settings of a stage, ``config.stages[name]``."""

    def __call__(
        self, settings: ConfigDict, steps_per_epoch: int, /
    ) -> "optax.GradientTransformation": ...


class Objective(NamedTuple):
    """A loss, the parameters that it trains and their optimiser."""

    loss: Loss
    #: does this loss train the parameter?
    trainable: Callable[[Path], bool] = lambda path: True
    #: None: AdamW with the settings of the stage (`cdis.training.optimizer`)
    optimizer: MakeOptimizer | None = None


class Precompute(Protocol):
    """Computes columns from images, once, when a stage begins."""

    def __call__(
        self, variables: Variables, images: UInt8[Array, "b h w c"], /
    ) -> dict[str, Array]: ...


class Diagnosis(NamedTuple):
    """What a stage has failed to learn so far; texts are clauses, without a full stop."""

    what: str  #: what is wrong, with the numbers that show it
    cause: str  #: why that tends to happen; follows "This tends to happen when"
    remedy: str = ""  #: what to do, beside lowering the learning rate and clipping gradients
    dead: bool = True  #: nothing at all was learnt, so that more steps would be wasted


class Stage(NamedTuple):
    """A training stage; the loop runs a method's stages one after another."""

    name: str  #: ``config.stages[name]`` holds its steps, batch size and optimiser settings
    rows: Rows  #: what a batch consists of: `IMAGES`, `PAIRS` or other `Rows`
    #: what a batch holds for each image: "image", "factors" (int32 [B, F], indices), "values"
    #: (float32 [B, F], physical) or keys of `precompute`
    columns: tuple[str, ...]
    #: One or several losses. In every step they take turns on the same batch: each updates its
    #: parameters and sees the updates of those before it. A discriminator is a second objective.
    objectives: tuple[Objective, ...]
    precompute: Precompute | None = None
    #: judges the stage by the means of its losses' metrics over the validation batches (without
    #: them: since the last line of the log); None: nothing is wrong. `cdis.training.watch` has the
    #: rule by which a dead stage is stopped.
    diagnose: Callable[[Mapping[str, float]], Diagnosis | None] | None = None


class Init(Protocol):
    """Initial variables; `batch` holds some training images, ``{"x": {column: ...}}``."""

    def __call__(self, key: PRNGKeyArray, batch: Batch, /) -> Variables: ...


class Encode(Protocol):
    """Encodes images; `values` are their labels (physical), for an encoder that needs them."""

    def __call__(
        self,
        variables: Variables,
        images: UInt8[Array, "b h w c"],
        values: Float[Array, "b f"] | None = None,
        /,
    ) -> Representation: ...


class Decode(Protocol):
    """Decodes a representation into images."""

    def __call__(
        self, variables: Variables, representation: Representation, /
    ) -> Float[Array, "b h w c"]: ...


class Elbo(Protocol):
    """A lower bound on the log-likelihood of each image, in nats."""

    def __call__(
        self,
        variables: Variables,
        images: UInt8[Array, "b h w c"],
        values: Float[Array, "b f"],
        key: PRNGKeyArray,
        /,
    ) -> Float[Array, " b"]: ...


class Retrieve(Protocol):
    """The probability that each action leads from x to y."""

    def __call__(
        self, variables: Variables, x: UInt8[Array, "b h w c"], y: UInt8[Array, "b h w c"], /
    ) -> Float[Array, "b a"]: ...


class RetrieveSteps(Protocol):
    """The steps of each factor that lead from x to y, up to `max_steps` in all.

    `width` bounds the answers of each length that the search goes on from.
    """

    def __call__(
        self,
        variables: Variables,
        x: UInt8[Array, "b h w c"],
        y: UInt8[Array, "b h w c"],
        /,
        *,
        max_steps: int,
        width: int,
    ) -> Steps: ...


class Intervene(Protocol):
    """Images after an action on each, or after k actions on each, one after another."""

    def __call__(
        self, variables: Variables, images: UInt8[Array, "b h w c"], action: Int[Array, "b *k"], /
    ) -> Float[Array, "b h w c"]: ...


class ActionGraph(NamedTuple):
    """The effect of an action on the causal graph of an image's N nodes."""

    mask: Float[Array, "b n"]  #: 1 where the action targets the node
    edges: Float[Array, "b n n"]  #: probability of the edge into i from j, with the action
    edges_no_action: Float[Array, "b n n"]  #: the same without the action


class Describe(Protocol):
    """The effect of an action on the graph of each image."""

    def __call__(
        self, variables: Variables, images: UInt8[Array, "b h w c"], action: Int[Array, " b"], /
    ) -> ActionGraph: ...


class Do(Protocol):
    """Counterfactual images: the `fixed` factors are set, and the others follow their causes.

    `values` are physical, and count only where a factor is fixed. `labels` are those of the images
    before that (physical), for an encoder that needs them.
    """

    def __call__(
        self,
        variables: Variables,
        images: UInt8[Array, "b h w c"],
        fixed: Bool[Array, " f"],
        values: Float[Array, "b f"],
        labels: Float[Array, "b f"] | None = None,
        /,
    ) -> Float[Array, "b h w c"]: ...


class Sample(Protocol):
    """Representations of b new images: new noise, and factors fixed as by `Do`."""

    def __call__(
        self,
        variables: Variables,
        key: PRNGKeyArray,
        fixed: Bool[Array, " f"],
        values: Float[Array, "b f"],
        /,
    ) -> Representation: ...


class FactorGraph(NamedTuple):
    """A learnt causal graph of the factors; row i holds the causes of factor i."""

    edge_strength: Float[Array, "f f"]
    adjacency: Float[Array, "f f"]  #: 1 for edges that are strong enough to count


class Structure(Protocol):
    """The graph of the factors, with edge strengths measured at the given factor values."""

    def __call__(self, variables: Variables, values: Float[Array, "b f"], /) -> FactorGraph: ...


class Codes(NamedTuple):
    """The codes of a method with a discrete representation."""

    num_codes: int  #: K, the size of a codebook
    num_codebooks: int  #: C; nodes are sorted by codebook


class Actions(NamedTuple):
    """What a method can do with actions, which are steps of a factor (`cdis.ops.actions`)."""

    retrieve: Retrieve | None = None
    intervene: Intervene | None = None
    describe: Describe | None = None
    retrieve_steps: RetrieveSteps | None = None


class Factors(NamedTuple):
    """What a method can do with labelled factors, each of which has its own latent."""

    #: how many entries of "vectors", the first ones, stand for factors: standardised with the data
    #: set's `value_mean` and `value_std`, or logits of binary factors
    num_labelled: int = 0
    do: Do | None = None
    structure: Structure | None = None
    sample: Sample | None = None


class Method(NamedTuple):
    """A method: its initial variables, its training stages and what it can do once trained."""

    init: Init
    stages: tuple[Stage, ...]
    encode: Encode | None = None
    decode: Decode | None = None
    elbo: Elbo | None = None
    codes: Codes | None = None
    actions: Actions = Actions()
    factors: Factors = Factors()
    #: evaluation gives `encode` and `do` the labels of test images; otherwise images alone
    labels_at_evaluation: bool = False
    #: raises `UserError` for data that the method cannot train on; returns lines for the log
    check: Callable[[Dataset], tuple[str, ...]] | None = None
    warnings: tuple[str, ...] = ()  #: settings that hardly suit the data, a sentence or two each
