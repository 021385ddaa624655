"""Quantisation against loops and hand-computed codes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cdis.ops import quantize

B, C, M, E, K = 3, 2, 4, 3, 5  # images, codebooks, places, width of a code, codes


def _normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def h():
    return _normal(0, B, C, M, E)


@pytest.fixture(scope="module")
def codebooks():
    return _normal(1, C, K, E)


def _distances(h: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """`|h - e_k|^2` by loops: [B, C, M, K]."""
    distances = np.zeros((*h.shape[:3], codebooks.shape[1]))
    for b, c, m, k in np.ndindex(*distances.shape):
        distances[b, c, m, k] = sum((h[b, c, m] - codebooks[c, k]) ** 2)
    return distances


def test_split_codebooks_by_hand():
    # One image, a 1 x 2 grid, 4 channels: channel d of place w is 10 w + d.
    latent = jnp.array([[[[0.0, 1, 2, 3], [10, 11, 12, 13]]]])
    chunks = quantize.split_codebooks(latent, num_codebooks=2)
    np.testing.assert_array_equal(chunks, [[[[0, 1], [10, 11]], [[2, 3], [12, 13]]]])


@pytest.mark.parametrize("num_codebooks", [1, 2, 3, 6])
def test_codebooks_cut_channels_into_disjoint_chunks(num_codebooks):
    # All values of the latent are different: each must appear in exactly one chunk, that of its
    # channel.
    latent = np.arange(2 * 2 * 3 * 6).reshape(2, 2, 3, 6)
    chunks = np.asarray(quantize.split_codebooks(jnp.asarray(latent), num_codebooks=num_codebooks))
    width = 6 // num_codebooks
    assert chunks.shape == (2, num_codebooks, 6, width)
    for b, i, j, d in np.ndindex(*latent.shape):
        assert chunks[b, d // width, 3 * i + j, d % width] == latent[b, i, j, d]
    merged = quantize.merge_codebooks(jnp.asarray(chunks), grid=(2, 3))
    np.testing.assert_array_equal(merged, latent)


def test_codebooks_need_a_divisor_of_the_channels():
    with pytest.raises(ValueError, match="6 channels do not divide into 4 codebooks"):
        quantize.split_codebooks(jnp.zeros((1, 2, 2, 6)), num_codebooks=4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: quantize.split_codebooks(jnp.zeros((2, 2, 6)), num_codebooks=2),
        lambda: quantize.merge_codebooks(jnp.zeros((2, 2, 6)), grid=(1, 2)),
        lambda: quantize.nearest_code(jnp.zeros((B, C, M, E)), jnp.zeros((C + 1, K, E))),
        lambda: quantize.lookup(jnp.zeros((B, M), jnp.int32), jnp.zeros((C, K, E))),
        lambda: quantize.lookup_one_hot(jnp.zeros((B, C, M, K)), jnp.zeros((C, K, E))),
        lambda: quantize.straight_through(jnp.zeros((2, 3)), jnp.zeros((3,))),
        lambda: quantize.quantisation_losses(jnp.zeros((B, C, M, E)), jnp.zeros((B, C, 1, E))),
        lambda: quantize.code_counts(jnp.zeros((B, M), jnp.int32), num_codes=K),
        lambda: quantize.restart_dead_codes(
            jax.random.key(0),
            jnp.zeros((C, K, E)),
            jnp.zeros((C, K + 1)),
            jnp.zeros((B, C, M, E)),
            threshold=1.0,
        ),
    ],
)
def test_wrong_shapes_raise(call):
    with pytest.raises(AssertionError):
        call()


def test_nearest_code(h, codebooks):
    distances = _distances(h, codebooks)
    codes = quantize.nearest_code(h, codebooks)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, distances.argmin(-1))
    # The omitted term is the same for every code.
    left_out = quantize.negative_distances(h, codebooks) + distances
    np.testing.assert_allclose(
        left_out, np.broadcast_to((h**2).sum(-1)[..., None], left_out.shape), rtol=1e-4, atol=1e-5
    )


def test_nearest_code_by_hand():
    # The second codebook is the first one in reverse order.
    codebooks = jnp.array([[[0.0, 0], [1, 0], [0, 2]], [[0, 2], [1, 0], [0, 0]]])
    h = jnp.array([[0.1, 0.2], [0.9, -5], [0.4, 1.5]])
    codes = quantize.nearest_code(jnp.stack([h, h])[None], codebooks)
    np.testing.assert_array_equal(codes, [[[0, 1, 2], [2, 1, 0]]])


def test_lookup(codebooks):
    codes = np.random.default_rng(2).integers(0, K, (B, C, M))
    vectors = quantize.lookup(jnp.asarray(codes), codebooks)
    for b, c, m in np.ndindex(B, C, M):
        np.testing.assert_array_equal(vectors[b, c, m], codebooks[c, codes[b, c, m]])
    one_hot = jax.nn.one_hot(jnp.asarray(codes).reshape(B, C * M), K)
    np.testing.assert_array_equal(quantize.lookup_one_hot(one_hot, codebooks), vectors)


def test_straight_through():
    value, other = jnp.array([1.0, 0.1]), jnp.array([0.3, -7.7])
    np.testing.assert_array_equal(quantize.straight_through(value, other), value)
    to_value, to_other = jax.grad(
        lambda v, o: jnp.sum(quantize.straight_through(v, o) ** 2), argnums=(0, 1)
    )(value, other)
    np.testing.assert_array_equal(to_value, 0)
    np.testing.assert_allclose(to_other, 2 * value)


def test_straight_through_one_hot(h, codebooks):
    temperature, weight = 0.7, _normal(3, B, C, M, K)

    def assigned(h, codebooks):
        log_soft = quantize.log_assignment(h, codebooks, temperature=temperature)
        codes = quantize.nearest_code(h, codebooks)
        return quantize.straight_through_one_hot(codes, jnp.exp(log_soft))

    one_hot = assigned(h, codebooks)
    np.testing.assert_allclose(one_hot, np.eye(K)[_distances(h, codebooks).argmin(-1)], atol=1e-6)

    def soft(h, codebooks):
        pairs = h[:, :, :, None, :] - codebooks[None, :, None]
        return jnp.sum(weight * jax.nn.softmax(-jnp.sum(pairs**2, -1) / temperature, axis=-1))

    def fast(h, codebooks):
        return jnp.sum(weight * assigned(h, codebooks))

    expected = jax.grad(soft, argnums=(0, 1))(h, codebooks)
    found = jax.grad(fast, argnums=(0, 1))(h, codebooks)
    for e, f in zip(expected, found, strict=True):
        assert np.abs(e).max() > 1e-2
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-5)


def test_quantisation_losses(h):
    quantised = _normal(4, B, C, M, E)
    codebook, commitment = quantize.quantisation_losses(h, quantised)
    mean = sum((h.ravel() - quantised.ravel()) ** 2) / h.size
    np.testing.assert_allclose([codebook, commitment], [mean, mean], rtol=1e-5)
    # Each loss moves only one side, towards the other.
    towards = 2 * (h - quantised) / h.size
    for which, expected in ((0, (0 * towards, -towards)), (1, (towards, 0 * towards))):
        found = jax.grad(
            lambda h, q, which=which: quantize.quantisation_losses(h, q)[which], argnums=(0, 1)
        )(h, quantised)
        for f, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-8)


def _counts_and_sums(h, codes):
    counts, sums = np.zeros((C, K)), np.zeros((C, K, E))
    for b, c, m in np.ndindex(*codes.shape):
        counts[c, codes[b, c, m]] += 1
        sums[c, codes[b, c, m]] += h[b, c, m]
    return counts, sums


def test_counts_and_sums(h):
    codes = np.random.default_rng(5).integers(0, K, (B, C, M))
    counts, sums = _counts_and_sums(h, codes)
    np.testing.assert_array_equal(quantize.code_counts(jnp.asarray(codes), num_codes=K), counts)
    found = quantize.code_sums(h, jnp.asarray(codes), num_codes=K)
    np.testing.assert_allclose(found, sums, rtol=1e-5, atol=1e-6)


def test_counts_and_sums_of_all_devices():
    h = _normal(6, 2, B, C, M, E)
    codes = np.random.default_rng(7).integers(0, K, (2, B, C, M))
    counts, sums = _counts_and_sums(h.reshape(2 * B, C, M, E), codes.reshape(2 * B, C, M))

    def on_device(h, codes):
        return (
            quantize.code_counts(codes, num_codes=K, axis_name="data"),
            quantize.code_sums(h, codes, num_codes=K, axis_name="data"),
        )

    found = jax.vmap(on_device, axis_name="data")(h, jnp.asarray(codes))
    for device in range(2):
        np.testing.assert_array_equal(found[0][device], counts)
        np.testing.assert_allclose(found[1][device], sums, rtol=1e-5, atol=1e-6)


def test_moving_average_codebook_against_the_closed_form():
    # After steps 1 .. T: average_T = decay^T average_0 + (1 - decay) sum_t decay^(T - t) x_t.
    decay, steps = 0.9, 6
    rng = np.random.default_rng(8)
    counts = rng.integers(1, 9, (steps + 1, C, K)).astype(np.float64)
    sums = rng.normal(size=(steps + 1, C, K, E))
    powers = [decay**steps, *((1 - decay) * decay ** (steps - t) for t in range(1, steps + 1))]
    mean_counts = np.einsum("t,tck->ck", powers, counts)
    mean_sums = np.einsum("t,tcke->cke", powers, sums)

    mean_count, mean_sum = jnp.asarray(counts[0]), jnp.asarray(sums[0])
    vectors = jnp.zeros((C, K, E))
    for t in range(1, steps + 1):
        vectors, mean_count, mean_sum = quantize.moving_average_codebook(
            mean_count, mean_sum, jnp.asarray(counts[t]), jnp.asarray(sums[t]), decay=decay
        )
    np.testing.assert_allclose(mean_count, mean_counts, rtol=1e-5)
    np.testing.assert_allclose(mean_sum, mean_sums, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(vectors, mean_sums / mean_counts[..., None], rtol=1e-4, atol=1e-5)


def test_moving_average_smooths_counts():
    # By hand: counts (3, 0), Laplace with 0.5: (3.5, 0.5) / 4 * 3 = (2.625, 0.375).
    vectors, counts, sums = quantize.moving_average_codebook(
        jnp.array([[3.0, 0.0]]),
        jnp.array([[[6.0], [1.5]]]),
        jnp.zeros((1, 2)),
        jnp.zeros((1, 2, 1)),
        decay=1.0,
        smoothing=0.5,
    )
    np.testing.assert_allclose(vectors, [[[6 / 2.625], [1.5 / 0.375]]], rtol=1e-6)
    np.testing.assert_array_equal(counts, [[3, 0]])
    np.testing.assert_array_equal(sums, [[[6], [1.5]]])


def test_an_unused_code_stays_finite():
    vectors, counts, sums = jnp.ones((1, 2, 1)), jnp.ones((1, 2)), jnp.ones((1, 2, 1))
    for _ in range(200):
        vectors, counts, sums = quantize.moving_average_codebook(
            counts, sums, jnp.array([[4.0, 0.0]]), jnp.array([[[8.0], [0.0]]]), decay=0.5
        )
    np.testing.assert_allclose(vectors[0, 0], 2, rtol=1e-4)
    assert np.isfinite(vectors).all()


def test_restart_dead_codes(h, codebooks):
    counts = np.array([[1.0, 0.2, 0.5, 3, 0], [0.4, 1, 1, 1, 1]], np.float32)
    moved, dead = quantize.restart_dead_codes(
        jax.random.key(0), codebooks, jnp.asarray(counts), h, threshold=0.5
    )
    np.testing.assert_array_equal(dead, counts < 0.5)
    for c, k in np.ndindex(C, K):
        if not dead[c, k]:
            np.testing.assert_array_equal(moved[c, k], codebooks[c, k])
            continue
        # A dead code lands on an output of its own codebook's chunk.
        assert (h[:, c].reshape(-1, E) == np.asarray(moved[c, k])).all(-1).any()
    again, _ = quantize.restart_dead_codes(
        jax.random.key(1), codebooks, jnp.asarray(counts), h, threshold=0.5
    )
    assert not np.array_equal(moved, again)


def test_usage_entropy_and_perplexity():
    usage = jnp.array([[1.0, 1, 1, 1], [8, 0, 0, 0], [2, 2, 0, 0], [1, 2, 3, 4]])
    entropies = []
    for row in np.asarray(usage):
        p = row / row.sum()
        entropies.append(-sum(x * np.log(x) for x in p if x > 0))
    np.testing.assert_allclose(quantize.usage_entropy(usage), entropies, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(quantize.perplexity(usage), np.exp(entropies), rtol=1e-5)
    np.testing.assert_allclose(quantize.perplexity(usage)[:3], [4, 1, 2], rtol=1e-5)
    # All-zero counts do not give NaN.
    assert np.isfinite(quantize.usage_entropy(jnp.zeros((1, 4)))).all()


def test_usage_entropy_has_the_right_gradient():
    check_grads(quantize.usage_entropy, (_normal(9, C, K) ** 2 + 0.5,), order=1, modes=["rev"])
