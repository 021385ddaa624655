"""Vector quantisation with one or several codebooks.

Encoder outputs are `h[b, c, m, :]`: image b, codebook c, place m on the latent grid. One codebook
is the case C = 1. Codes are integers `[B, C, M]`, flattened to nodes `[B, N]` with `N = C * M`.

Sources: van den Oord, Vinyals and Kavukcuoglu, "Neural Discrete Representation Learning" (2017);
several codebooks: Gendron, Witbrock and Dobbie, arXiv 2302.00869.
"""

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def split_codebooks(
    latent: Float[Array, "b h w d"], *, num_codebooks: int
) -> Float[Array, "b c m e"]:
    """Cut channels into `num_codebooks` contiguous chunks: chunk c is `c*D/C : (c+1)*D/C`.

    Raises:
      ValueError: the number of channels is not divisible by `num_codebooks`.
    """
    chex.assert_rank(latent, 4)
    b, h, w, d = latent.shape
    if d % num_codebooks:
        raise ValueError(f"{d} channels do not divide into {num_codebooks} codebooks")
    return latent.reshape(b, h * w, num_codebooks, d // num_codebooks).swapaxes(1, 2)


def merge_codebooks(
    chunks: Float[Array, "b c m e"], *, grid: tuple[int, int]
) -> Float[Array, "b h w d"]:
    """Inverse of `split_codebooks`; `grid` is the latent grid (H, W)."""
    chex.assert_rank(chunks, 4)
    b, c, _, e = chunks.shape
    return chunks.swapaxes(1, 2).reshape(b, *grid, c * e)


def negative_distances(
    h: Float[Array, "b c m e"], codebooks: Float[Array, "c k e"]
) -> Float[Array, "b c m k"]:
    """`-|h - e_k|^2 + |h|^2 = 2 h . e_k - |e_k|^2`: one matrix product.

    The omitted term is the same for all codes, so it changes neither argmax nor softmax.
    """
    chex.assert_equal_shape_prefix([h[0], codebooks], 1)
    inner = jnp.einsum("bcme,cke->bcmk", h, codebooks)
    return 2 * inner - jnp.sum(codebooks**2, axis=-1)[None, :, None, :]


def nearest_code(
    h: Float[Array, "b c m e"], codebooks: Float[Array, "c k e"]
) -> Int[Array, "b c m"]:
    """`q = argmin_k |h - e_k|^2`, each chunk in its own codebook (arXiv 2302.00869, section 3)."""
    return jnp.argmax(negative_distances(h, codebooks), axis=-1).astype(jnp.int32)


def lookup(codes: Int[Array, "b c m"], codebooks: Float[Array, "c k e"]) -> Float[Array, "b c m e"]:
    """The vectors of integer codes."""
    chex.assert_rank([codes, codebooks], [3, 3])
    return jax.vmap(lambda q, e: e[q], in_axes=(1, 0), out_axes=1)(codes, codebooks)


def lookup_one_hot(
    one_hot: Float[Array, "b n k"], codebooks: Float[Array, "c k e"]
) -> Float[Array, "b c m e"]:
    """The vectors of one-hot codes of nodes, differentiable with respect to the codes as well."""
    chex.assert_rank([one_hot, codebooks], [3, 3])
    num_codebooks, num_codes, _ = codebooks.shape
    one_hot = one_hot.reshape(len(one_hot), num_codebooks, -1, num_codes)
    return jnp.einsum("bcmk,cke->bcme", one_hot, codebooks)


def straight_through(value: Array, gradient_of: Array) -> Array:
    """Exactly `value` forward; the gradient of `gradient_of` backward."""
    chex.assert_equal_shape([value, gradient_of])
    return jax.lax.stop_gradient(value) + (gradient_of - jax.lax.stop_gradient(gradient_of))


def log_assignment(
    h: Float[Array, "b c m e"], codebooks: Float[Array, "c k e"], *, temperature: float
) -> Float[Array, "b c m k"]:
    """`log softmax_k(-|h - e_k|^2 / temperature)`: soft assignments to codes."""
    return jax.nn.log_softmax(negative_distances(h, codebooks) / temperature, axis=-1)


def straight_through_one_hot(
    codes: Int[Array, "..."], probabilities: Float[Array, "... k"]
) -> Float[Array, "... k"]:
    """One-hot `codes` forward; the gradient of `probabilities` backward.

    With the nearest codes and their soft assignments, a loss on codes trains the encoder and the
    codebooks.
    """
    hard = jax.nn.one_hot(codes, probabilities.shape[-1], dtype=probabilities.dtype)
    return straight_through(hard, probabilities)


def quantisation_losses(
    h: Float[Array, "b c m e"], quantised: Float[Array, "b c m e"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Codebook loss `mean |sg(h) - e_q|^2` and commitment loss `mean |h - sg(e_q)|^2`.

    Means over elements, to which the published weights refer.
    """
    chex.assert_equal_shape([h, quantised])
    stop = jax.lax.stop_gradient
    return jnp.mean((stop(h) - quantised) ** 2), jnp.mean((h - stop(quantised)) ** 2)


def code_counts(
    codes: Int[Array, "b c m"], *, num_codes: int, axis_name: str | None = None
) -> Float[Array, "c k"]:
    """How often each code is used, summed over the batch and the devices of `axis_name`."""
    chex.assert_rank(codes, 3)
    counts = jax.nn.one_hot(codes, num_codes).sum(axis=(0, 2))
    return counts if axis_name is None else jax.lax.psum(counts, axis_name)


def code_sums(
    h: Float[Array, "b c m e"],
    codes: Int[Array, "b c m"],
    *,
    num_codes: int,
    axis_name: str | None = None,
) -> Float[Array, "c k e"]:
    """Sum of the encoder outputs assigned to each code, over the devices of `axis_name`."""
    sums = jnp.einsum("bcmk,bcme->cke", jax.nn.one_hot(codes, num_codes, dtype=h.dtype), h)
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)


def moving_average_codebook(
    mean_counts: Float[Array, "c k"],
    mean_sums: Float[Array, "c k e"],
    counts: Float[Array, "c k"],
    sums: Float[Array, "c k e"],
    *,
    decay: float,
    smoothing: float = 1e-5,
) -> tuple[Float[Array, "c k e"], Float[Array, "c k"], Float[Array, "c k e"]]:
    """Codebook as the moving average of its assigned encoder outputs: `e_k = sums_k / counts_k`.

    Counts are Laplace-smoothed (van den Oord et al. 2017, appendix A.1). Returns the codebooks and
    the new averages of counts and sums.
    """
    mean_counts = decay * mean_counts + (1 - decay) * counts
    mean_sums = decay * mean_sums + (1 - decay) * sums
    total = mean_counts.sum(axis=-1, keepdims=True)
    smooth = (mean_counts + smoothing) / (total + mean_counts.shape[-1] * smoothing) * total
    return mean_sums / smooth[..., None], mean_counts, mean_sums


def restart_dead_codes(
    key: PRNGKeyArray,
    codebooks: Float[Array, "c k e"],
    mean_counts: Float[Array, "c k"],
    h: Float[Array, "b c m e"],
    *,
    threshold: float,
) -> tuple[Float[Array, "c k e"], Float[Array, "c k"]]:
    """Move each code used less than `threshold` times a step onto a random encoder output.

    Returns the codebooks and which codes moved (1 or 0).
    """
    chex.assert_equal_shape_prefix([codebooks, mean_counts], 2)
    b, c, m, e = h.shape
    outputs = h.swapaxes(0, 1).reshape(c, b * m, e)
    picks = jax.random.randint(key, mean_counts.shape, 0, b * m)
    candidates = jax.vmap(lambda rows, pick: rows[pick])(outputs, picks)
    dead = mean_counts < threshold
    return jnp.where(dead[..., None], candidates, codebooks), dead.astype(h.dtype)


def usage_entropy(usage: Float[Array, "c k"]) -> Float[Array, " c"]:
    """Entropy in nats of each codebook's usage; rows of `usage` need not be normalised."""
    p = usage / jnp.maximum(usage.sum(axis=-1, keepdims=True), 1e-12)
    # The floor keeps the gradient finite at codes that are never used.
    return -jnp.sum(p * jnp.log(jnp.maximum(p, 1e-12)), axis=-1)


def perplexity(usage: Float[Array, "c k"]) -> Float[Array, " c"]:
    """`exp(entropy)` of each codebook's usage: the effective number of codes in use, 1 to K."""
    return jnp.exp(usage_entropy(usage))
