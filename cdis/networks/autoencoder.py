"""Encoders and decoders: parameters and shapes. Images are float32, NHWC, of any size.

Encoders repeat the last row and column up to the multiple that they need; decoders crop.

`Grid*` are those of CT-VAE, with a grid of latent places, and start as in PyTorch. In `Compact*`
every latent sees the whole image, so that a code can stand for a factor rather than for a patch. So
it does in `Patch*`, with convolutions in encoder and decoder; patches of pixels as channels make
them cheap on a CPU.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdis.networks.start import within
from cdis.ops.images import depth_to_space, pad_to_multiple, space_to_depth

_LEAK = 0.01  # slope of a saturated pixel


class ResidualBlock(nn.Module):
    """3x3 convolution, ReLU, 1x1 convolution, added to the input; no bias."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        hidden = nn.relu(_convolved(x, self.width, 3, use_bias=False))
        return x + _convolved(hidden, x.shape[-1], 1, use_bias=False)


class GridEncoder(nn.Module):
    """One stride-2 4x4 convolution per width, 3x3, residual blocks, 1x1 to the latent channels.

    arXiv 2302.00869, section 5 (widths 64, 128, 256; 6 blocks), and its authors' code, which has
    the `last_activation`: a LeakyReLU on the latents.
    """

    widths: tuple[int, ...]
    residual_blocks: int
    latent: int
    last_activation: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        x = pad_to_multiple(x, 2 ** len(self.widths))
        for width in self.widths:
            x = nn.leaky_relu(_convolved(x, width, 4, strides=2))
        x = nn.leaky_relu(_convolved(x, self.widths[-1], 3))
        for _ in range(self.residual_blocks):
            x = ResidualBlock(self.widths[-1])(x)
        x = _convolved(nn.leaky_relu(x), self.latent, 1)
        return nn.leaky_relu(x) if self.last_activation else x


class GridDecoder(nn.Module):
    """The mirror image of `GridEncoder`, with tanh at the end."""

    widths: tuple[int, ...]
    residual_blocks: int
    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, x: Float[Array, "b i j d"]) -> Float[Array, "b h w c"]:
        height, width, channels = self.image_shape
        x = nn.leaky_relu(_convolved(x, self.widths[-1], 3))
        for _ in range(self.residual_blocks):
            x = ResidualBlock(self.widths[-1])(x)
        x = nn.leaky_relu(x)
        for features in self.widths[-2::-1]:
            x = nn.leaky_relu(_enlarged(x, features))
        return jnp.tanh(_enlarged(x, channels)[:, :height, :width])


def _convolved(
    x: Float[Array, "b h w c"], features: int, size: int, **options: Any
) -> Float[Array, "b i j d"]:
    """Convolution, with initial values as in PyTorch."""
    start = within((size**2 * x.shape[-1]) ** -0.5)
    return nn.Conv(features, (size, size), kernel_init=start, bias_init=start, **options)(x)


def _enlarged(x: Float[Array, "b h w c"], features: int) -> Float[Array, "b 2*h 2*w d"]:
    """Transposed 4x4 convolution of stride 2, with initial values as in PyTorch."""
    start = within((4**2 * features) ** -0.5)
    return nn.ConvTranspose(features, (4, 4), strides=(2, 2), kernel_init=start, bias_init=start)(x)


class CompactEncoder(nn.Module):
    """Two views of the image, what is in it and where, joined into one bounded latent vector.

    The maximum and mean of convolutional features over places describe the content, wherever it
    stands; a narrow flattened feature map keeps the position. Outputs lie in (-2, 2).
    """

    patch: int  # side in pixels; the values of a patch become channels
    width: int  # of the convolutions
    hidden: int
    latent: int
    last: ClassVar[str] = "latent"  # name of the last layer

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        x = space_to_depth(pad_to_multiple(x, 4 * self.patch), self.patch)
        x = nn.relu(nn.Conv(self.width, (3, 3), strides=2)(x))
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        content = nn.relu(nn.Conv(2 * self.width, (3, 3))(x))
        # The mean over many places is small; the factor brings it to the maximum's scale.
        what = jnp.concatenate([content.max((1, 2)), 4 * content.mean((1, 2))], axis=-1)
        where = nn.relu(nn.Conv(self.width, (3, 3))(space_to_depth(x, 2)))
        where = nn.relu(nn.Dense(self.hidden)(where.reshape(len(where), -1)))
        hidden = nn.relu(nn.Dense(self.hidden)(jnp.concatenate([what, where], axis=-1)))
        # Small and of fixed length: otherwise Adam's first steps, equally large for all weights of
        # the last layer, may saturate every latent before the encoder has learnt anything.
        hidden = nn.LayerNorm(use_bias=False, use_scale=False)(hidden) / 4
        return 2 * jnp.tanh(nn.Dense(self.latent, name=self.last)(hidden) / 2)


def standardise_latents(params: dict[str, Any], latent: Float[Array, "b d"]) -> dict[str, Any]:
    """`CompactEncoder` parameters rescaled: before tanh, latents get mean 0 and std 1 on a batch.

    A freshly initialised encoder maps all images to nearly the same point, hence to the same codes,
    and training may never recover from that. `latent` is the encoder's output for the batch under
    `params`.
    """
    inner = 2 * jnp.arctanh(latent / 2)
    scale = 1 / jnp.maximum(inner.std(0), 1e-6)
    last = params[CompactEncoder.last]
    rescaled = {"kernel": last["kernel"] * scale, "bias": (last["bias"] - inner.mean(0)) * scale}
    return params | {CompactEncoder.last: rescaled}


class CompactDecoder(nn.Module):
    """Logits as a sum of separable images: `sum_r row_r(y) column_r(x) colour_r(c)`.

    A dense network maps the latent vector to the factors of every term (a canonical polyadic
    decomposition). It has far fewer outputs than there are pixels, and what it learns to render in
    one place it can render in another.
    """

    hidden: tuple[int, ...]
    rank: int
    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        for size in self.hidden:
            x = nn.relu(nn.Dense(size)(x))
        rows, columns, colours = (
            nn.Dense(size * self.rank)(x).reshape(len(x), size, self.rank)
            for size in self.image_shape
        )
        dark = nn.initializers.constant(-3.0)  # as a logit, nearly black
        return _sum_of_terms(rows, columns, colours) + self.param("bias", dark, ())


class FactorDecoder(nn.Module):
    """A `CompactDecoder` of pixels with a small network for each latent beside that of all.

    What one latent alone draws is then learnt once, for all combinations with the others, those
    that an intervention makes up included. At the end `tanh(x) + 0.01 x` saturates: terms that rise
    gently draw edges that are sharp, wherever these lie, which the sum alone learns slowly. The
    slope never vanishes, so pixels that saturate at the wrong end can come back.
    """

    hidden: tuple[int, ...]
    each: int  # hidden units for each latent
    rank: int
    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        joint = z
        for size in self.hidden:
            joint = nn.relu(nn.Dense(size)(joint))
        scaled = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        own, bend = z[..., None], nn.initializers.uniform(2.0)
        for i in range(2):
            kernel = self.param(f"own_kernel_{i}", scaled, (z.shape[-1], own.shape[-1], self.each))
            bias = self.param(f"own_bias_{i}", bend, (z.shape[-1], self.each))
            own = nn.relu(jnp.einsum("bdi,dio->bdo", own, kernel) + bias)
            bend = nn.initializers.zeros
        x = jnp.concatenate([joint, own.reshape(len(z), -1)], axis=-1)
        rows, columns, colours = (
            nn.Dense(size * self.rank)(x).reshape(len(x), size, self.rank)
            for size in self.image_shape
        )
        bias = self.param("bias", nn.initializers.ones, ())
        pixels = _sum_of_terms(rows, columns, colours) + bias
        return jnp.tanh(pixels) + _LEAK * pixels


def _sum_of_terms(
    rows: Float[Array, "b h r"], columns: Float[Array, "b w r"], colours: Float[Array, "b c r"]
) -> Float[Array, "b h w c"]:
    return jnp.einsum("bhr,bwr,bcr->bhwc", rows, columns, colours) / rows.shape[-1] ** 0.5


class PatchEncoder(nn.Module):
    """Patches of pixels as channels, two convolutions, the second of stride 2, two dense layers.

    `side` is side information, such as labels that the encoder may see.
    """

    patch: int
    width: int
    hidden: int
    latent: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], side: Float[Array, "b s"] | None = None
    ) -> Float[Array, "b d"]:
        x = space_to_depth(pad_to_multiple(x, self.patch), self.patch)
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        x = nn.relu(nn.Conv(self.width, (3, 3), strides=2)(x))
        x = x.reshape(len(x), -1)
        if side is not None:
            x = jnp.concatenate([x, side], axis=-1)
        x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(self.latent)(x)


class PatchDecoder(nn.Module):
    """The mirror image of `PatchEncoder`; pixels are not bounded."""

    patch: int
    width: int
    hidden: int
    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        height, width, channels = self.image_shape
        rows, columns = -(-height // (2 * self.patch)), -(-width // (2 * self.patch))
        x = nn.relu(nn.Dense(self.hidden)(z))
        x = nn.relu(nn.Dense(self.hidden)(x))
        x = nn.relu(nn.Dense(rows * columns * self.width)(x))
        x = x.reshape(-1, rows, columns, self.width)
        x = nn.relu(depth_to_space(nn.Conv(4 * self.width, (3, 3))(x), 2))
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        x = depth_to_space(nn.Conv(channels * self.patch**2, (3, 3))(x), self.patch)
        return x[:, :height, :width]


def patch_networks(
    image_shape: tuple[int, int, int],
    *,
    patch: int,
    width: int,
    hidden: int,
    rank: int,
    latent: int,
) -> tuple[PatchEncoder, PatchDecoder | FactorDecoder]:
    """Encoder to `latent` numbers, and decoder: the networks of every VAE here.

    With rank 0 the decoder is a `PatchDecoder`, with a positive rank a `FactorDecoder`: on rendered
    images (Pendulum) it takes a half of the time of the convolutions and has a tenth of their
    error.
    """
    encoder = PatchEncoder(patch, width, hidden, latent)
    if rank:
        return encoder, FactorDecoder((hidden,) * 3, max(1, hidden // 8), rank, image_shape)
    return encoder, PatchDecoder(patch, width, hidden, image_shape)
