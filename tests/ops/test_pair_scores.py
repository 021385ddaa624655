"""The fast scores of pairs against their literal reference, and that against loops."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdis.ops import pair_scores

B, S, G, N, H = 2, 3, 2, 4, 4  # images, actions, heads, nodes, features of a head


def _normal(seed: int, *shape: Any) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _leaky(x, slope=0.2):
    return np.where(x > 0, x, slope * x)


def _reference(target, source, readout, weight=None, edge=None, slope=0.2):
    """The literal scores, with zeros for missing weights."""
    if weight is None or edge is None:
        weight = jnp.zeros((1, 1, 1, target.shape[-2], source.shape[-2]))
        edge = jnp.zeros((1, 1, 1, target.shape[-1]))
    return pair_scores.pair_scores_reference(target, source, readout, weight, edge, slope=slope)


@pytest.mark.parametrize("slope", [0.2, 0.01])
def test_the_reference_by_loops(slope):
    shapes = ((N, H), (N + 1, H), (H,), (N, N + 1), (H,))
    target, source, readout, weight, edge = (
        _normal(i, B, S, G, *shape) for i, shape in enumerate(shapes)
    )
    expected = np.zeros((B, S, G, N, N + 1))
    for *bsg, i, j in np.ndindex(*expected.shape):
        at = tuple(bsg)
        z = target[at][i] + source[at][j] + weight[at][i, j] * edge[at]
        expected[(*at, i, j)] = readout[at] @ _leaky(z, slope)
    found = pair_scores.pair_scores_reference(target, source, readout, weight, edge, slope=slope)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


FULL = (B, S, G)
# Sizes of axes b, s and g of each argument, without the last two if there are no edge weights.
PATTERNS = {
    "nothing shared": (FULL,) * 5,
    "all shared by images and actions": ((1, 1, G), (1, 1, G), (1, 1, G), FULL, (1, 1, G)),
    "edge networks, one action": ((B, 2, 1), (B, 2, 1), (B, 2, 1)),
    "edge networks, all actions": ((B, S, 1), (B, S, 1), (1, S, 1)),
    "first message layer": ((B, 1, G), (B, 1, G), (1, 1, G), (B, S, 1), (1, 1, G)),
    "second message layer": (FULL, FULL, (1, 1, G), (B, S, 1), (1, 1, G)),
    "each its own": ((B, 1, 1), (1, S, 1), (1, 1, G), (B, 1, G), (1, S, G)),
}


# A scan walks over features, one or two at a time; with many features and nodes, a loop walks over
# chunks, the last of which may not be full.
@pytest.mark.parametrize(
    ("chunk", "features", "slope"), [(None, 3, 0.2), (None, 4, 0.01), (2, 5, 0.2), (2, 5, 0.01)]
)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_pair_scores(monkeypatch, pattern, chunk, features, slope):
    if chunk is not None:
        monkeypatch.setattr(pair_scores, "_LONG", 0)
        monkeypatch.setattr(pair_scores, "_CHUNK", chunk)
    axes, n, m = PATTERNS[pattern], N, N + 1
    sizes = ((n, features), (m, features), (features,), (n, m), (features,))
    arguments = [
        jnp.asarray(_normal(i, *lead, *size))
        for i, (lead, size) in enumerate(zip(axes, sizes, strict=False))
    ]
    lead = jnp.broadcast_shapes(*axes)
    weight = _normal(9, *lead, n, m)

    @jax.jit
    def both(*arguments):
        def of(f):
            return jax.value_and_grad(
                lambda *xs: (lambda s: (jnp.sum(weight * s), s))(f(*xs, slope=slope)),
                argnums=tuple(range(len(arguments))),
                has_aux=True,
            )(*arguments)

        return of(_reference), of(pair_scores.pair_scores)

    ((_, expected), expected_slopes), ((_, found), slopes) = both(*arguments)
    assert found.shape == (*lead, n, m)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    names = ("target", "source", "readout", "weight", "edge")
    for name, e, f in zip(names, expected_slopes, slopes, strict=False):
        assert f.shape == e.shape
        np.testing.assert_allclose(f, e, rtol=1e-4, atol=1e-4, err_msg=f"gradient of {name}")


def test_pair_scores_are_those_of_concatenated_pairs():
    # W [v_i ; v_j] with one W, as the paper writes it, against W_l v_i + W_r v_j.
    width = 3
    nodes, matrix, bias, readout = (
        _normal(0, N, width),
        _normal(1, 2 * width, H),
        _normal(2, H),
        (_normal(3, H)),
    )
    expected = np.zeros((N, N))
    for i, j in np.ndindex(N, N):
        pair = np.concatenate([nodes[i], nodes[j]])
        expected[i, j] = readout @ _leaky(pair @ matrix + bias)
    lift = (None,) * 3
    found = pair_scores.pair_scores(
        jnp.asarray(nodes @ matrix[:width] + bias)[lift],
        jnp.asarray(nodes @ matrix[width:])[lift],
        jnp.asarray(readout)[lift],
    )
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_pair_scores_of_wrong_ranks_raise():
    nodes, head = jnp.zeros((1, 1, 1, N, H)), jnp.zeros((1, 1, 1, H))
    with pytest.raises(AssertionError):
        pair_scores.pair_scores(nodes[0], nodes, head, jnp.zeros((1, 1, 1, N, N)), head)
    with pytest.raises(AssertionError):
        pair_scores.pair_scores(nodes, nodes, head, jnp.zeros((1, 1, N, N)), head)


def test_broadcast_sums_its_gradient():
    x, shape = _normal(0, B, 1, N, 1), (B, S, N, H)
    weight = _normal(1, *shape)
    np.testing.assert_array_equal(pair_scores.broadcast(x, shape), np.broadcast_to(x, shape))
    slope = jax.grad(lambda x: jnp.sum(weight * pair_scores.broadcast(x, shape)))(jnp.asarray(x))
    np.testing.assert_allclose(slope, weight.sum((1, 3), keepdims=True), rtol=1e-4, atol=1e-5)


# Of the paper's layer on 16 nodes; shapes as in `PATTERNS`, then operations measured, with room.
@pytest.mark.parametrize(
    ("axes", "features", "most"),
    [
        (((16, 2, 1), (16, 2, 1), (16, 2, 1)), 800, 550),
        (((16, 1, 11), (16, 1, 11), (1, 1, 11), (16, 1, 1), (1, 1, 11)), 100, 950),
    ],
    ids=["edge networks", "message layer"],
)
def test_programs_of_the_published_sizes_stay_small(axes, features, most):
    # Compilation takes the longer, the more operations there are: no loop may be unrolled.
    n = 16
    sizes = ((n, features), (n, features), (features,), (n, n), (features,))
    arguments = [
        jax.ShapeDtypeStruct((*lead, *size), jnp.float32)
        for lead, size in zip(axes, sizes, strict=False)
    ]
    gradient = jax.value_and_grad(
        lambda *xs: pair_scores.pair_scores(*xs).sum(), argnums=tuple(range(len(arguments)))
    )
    program = jax.jit(gradient).lower(*arguments).as_text()
    assert program.count(" = ") < most
