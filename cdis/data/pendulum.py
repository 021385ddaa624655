"""Pendulum: a sun, a pendulum and the shadow that they cause. Rendered; nothing to download.

The geometry is that of CausalVAE (Yang, Liu, Chen, Shen, Hao and Wang, "CausalVAE: Disentangled
Representation Learning via Neural Structural Causal Models", CVPR 2021). In its plane, y up: the
pivot is at (10, 10.5); a ball of radius 1.5 hangs from it on a rod of length 8; the sun, of radius
3, is at y = 20.5. All light is parallel to the line from the sun's centre to the pivot; the shadow
lies on y = -0.5, between the projections of the pivot and of the pendulum's far end, at distance
9.5 from it. A shadow is at least 3 long.

Departures from the published data set, whose labels are rounded and whose objects are cut off:
  frame         x in [-5, 27] and y in [-4, 28] instead of x in [0, 20] and y in [-1, 21]: the whole
                sun is visible, and in "clean" and "mixed" so is a shadow of any length that occurs
                at any position that occurs
  light         labelled by the x of the sun's centre, not by its angle; its angle, in steps of 0.9
                degrees, has no gap at the vertical, which makes 7,392 images instead of 7,308
  strokes       rod 0.5 wide, shadow 1 thick with square ends, all antialiased, on white
  noisy, mixed  ours: see `_table`
"""

import dataclasses
import functools
from types import ModuleType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Float, Float64, Int, Num, UInt8

from cdis.data.generated import GeneratedBuilder
from cdis.data.info import Info
from cdis.data.mechanism import Mechanism
from cdis.data.rendering import (
    WHITE,
    brightness,
    centroid,
    gaussian,
    over,
    render_all,
    solid,
    span,
    uniform,
    value_statistics,
)

NAMES = ("pendulum_angle", "light_position", "shadow_length", "shadow_position")
GRAPH = ((0, 0, 0, 0), (0, 0, 0, 0), (1, 1, 0, 0), (1, 1, 0, 0))

PIVOT_X, PIVOT_Y, ROD, BALL = 10.0, 10.5, 8.0, 1.5
SUN_Y, SUN, _GROUND, _SHORTEST = 20.5, 3.0, -0.5, 3.0
_LEFT, _TOP, _FRAME = -5, 28, 32
_ROD_WIDTH, _SHADOW_HEIGHT = 0.5, 1.0
ORANGE, _DARK_RED, BLACK = (255.0, 165.0, 0.0), (139.0, 0.0, 0.0), (0.0, 0.0, 0.0)

ANGLES, LIGHT_ANGLES = (-40, 43), (60, 147)  # in steps of pi / 200
NOISE = 0.5
INDEPENDENT = 0.3
_SAMPLED = 20_000


def shadow(angle: Any, light: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Length and position of the shadow, given its causes; `xp` is numpy or jax.numpy."""
    slant = (light - PIVOT_X) / (SUN_Y - PIVOT_Y)  # of the light: dx / dy
    far = ROD + BALL
    pivot = PIVOT_X - slant * (PIVOT_Y - _GROUND)
    end = PIVOT_X + far * xp.sin(angle) - slant * (PIVOT_Y - far * xp.cos(angle) - _GROUND)
    return xp.maximum(_SHORTEST, xp.abs(pivot - end)), (pivot + end) / 2


def scene(
    angle_step: Float[np.ndarray, " n"] | Int[np.ndarray, " n"],
    light_step: Float[np.ndarray, " n"] | Int[np.ndarray, " n"],
) -> Float64[np.ndarray, "n 4"]:
    """The values, in the order of `NAMES`, at angles of the pendulum and of the light in pi / 200.

    The angle of the light is that between it and the x axis: 100 is straight down.
    """
    angle = angle_step * np.pi / 200
    light = PIVOT_X + (SUN_Y - PIVOT_Y) / np.tan(light_step * np.pi / 200)
    return np.stack([angle, light, *shadow(angle, light, np)], axis=1)


@functools.cache
def _table(kind: str) -> Float[np.ndarray, "n 4"]:
    """The values of every image of a variant, float32, in the order of their indices.

    clean: every angle of a grid (84) with every light (88), the light varying fastest.
    noisy: 20,000 angles and lights sampled uniformly from the same ranges; Gaussian noise of
      standard deviation 0.5 on the shadow's length and, independently, on its position.
    mixed: the same angles and lights without noise; but with probability 0.3 a shadow is
      independent of its causes: its length and position are uniform in [3, 12] and [3, 18].
    """
    if kind == "clean":
        steps = [np.arange(low, high + 1) for low, high in (ANGLES, LIGHT_ANGLES)]
        turn, light_turn = (grid.ravel() for grid in np.meshgrid(*steps, indexing="ij"))
    else:
        samples = uniform(0, 2 * _SAMPLED).reshape(2, -1)
        turn, light_turn = (
            low + (high - low) * sample
            for sample, (low, high) in zip(samples, (ANGLES, LIGHT_ANGLES), strict=True)
        )
    angle, light, length, position = scene(turn, light_turn).T
    if kind == "noisy":
        noise = NOISE * gaussian(1, 2 * _SAMPLED).reshape(2, -1)
        length, position = length + noise[0], position + noise[1]
    if kind == "mixed":
        which, long, where = uniform(2, 3 * _SAMPLED).reshape(3, -1)
        length = np.where(which < INDEPENDENT, 3 + 9 * long, length)
        position = np.where(which < INDEPENDENT, 3 + 15 * where, position)
    return np.stack([angle, light, length, position], axis=1).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("factor", "kind"))
def counterfactual(
    values: Float[Array, "b 4"], factor: int, value: Float[Array, " b"], *, kind: str
) -> Float[Array, "b 4"]:
    changed = values.at[:, factor].set(value)
    if factor >= 2:
        return changed
    before, after = (jnp.stack(shadow(v[:, 0], v[:, 1], jnp), -1) for v in (values, changed))
    noise = values[:, 2:] - before
    effects = after + noise
    if kind == "mixed":
        # A shadow that differs from what its causes imply is independent of them, and stays.
        effects = jnp.where((jnp.abs(noise) > 1e-3).any(-1, keepdims=True), values[:, 2:], after)
    return changed.at[:, 2:].set(effects)


def _y(high: float, low: float, side: int) -> tuple[int, Array]:
    """The first row between two heights, and the y of all row centres: [rows, 1]."""
    scale = side // _FRAME
    first = int((_TOP - high) * scale)
    rows = jnp.arange(first, int((_TOP - low) * scale))
    return first, (_TOP - (rows + 0.5) / scale)[:, None]


@functools.partial(jax.jit, static_argnames="side")
def _render(values: Float[Array, "b 4"], *, side: int) -> UInt8[Array, "b side side 3"]:
    """Renders strip by strip, since sun, pendulum and shadow never share a row."""
    scale = side // _FRAME
    angle, light, length, position = values.T[:, :, None, None]
    x = _LEFT + (jnp.arange(side) + 0.5) / scale

    def within(distance: Array, radius: float) -> Array:
        return jnp.clip(scale * (radius - distance) + 0.5, 0, 1)

    first_sun, y = _y(24, 17, side)
    sun = over(WHITE, within(jnp.hypot(x - light, y - SUN_Y), SUN), ORANGE)

    first_rod, y = _y(13, 0, side)
    across, down = x - PIVOT_X, PIVOT_Y - y
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    along, beside = sine * across + cosine * down, cosine * across - sine * down
    beyond = along - jnp.clip(along, 0, ROD)
    rod = within(jnp.hypot(beyond, beside), _ROD_WIDTH / 2)
    ball = within(jnp.hypot(along - ROD, beside), BALL)
    pendulum = over(over(WHITE, rod, BLACK), ball, _DARK_RED)

    first_shadow, y = _y(_GROUND + _SHADOW_HEIGHT / 2, _GROUND - _SHADOW_HEIGHT / 2, side)
    start, end = ((position + half - _LEFT) * scale for half in (-length / 2, length / 2))
    ground = jnp.broadcast_to(span(start, end, 0, side)[:, 0], (len(values), len(y), side))
    dark = over(WHITE, ground, BLACK)

    image = jnp.full((len(values), side, side, 3), 255, jnp.uint8)
    for first, strip in ((first_sun, sun), (first_rod, pendulum), (first_shadow, dark)):
        strip = jnp.round(strip).astype(jnp.uint8)
        image = image.at[:, first : first + strip.shape[1]].set(strip)
    return image


@jax.jit
def _referee(images: Num[Array, "b side side 3"]) -> Float[Array, "b 4"]:
    """Reads the sun by its lack of blue, the ball by red minus green, the shadow by darkness."""
    red, green, blue = jnp.moveaxis(brightness(images), -1, 0)
    side = red.shape[-1]
    scale = side // _FRAME
    x = _LEFT + (jnp.arange(side) + 0.5) / scale
    y = _TOP - (jnp.arange(side) + 0.5) / scale

    sun = solid(1 - blue[:, : 15 * scale] / 255, 0.04).sum(1)
    above = slice(14 * scale, 28 * scale - 1)
    ball = solid((red - green)[:, above] / _DARK_RED[0], 0.04)
    angle = jnp.arctan2(
        centroid(ball.sum(1), x) - PIVOT_X, PIVOT_Y - centroid(ball.sum(2), y[above])
    )
    # Summed over rows before thresholding, so that vertical blur does not shorten the shadow.
    dark = 1 - red[:, 28 * scale - 1 : 30 * scale] / 255
    ground = solid(dark.sum(1) / (_SHADOW_HEIGHT * scale), 0.04)
    return jnp.stack(
        [angle, centroid(sun, x), ground.sum(-1) / scale, centroid(ground, x)], axis=-1
    )


@jax.jit
def _inside(values: Float[Array, "b 4"]) -> Array:
    angle, light, length, position = values.T
    right = _LEFT + _FRAME
    sun = (light - SUN >= _LEFT) & (light + SUN <= right)
    ends = (position - length / 2 >= _LEFT) & (position + length / 2 <= right)
    return sun & ends & (length > 0) & (jnp.abs(angle) <= np.pi / 2)


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration: "clean", "noisy" or "mixed", and the side of an image in pixels."""

    kind: str
    side: int


_DESCRIPTIONS = {
    "clean": "A grid of angles and lights; the shadow is a function of both.",
    "noisy": "Random angles and lights; Gaussian noise on the shadow's length and position.",
    "mixed": "Random angles and lights; 30 % of the shadows are independent of their causes.",
}


class Pendulum(GeneratedBuilder):
    """The variants of this module as tfds data sets, pendulum/clean, pendulum/clean_96 and so on.

    Values: pendulum_angle in radians, counter-clockwise from hanging down, so that the ball is on
    the right for positive angles; the others in units of the plane, x to the right.
    """

    name = "pendulum"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name=kind + suffix, kind=kind, side=side)
        for suffix, side in (("", 64), ("_96", 96))
        for kind in _DESCRIPTIONS
    ]

    @classmethod
    def facts(cls, config: Variant) -> Info:
        values = _table(config.kind)
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=NAMES,
            factor_sizes=(0,) * 4,
            circular=(False,) * 4,
            image_shape=(config.side, config.side, 3),
            licence="Apache-2.0 (rendered by cdis; no third-party material)",
            citation=(
                "Rendered by cdis with the geometry and ranges of CausalVAE (Yang, Liu, Chen, "
                "Shen, Hao and Wang, CVPR 2021), not with its images."
            ),
            description=f"A sun, a pendulum and its shadow. {_DESCRIPTIONS[config.kind]}",
            count=len(values),
            graph=GRAPH,
            **value_statistics(values),
        )

    @classmethod
    def mechanism(cls, config: Variant) -> Mechanism:
        return Mechanism(
            counterfactual=functools.partial(counterfactual, kind=config.kind),
            render=functools.partial(_render, side=config.side),
            referee=_referee,
            inside=_inside,
        )

    @classmethod
    def examples(
        cls, config: Variant, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = _table(config.kind)[index]
        images = render_all(functools.partial(_render, side=config.side), values)
        return images, np.zeros(values.shape, np.int32), values
