"""A tiny data set for methods on pairs: a square at each place of a 4 x 4 grid."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cdis.data import examples, transitions
from cdis.data.info import Info
from cdis.methods.base import Batch, Context, Method, Stage, Variables
from cdis.training.state import State, by_path, split
from cdis.training.update import make_update

INFO = Info(
    name="spots",
    factor_names=("column", "row"),
    factor_sizes=(4, 4),
    circular=(False, True),
    image_shape=(16, 16, 1),
    licence="none",
    citation="none",
    description="A square on a grid.",
)


def _spots() -> tuple[np.ndarray, transitions.Transitions]:
    factors = np.stack(np.unravel_index(np.arange(16), (4, 4)), 1).astype(np.int32)
    images = np.zeros((16, 16, 16, 1), np.uint8)
    for image, (column, row) in zip(images, factors, strict=True):
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
    return images, transitions.build(factors, INFO, np.arange(16))


IMAGES, PAIRS = _spots()


def pairs(rows: np.ndarray) -> Batch:
    """A batch of these pairs, images only."""
    x, y = jnp.asarray(IMAGES[PAIRS.x[rows]]), jnp.asarray(IMAGES[PAIRS.y[rows]])
    return {"x": {"image": x}, "y": {"image": y}, "action": jnp.asarray(PAIRS.action[rows])}


def stage(method: Method, name: str) -> Stage:
    """A method's stage by name."""
    return next(stage for stage in method.stages if stage.name == name)


def trained(stage: Stage, variables: Variables) -> set[str]:
    """The parameters that the stage trains."""
    return set(split(variables["params"], stage.objectives[0])[0])


def differentiated(stage: Stage, batch: Batch) -> Any:
    """(variables, step) -> loss, its aux and gradient, on the columns that the stage asks for."""
    is_pairs = stage.rows is examples.PAIRS
    sides = ("x", "y") if is_pairs else ("x",)
    seen: Batch = {side: {name: batch[side][name] for name in stage.columns} for side in sides}
    if is_pairs:
        seen["action"] = batch["action"]

    def run(variables, step):
        def loss(params):
            context = Context(jax.random.key(3), step, None)
            return stage.objectives[0].loss(variables | {"params": params}, seen, context)

        (value, aux), slopes = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return value, aux, by_path(slopes)

    return run


def halves(batch: Batch) -> Batch:
    """The batch as that of two devices, on a first axis."""
    return jax.tree.map(lambda x: x.reshape(2, len(x) // 2, *x.shape[1:]), batch)


def assert_update_is_alike_on_all_devices(stage: Stage, variables: Variables, batch: Batch, jit):
    """One step on two devices, half of the batch each, leaves both with the same state."""
    optimizer = optax.adam(1e-3)
    update = make_update(stage, (optimizer,), seed=0, start=0, axis_name="data")
    trained, _ = split(variables["params"], stage.objectives[0])
    state = State(variables, (optimizer.init(trained),), jnp.int32(0))
    run = jax.vmap(update, in_axes=(None, 0), axis_name="data")
    for leaf in jax.tree.leaves(jit(run)(state, halves(batch))):
        assert np.isfinite(leaf).all()
        np.testing.assert_array_equal(leaf[0], leaf[1])


def assert_can_retrieve_and_intervene(
    method: Method,
    variables: Variables,
    batch: Batch,
    represented: dict[str, Any],
    books: np.ndarray,
    predict: Callable[..., Any],
    jit,
):
    """What a trained method with codes and actions does, by its `predict` and codebooks."""
    x, y, count = batch["x"]["image"], batch["y"]["image"], len(batch["action"])
    actions = method.actions
    assert method.decode and actions.retrieve and actions.intervene and actions.describe
    decoded = jit(method.decode)(variables, represented)
    assert decoded.shape == (count, *INFO.image_shape) and decoded.dtype == jnp.float32
    assert np.abs(decoded).max() <= 1

    retrieve = jit(actions.retrieve)
    probabilities = retrieve(variables, x, y)
    assert probabilities.shape == (count, INFO.num_actions) and probabilities.dtype == jnp.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities, retrieve(variables, x, y))
    assert np.ptp(probabilities, axis=-1).min() > 0  # actions differ

    # One step, the likelier in both directions, or none between equal codes.
    assert method.encode and actions.retrieve_steps
    # A partial, of which the types of methods say nothing.
    model: Any = getattr(actions.intervene, "args")[0]  # noqa: B009
    search = jit(functools.partial(actions.retrieve_steps, max_steps=1, width=1))
    steps, probability = search(variables, x, y)
    starts = np.eye(books.shape[1], dtype=np.float32)[represented["codes"]]
    ends = np.eye(books.shape[1], dtype=np.float32)[jit(method.encode)(variables, y)["codes"]]
    every = jit(lambda codes: predict(model, variables, codes, "all", model.gate_key))
    scores = np.einsum("bank,bnk->ba", jax.nn.log_softmax(every(starts).logits), ends)
    undone = jax.nn.log_softmax(np.roll(every(ends).logits, 2, axis=1))
    scores = (scores + np.einsum("bank,bnk->ba", undone, starts)) / 2 - np.log(INFO.num_actions)
    nothing = np.where((starts == ends).all((1, 2)), 0, -np.inf)
    scores = np.concatenate([scores, nothing[:, None]], axis=1)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(probability, p.max(1), rtol=1e-4)
    moves = np.concatenate([np.eye(2), -np.eye(2), np.zeros((1, 2))])
    np.testing.assert_array_equal(steps, moves[p.argmax(1)])

    changed = jit(actions.intervene)(variables, x, batch["action"])
    assert changed.shape == decoded.shape and changed.dtype == jnp.float32
    assert np.abs(changed).max() <= 1

    # Several actions: each acts on the codes that the one before it led to.
    several = np.stack([batch["action"], np.roll(batch["action"], 1)], 1)
    codes, key = np.asarray(represented["codes"]), model.gate_key
    under = jit(lambda one_hot, action: predict(model, variables, one_hot, action, key).logits)
    for action in several.T:
        one_hot = np.eye(books.shape[1], dtype=np.float32)[codes]
        codes = np.argmax(under(one_hot, action)[:, 0], -1)
    places = codes.shape[1] // len(books)
    vectors = [[books[n // places, k] for n, k in enumerate(row)] for row in codes]
    twin = {"vectors": jnp.asarray(np.reshape(vectors, (count, -1))), "codes": jnp.asarray(codes)}
    found = jit(actions.intervene)(variables, x, several)
    np.testing.assert_allclose(found, jit(method.decode)(variables, twin), atol=1e-5)
    assert np.abs(found - changed).max() > 0

    seen = jit(actions.describe)(variables, x, batch["action"])
    n = represented["codes"].shape[1]
    assert {part: array.shape for part, array in seen._asdict().items()} == {
        "mask": (count, n),
        "edges": (count, n, n),
        "edges_no_action": (count, n, n),
    }
    assert set(np.unique(seen.mask)) <= {0, 1}
    for edges in (seen.edges, seen.edges_no_action):
        assert (np.asarray(edges) >= 0).all() and (np.asarray(edges) <= 1).all()
    spared = np.asarray(seen.mask) == 0
    np.testing.assert_allclose(
        np.asarray(seen.edges)[spared], np.asarray(seen.edges_no_action)[spared], rtol=1e-4
    )


def assert_represents(
    method: Method, represented: dict[str, Any], books: np.ndarray, *, places: int
):
    """Codes and vectors are those of the codebooks `[C, K, E]`, codebook by codebook."""
    codes, vectors = represented["codes"], represented["vectors"]
    (c, k, e), count = books.shape, len(codes)
    assert codes.shape == (count, c * places) and codes.dtype == jnp.int32
    assert vectors.shape == (count, c * places * e) and vectors.dtype == jnp.float32
    assert method.codes and method.codes.num_codes == k > codes.max() and codes.min() >= 0
    assert method.codes.num_codebooks == c
    for b, n in np.ndindex(*codes.shape):
        np.testing.assert_array_equal(
            vectors[b].reshape(c * places, e)[n], books[n // places, codes[b, n]]
        )
