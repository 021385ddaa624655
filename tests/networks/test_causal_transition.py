"""The causal transition layer against its literal twin, `literal_transition`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import literal_transition
import numpy as np
import pytest
from helpers import quick_jit
from jax.extend.core import ClosedJaxpr, Jaxpr

from cdis.networks.apply import apply
from cdis.networks.causal_transition import CausalTransition, DenseTransition
from cdis.ops import chunked_map

B, N, K, A = 3, 4, 5, 2
TINY: dict[str, Any] = dict(num_nodes=N, num_codes=K, num_actions=A, edge_hidden=6)
PUBLISHED = TINY | dict(message_hidden=(3,))
OURS = dict(mechanism="per_node", mask="table", published=False)
OPTIONS: dict[str, dict[str, Any]] = {
    "published": PUBLISHED,
    "two layers": PUBLISHED | dict(message_hidden=(3, 4), message_heads=2),
    "no hidden layer, endo": PUBLISHED | dict(message_hidden=(), noise="endo"),
    "exo": PUBLISHED | dict(noise="exo", copy=True),
    "shipped": TINY | OURS | dict(embedding=6, message_hidden=(4,), message_heads=1, copy=True),
    "own mechanisms, endo": PUBLISHED | OURS | dict(message_hidden=(3, 2), noise="endo"),
    "table": PUBLISHED | dict(mask="table"),
}
ACTION = np.array([1, 0, 1])


@functools.cache
def _case(name: str):
    """The layer, parameters far from their start and the one-hot codes of B images."""
    layer = CausalTransition(**OPTIONS[name])
    one_hot = jax.nn.one_hot(np.random.default_rng(0).integers(0, K, (B, N)), K)
    params = quick_jit(lambda key: layer.init(key, one_hot, "all"))(jax.random.key(0))["params"]
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    moved = [x + 0.5 * rng.normal(size=x.shape).astype(np.float32) for x in leaves]
    return layer, jax.tree.unflatten(tree, moved), one_hot


@functools.cache
def _forward(name: str, form: str, stochastic: bool = False, identity: bool = False):
    layer, params, one_hot = _case(name)
    action = form if form in ("all", "none") else jnp.asarray(ACTION)
    key = jax.random.key(7) if stochastic else None
    return quick_jit(lambda p, o: apply(layer, p, o, action, key=key, identity_graph=identity))(
        params, one_hot
    )


def _weighted(outputs):
    """A scalar to which every output contributes."""
    rng = np.random.default_rng(3)
    return sum(jnp.sum(rng.normal(size=x.shape).astype(np.float32) * x) for x in outputs)


def _gradients(f, params, one_hot):
    def value(params, one_hot):
        outputs = tuple(f(params, one_hot))
        return _weighted(outputs), outputs

    return quick_jit(jax.grad(value, argnums=(0, 1), has_aux=True))(params, one_hot)


CASES = [(name, "all") for name in OPTIONS]
CASES += [(name, form) for name in ("published", "shipped") for form in ("each", "none")]
CASES = [(*case, False) for case in CASES]
CASES += [("published", "each", True), ("own mechanisms, endo", "all", True)]
CASES += [("two layers", "all", True), ("no hidden layer, endo", "none", True)]
FAST = [("published", "each", False), ("shipped", "all", False), ("shipped", "none", False)]
FAST += [("own mechanisms, endo", "all", True)]


@pytest.mark.parametrize(
    ("name", "form", "one_by_one"),
    [pytest.param(*case, marks=() if case in FAST else pytest.mark.slow) for case in CASES],
)
def test_equals_the_literal_twin(name, form, one_by_one, monkeypatch):
    """In one pass over all images and actions, and one by one, as for large layers on a CPU."""
    if one_by_one:
        monkeypatch.setattr(chunked_map, "_is_large", lambda work: True)
    layer, params, one_hot = _case(name)
    action = form if form in ("all", "none") else jnp.asarray(ACTION)
    # As in training: as published, with dropout; ours without noise has deterministic gates.
    key = jax.random.key(5) if layer.published or layer.noise != "off" else None
    dropout_key = jax.random.key(6) if layer.published else None
    keys: dict[str, Any] = {"key": key, "dropout_key": dropout_key}
    slopes, found = _gradients(lambda p, o: apply(layer, p, o, action, **keys), params, one_hot)
    expected_slopes, expected = _gradients(
        lambda p, o: literal_transition.transition(layer, p, o, action, **keys), params, one_hot
    )
    for field, f, e in zip(("logits", "mask", "edges", "graph"), found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-4, err_msg=field)
    for (path, f), e in zip(
        jax.tree.leaves_with_path(slopes), jax.tree.leaves(expected_slopes), strict=True
    ):
        np.testing.assert_allclose(
            f, e, rtol=2e-3, atol=2e-3, err_msg=f"gradient of {jax.tree_util.keystr(path)}"
        )
    if form == "all":
        # Every parameter learns something, or the comparison of gradients says little.
        for path, slope in jax.tree.leaves_with_path(slopes[0]):
            assert np.abs(slope).max() > 1e-4, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("published", "shipped") else pytest.mark.slow)
        for name in OPTIONS
    ],
)
def test_all_equals_each_action(name):
    layer, params, one_hot = _case(name)
    every = _forward(name, "all")
    # Hit and spared nodes, edges and gaps: else comparisons could miss whole terms.
    assert 0 < every.mask.mean() < 1
    assert 0 < every.graph.mean() < 1
    one = quick_jit(lambda action: apply(layer, params, one_hot, action))
    for action in (*(np.full(B, a) for a in range(A)), ACTION):
        single = one(jnp.asarray(action))
        for field, e, s in zip(every._fields, every, single, strict=True):
            np.testing.assert_allclose(
                e[np.arange(B), action], s[:, 0], rtol=1e-4, atol=1e-5, err_msg=field
            )


@pytest.mark.parametrize(
    ("form", "stochastic"), [("each", True), ("all", False), ("all", True), ("none", False)]
)
def test_gates_are_zero_or_one(form, stochastic):
    seen = _forward("published", form, stochastic)
    s = A if form == "all" else 1
    assert [x.shape for x in seen] == [(B, s, N, K), (B, s, N), (B, s, N, N), (B, s, N, N)]
    for gates in (seen.mask, seen.graph):
        assert set(np.unique(gates)) <= {0, 1}
    assert (np.asarray(seen.edges) > 0).all() and (np.asarray(seen.edges) < 1).all()
    if not stochastic:
        np.testing.assert_array_equal(seen.graph, np.asarray(seen.edges) > 0.5)


def test_nothing_is_hit_without_an_action():
    np.testing.assert_array_equal(_forward("published", "none").mask, 0)


def test_intervening_swaps_the_edges_into_hit_nodes_only():
    idle, every = _forward("published", "none"), _forward("published", "all")
    hit = np.asarray(every.mask) > 0
    same = np.isclose(every.edges, idle.edges, rtol=1e-4).all(-1)
    np.testing.assert_array_equal(same, ~hit)


def test_untouched_nodes_keep_their_codes():
    _, params, one_hot = _case("shipped")
    every = _forward("shipped", "all")
    hit, gates = np.asarray(every.mask), np.asarray(every.graph)
    kept = np.zeros((B, A, N), bool)
    for b, a, n in np.ndindex(B, A, N):
        kept[b, a, n] = not hit[b, a, n] and not any(
            hit[b, a, j] for j in range(N) if gates[b, a, n, j]
        )
    assert kept.any() and not kept.all()
    expected = np.broadcast_to(params["copy"] * one_hot[:, None], every.logits.shape)
    np.testing.assert_allclose(np.asarray(every.logits)[kept], expected[kept], rtol=1e-5)
    # A node with a hit parent follows its own mechanism instead.
    disturbed = (hit == 0) & ~kept
    assert disturbed.any()
    assert not np.isclose(np.asarray(every.logits)[disturbed], expected[disturbed]).all(-1).any()
    idle = _forward("shipped", "none")
    np.testing.assert_array_equal(idle.logits.argmax(-1)[:, 0], one_hot.argmax(-1))


def test_identity_graph():
    layer, params, one_hot = _case("published")
    seen = _forward("published", "none", identity=True)
    np.testing.assert_array_equal(seen.graph, np.broadcast_to(np.eye(N), seen.graph.shape))
    expected = quick_jit(
        lambda p, o: literal_transition.transition(layer, p, o, "none", identity=True)[0]
    )(params, one_hot)
    np.testing.assert_allclose(seen.logits, expected, rtol=1e-3, atol=1e-4)
    # Nothing passes between nodes: another code in node 0 changes no other node's logits.
    other = one_hot.at[:, 0].set(jnp.roll(one_hot[:, 0], 1, axis=-1))
    again = quick_jit(lambda o: apply(layer, params, o, "none", identity_graph=True))(other)
    np.testing.assert_allclose(again.logits[:, 0, 1:], seen.logits[:, 0, 1:], rtol=1e-4, atol=1e-5)
    assert not np.allclose(again.logits[:, 0, 0], seen.logits[:, 0, 0], atol=1e-2)


@pytest.mark.parametrize("form", ["all", "each", "none"])
@pytest.mark.parametrize("name", ["shipped", "own mechanisms, endo"])
def test_identity_graph_of_own_mechanisms(name, form):
    layer, params, one_hot = _case(name)
    action = jnp.asarray(ACTION) if form == "each" else form
    found = _gradients(
        lambda p, o: apply(layer, p, o, action, identity_graph=True), params, one_hot
    )
    expected = _gradients(
        lambda p, o: literal_transition.transition(layer, p, o, action, identity=True),
        params,
        one_hot,
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_an_action_reaches_every_node():
    # The action node is a parent of all: its embedding must move the logits of every node.
    layer, params, one_hot = _case("published")

    logits_of = quick_jit(lambda p: apply(layer, p, one_hot, jnp.asarray(ACTION)).logits)
    change = logits_of(params) - logits_of(params | {"action_node": -params["action_node"]})
    assert (np.abs(change).max(-1) > 1e-4).all()


def test_noise_depends_on_the_key_alone():
    layer, params, one_hot = _case("exo")
    edges_of = quick_jit(lambda key: apply(layer, params, one_hot, "none", key=key).edges)
    first, same, other = (edges_of(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


# No pair of nodes in memory


def _largest(jaxpr: Jaxpr) -> tuple[int, tuple[int, ...]]:
    """Size and shape of the largest array in a program, including nested programs."""
    best = (0, ())
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            shape = tuple(getattr(variable.aval, "shape", ()))
            best = max(best, (int(np.prod(shape)), shape))
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(inner, ClosedJaxpr):
                    inner = inner.jaxpr
                if isinstance(inner, Jaxpr):
                    best = max(best, _largest(inner))
    return best


WIDE = CausalTransition(
    num_nodes=32, num_codes=16, num_actions=2, edge_hidden=32, message_hidden=(24,)
)


def _programs(action):
    one_hot = jax.nn.one_hot(jnp.zeros((B, 32), jnp.int32), 16)
    shapes = jax.eval_shape(lambda: WIDE.init(jax.random.key(0), one_hot, "all"))["params"]

    def forward(params, one_hot):
        return apply(WIDE, params, one_hot, action, key=jax.random.key(0))

    def backward(params, one_hot):
        return jax.grad(lambda *xs: _weighted(forward(*xs)), argnums=(0, 1))(params, one_hot)

    return [jax.make_jaxpr(f)(shapes, one_hot).jaxpr for f in (forward, backward)]


@pytest.mark.parametrize("form", ["each", "all", "none"])
def test_no_pair_of_nodes_is_ever_formed(form):
    action = form if form in ("all", "none") else jnp.zeros((B,), jnp.int32)
    pairs = B * 32 * 32
    # Concatenated pairs, edge networks' hidden features, messages' hidden features of one head.
    forbidden = min(pairs * 2 * 16, pairs * 32, pairs * 24)
    # One number for each action and head is allowed for each pair.
    allowed = (2 if form == "all" else 1) * (1 + 2) * pairs * 33 // 32
    assert allowed < forbidden
    for program in _programs(action):
        size, shape = _largest(program)
        assert size <= allowed, f"an array of shape {shape} is formed"


def test_the_walk_finds_pairs_that_are_formed():
    # A shallow walk would miss a scan inside a custom derivative inside jit.
    @jax.custom_vjp
    def hidden(x):
        def body(total, row):
            return total + jnp.sum(row[:, None] * x.ravel()[None, :]), None

        return jax.lax.scan(body, 0.0, x)[0]

    hidden.defvjp(lambda x: (hidden(x), x), lambda x, g: (g * x,))
    program = jax.make_jaxpr(jax.jit(hidden))(jnp.ones((6, 7))).jaxpr
    assert _largest(program) == (7 * 42, (7, 42))


@pytest.mark.parametrize("form", ["each", "none"])
def test_the_last_layer_computes_the_two_heads_that_are_read(form):
    # Many actions: all 1 + A blocks of K logits for each node would be the largest array of all.
    layer = CausalTransition(
        num_nodes=3, num_codes=4, num_actions=50, edge_hidden=2, message_heads=1, message_hidden=()
    )
    one_hot = jax.nn.one_hot(jnp.zeros((20, 3), jnp.int32), 4)
    action = "none" if form == "none" else jnp.zeros((20,), jnp.int32)
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), one_hot, "all"))["params"]
    program = jax.make_jaxpr(lambda p: apply(layer, p, one_hot, action).logits)(params).jaxpr
    size, shape = _largest(program)
    assert size < 20 * 3 * 51 * 4, f"an array of shape {shape} is formed"


# The baseline without a graph


def test_dense_transition_all_equals_each_action():
    layer = DenseTransition(num_nodes=N, num_codes=K, num_actions=A, hidden=(6, 5))
    one_hot = jax.nn.one_hot(np.random.default_rng(0).integers(0, K, (B, N)), K)
    params = quick_jit(lambda key: layer.init(key, one_hot, "all"))(jax.random.key(0))["params"]
    every = quick_jit(lambda p: apply(layer, p, one_hot, "all"))(params)
    one = quick_jit(lambda p, action: apply(layer, p, one_hot, action))
    assert [x.shape for x in every] == [(B, A, N, K), (B, A, N), (B, A, N, N), (B, A, N, N)]
    for a in range(A):
        single = one(params, jnp.full((B,), a))
        for e, s in zip(every, single, strict=True):
            np.testing.assert_allclose(e[:, a], s[:, 0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(every.logits[:, 0], every.logits[:, 1])
    idle = apply(layer, params, one_hot, "none", key=None)
    assert idle.logits.shape == (B, 1, N, K)
