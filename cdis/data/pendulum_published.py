"""Pendulum as CausalVAE published it: the same pictures, drawn by formulas instead of matplotlib.

The published script draws into axes with matplotlib's default margins, which clip, on a figure of
one inch at 96 dots per inch. Facts, read from causal_data/pendulum.py of CausalVAE (Huawei,
trustworthyAI) and from matplotlib:

  frame    x in [0, 20] is 74.4 pixels wide and y in [-1, 21] is 73.92 high, so that discs are
           ellipses; nothing is drawn outside columns 12 to 85 and rows 12 to 84
  discs    the sun is orange, the ball firebrick; the outline, of one point, adds 2/3 pixel
  strokes  rod and shadow are black, 3 points (4 pixels) wide, with butt ends; rod before ball
  snapping the ends of a horizontal or vertical stroke are rounded to whole pixels: every shadow,
           and the rod that hangs straight down
  grid     angles i pi / 200, i in -40..43, and lights j pi / 200, j in 60..147 except 100

So most of the sun's upper half is cut off in every image, its side in 924 of the 7,308, and an end
of the shadow in 114; a shadow's length can be read to about a tenth of its unit. Labels are in full
precision, those of pendulum/clean.
"""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Bool, Float, Float32, Int64, Num, UInt8

from cdis.data.builder import SPLITS, split_of
from cdis.data.generated import GeneratedBuilder
from cdis.data.info import Info
from cdis.data.mechanism import Mechanism
from cdis.data.pendulum import (
    ANGLES,
    BALL,
    BLACK,
    GRAPH,
    LIGHT_ANGLES,
    NAMES,
    ORANGE,
    PIVOT_X,
    PIVOT_Y,
    ROD,
    SUN,
    SUN_Y,
    counterfactual,
    scene,
)
from cdis.data.rendering import (
    WHITE,
    brightness,
    centroid,
    over,
    render_all,
    solid,
    value_statistics,
)

SIDE = 96
_VERTICAL = 100  # the light whose tangent is infinite; the script leaves it out
_WIDTH, _LOWEST, _HEIGHT = 20.0, -1.0, 22.0  # of the plane that is drawn
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.125 * SIDE, 0.9 * SIDE, 0.12 * SIDE, 0.89 * SIDE
_ACROSS, _DOWN = (_RIGHT - _LEFT) / _WIDTH, (_BOTTOM - _TOP) / _HEIGHT  # pixels per unit
_COLUMNS, _ROWS = slice(12, 86), slice(12, 85)  # within the axes
_SUN_ROWS, _PENDULUM_ROWS, _SHADOW_ROWS = slice(12, 29), slice(40, 82), slice(82, 85)
_WIDEST = slice(12, 20)  # rows of the sun in which both its edges are steep
_POINT = SIDE / 72  # pixels
_OUTLINE, _STROKE = 0.5 * _POINT, 1.5 * _POINT  # half the width
_FIREBRICK = (178.0, 34.0, 34.0)


@functools.cache
def steps() -> Int64[np.ndarray, "n 2"]:
    """Angle and light of every image in steps of pi / 200, in the order in which they are drawn."""
    angles, lights = (np.arange(low, high + 1) for low, high in (ANGLES, LIGHT_ANGLES))
    grid = np.meshgrid(angles, lights[lights != _VERTICAL], indexing="ij")
    return np.stack([step.ravel() for step in grid], axis=1)


def published_test() -> Bool[np.ndarray, " n"]:
    """Which images the published script puts into test: every fourth from the fifth on."""
    number = np.arange(len(steps()))
    return (number % 4 == 0) & (number > 0)


@functools.cache
def table() -> Float32[np.ndarray, "n 4"]:
    """The values of every image, in the order of `steps`."""
    return scene(*steps().T).astype(np.float32)


def _column(x: Array | float) -> Array | float:
    """Where x is, in pixels from the left edge of the image."""
    return _LEFT + _ACROSS * x


def _row(y: Array | float) -> Array | float:
    """Where y is, in pixels from the upper edge of the image."""
    return _BOTTOM - _DOWN * (y - _LOWEST)


def _centres(pixels: slice) -> Array:
    return jnp.arange(pixels.start, pixels.stop) + 0.5


def _disc(x: Array | float, y: Array | float, radius: float, rows: slice) -> Array:
    """Coverage of a disc with its outline: [b, rows, columns]."""
    wide, high = radius * _ACROSS + _OUTLINE, radius * _DOWN + _OUTLINE
    across = (_centres(_COLUMNS) - _column(x)) / wide
    down = (_centres(rows)[:, None] - _row(y)) / high
    return jnp.clip((1 - jnp.hypot(across, down)) * (wide * high) ** 0.5 + 0.5, 0, 1)


def _rod(x: Array, y: Array) -> Array:
    """Coverage of the stroke from the pivot to (x, y): [b, rows, columns]."""
    ends = [_column(PIVOT_X), _row(PIVOT_Y), _column(x), _row(y)]
    upright = jnp.abs(ends[2] - ends[0]) < 1e-4
    left, top, right, bottom = (jnp.where(upright, jnp.round(end), end) for end in ends)
    length = jnp.hypot(right - left, bottom - top)
    sine, cosine = (right - left) / length, (bottom - top) / length
    across, down = _centres(_COLUMNS) - left, _centres(_PENDULUM_ROWS)[:, None] - top
    along, beside = sine * across + cosine * down, cosine * across - sine * down
    ends = jnp.clip(jnp.minimum(along, length - along) + 0.5, 0, 1)
    return ends * jnp.clip(_STROKE - jnp.abs(beside) + 0.5, 0, 1)


@jax.jit
def _render(values: Float[Array, "b 4"]) -> UInt8[Array, "b 96 96 3"]:
    """Renders strip by strip, since sun, pendulum and shadow never share a row."""
    angle, light, length, position = values.T[:, :, None, None]
    sun = over(WHITE, _disc(light, SUN_Y, SUN, _SUN_ROWS), ORANGE)
    x, y = PIVOT_X + ROD * jnp.sin(angle), PIVOT_Y - ROD * jnp.cos(angle)
    ball = _disc(x, y, BALL, _PENDULUM_ROWS)
    pendulum = over(over(WHITE, _rod(x, y), BLACK), ball, _FIREBRICK)
    start, end = (jnp.round(_column(position + half)) for half in (-length / 2, length / 2))
    column = _centres(_COLUMNS)
    shadow = over(WHITE, ((start < column) & (column < end)).astype(jnp.float32), BLACK)

    image = jnp.full((len(values), SIDE, SIDE, 3), 255, jnp.uint8)
    for rows, strip in (
        (_SUN_ROWS, sun),
        (_PENDULUM_ROWS, pendulum),
        (_SHADOW_ROWS, shadow),
    ):
        image = image.at[:, rows, _COLUMNS].set(jnp.round(strip).astype(jnp.uint8))
    return image


@jax.jit
def _referee(images: Num[Array, "b 96 96 3"]) -> Float[Array, "b 4"]:
    """Reads the sun by its lack of blue, the ball by red minus green, the shadow by darkness.

    A sun that is cut at one side is read by its other edge; of a shadow, what is visible.
    """
    red, green, blue = jnp.moveaxis(brightness(images)[:, _ROWS, _COLUMNS], -1, 0)
    x = (_centres(_COLUMNS) - _LEFT) / _ACROSS
    y = (_BOTTOM - _centres(_ROWS)) / _DOWN + _LOWEST

    def within(rows: slice) -> slice:
        """`rows` of the image, as rows within the axes."""
        return slice(rows.start - _ROWS.start, rows.stop - _ROWS.start)

    bright = solid(1 - blue[:, within(_SUN_ROWS)] / 255, 0.04)
    rows = within(_WIDEST)
    middle, width = centroid(bright[:, rows], x), bright[:, rows].sum(2) / _ACROSS
    radius = SUN + _OUTLINE / _ACROSS
    half = radius * jnp.sqrt(1 - ((y[rows] - SUN_Y) / (SUN + _OUTLINE / _DOWN)) ** 2)
    by_left, by_right = (
        (middle - width / 2 + half).mean(1),
        (middle + width / 2 - half).mean(1),
    )
    light = jnp.where(by_left > _WIDTH - radius, by_left, centroid(bright.sum(1), x))
    light = jnp.where(by_right < radius, by_right, light)

    rows = within(_PENDULUM_ROWS)
    ball = solid((red - green)[:, rows] / (_FIREBRICK[0] - _FIREBRICK[1]), 0.04)
    angle = jnp.arctan2(
        centroid(ball.sum(1), x) - PIVOT_X, PIVOT_Y - centroid(ball.sum(2), y[rows])
    )
    # Averaged over rows before thresholding, so that vertical blur does not shorten the shadow.
    rows = slice(within(_SHADOW_ROWS).start - 1, None)
    dark = (1 - red[:, rows] / 255).sum(1) / (_SHADOW_ROWS.stop - _SHADOW_ROWS.start)
    ground = solid(dark, 0.04)
    return jnp.stack([angle, light, ground.sum(-1) / _ACROSS, centroid(ground, x)], axis=-1)


@jax.jit
def _inside(values: Float[Array, "b 4"]) -> Array:
    """Whether all of the pendulum and the shadow is visible, and at least half as much of the sun
    as when it is in the middle.
    """
    angle, light, length, position = values.T
    ends = (position - length / 2 >= 0) & (position + length / 2 <= _WIDTH)
    sun = (light >= 0) & (light <= _WIDTH)
    return sun & ends & (length > 0) & (jnp.abs(angle) <= np.pi / 2)


#: Of every Pendulum in the published framing. A label in full precision has no noise to recover.
MECHANISM = Mechanism(
    counterfactual=functools.partial(counterfactual, kind="clean"),
    render=_render,
    referee=_referee,
    inside=_inside,
)


class PublishedPendulum(GeneratedBuilder):
    """This module as the tfds data set pendulum/published; values as in `cdis.data.pendulum`."""

    name = "pendulum"
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="published")]

    @classmethod
    def facts(cls, config: tfds.core.BuilderConfig) -> Info:
        values = table()
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=NAMES,
            factor_sizes=(0,) * 4,
            circular=(False,) * 4,
            image_shape=(SIDE, SIDE, 3),
            licence="Apache-2.0 (rendered by cdis; no third-party material)",
            citation=(
                "Rendered by cdis to look like the images of CausalVAE (Yang, Liu, Chen, Shen, "
                "Hao and Wang, CVPR 2021)."
            ),
            description=(
                "A sun, a pendulum and its shadow, framed, coloured and cut off as published; "
                "labels in full precision."
            ),
            count=len(values),
            graph=GRAPH,
            **value_statistics(values),
        )

    @classmethod
    def mechanism(cls, config: tfds.core.BuilderConfig) -> Mechanism:
        del config
        return MECHANISM

    def split(self) -> UInt8[np.ndarray, " n"]:
        """The published test images, which are thus new to a model trained here.

        Of the others, 15 % validate.
        """
        tests = published_test()
        train, validation, test = range(len(SPLITS))
        split = np.full(len(tests), test, np.uint8)
        drawn = split_of(len(tests) - tests.sum(), self.SPLIT_SEED)
        split[~tests] = np.where(drawn == validation, validation, train)
        return split

    @classmethod
    def examples(
        cls, config: tfds.core.BuilderConfig, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        del config
        values = table()[index]
        return render_all(_render, values), np.zeros(values.shape, np.int32), values
