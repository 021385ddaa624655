"""Flow drawn as CausalVAE's own images are, so that a model trained on these reads those.

The scene is that of `cdis.data.flow_physics`: a cup from x = 3 to x = 8 with walls 19 high, whose
water is at y = 5 + h. Frame, colours and strokes are those of the script of CausalVAE (Yang, Liu,
Chen, Shen, Hao and Wang, CVPR 2021; research/CausalVAE/causal_data/flow.py of
github.com/huawei-noah/trustworthyAI), as matplotlib's Agg renders them: axes from 0 to 20 in a
figure of 96 x 96 pixels with the default margins; walls, jet and ground 2 points wide, and the
outlines of ball and water 1 point. Agg moves horizontal and vertical strokes to whole pixels (0.27
units), so the walls, the opening in them and the water's surface move by whole pixels only; the
ball and the jet move freely.

What differs from the published images: labels are not cut, jet_reach includes the noise, the noise
is seeded, and splits share nothing.
"""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Float, Num, UInt8

from cdis.data.flow_physics import GRAPH, LANDING, NAMES, PUSH, counterfactual, grid, table
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
    value_statistics,
)

SIDE = 96
# Pixels from the left and from the top: x -> _LEFT + _ACROSS x, y -> _BOTTOM - _UP y.
_LEFT, _ACROSS, _BOTTOM, _UP = 12.0, 3.72, 85.44, 3.696
_RIGHT, _CUT = 86, 85  # the axes show no more columns and rows
# Half of 1 point and of 2 points in pixels: 2/3 and 4/3, but Agg draws them so.
_THIN, _THICK = 171 / 256, 342 / 256
_WALLS, _RIM, _WALL_X = (23.5, 42.5), 15.5, 8.0  # middles and upper end, in pixels; in units
_OPENING = 0.4  # units; the upper part of the wall begins so far above the hole
_BALL_X, _BALL_GAP, _BASE = 5.5, 0.5, 5.0
_STEPS = 49  # a jet is drawn as so many straight lines
_BLACK, _RED, _WATER = (0.0, 0.0, 0.0), (178.0, 34.0, 34.0), (135.0, 206.0, 250.0)
# The first rows that hold water, and ball and jet; the first columns that hold cup and jet.
_WET, _BUSY, _CUP, _JET = 40, 64, 22, 40
_DRY = 44  # the first column right of the cup


@functools.cache
def _table() -> Float[np.ndarray, "n 4"]:
    """The values of every image, float32, with noise of the published distribution."""
    noise = 0.01 * np.maximum(np.abs(gaussian(0, len(grid()[0]))), 1)
    return table(PUSH + noise).astype(np.float32)


def _row(y: Array) -> Array:
    return _BOTTOM - _UP * y


def _snapped(place: Array) -> Array:
    """The nearest middle of a pixel, as Agg finds it."""
    return jnp.floor(place + 0.5) + 0.5


def _stroke(middle: float) -> tuple[float, float]:
    return middle - _THICK, middle + _THICK


def _cup(values: Float[Array, "b 4"], first: int, last: int, right: int) -> Array:
    """Water and walls in rows [first, last) and columns [_CUP, right), on white."""
    _, height, hole, _ = values.T
    rows, columns = functools.partial(span, first=first, count=last - first), right - _CUP
    surface = _snapped(_row(_BASE + height)) - _THIN
    left, wall = (span(*_stroke(middle), _CUP, columns) for middle in _WALLS)
    opening = rows(_snapped(_row(hole + _OPENING)), _snapped(_row(hole)))
    wide = span(_WALLS[0] - _THIN, _WALLS[1] + _THIN, _CUP, columns)
    scene = over(WHITE, rows(surface, float(_CUT))[:, :, None] * wide, _WATER)
    return over(scene, left + (1 - opening[:, :, None]) * wall, _BLACK)


def _ball(radius: Float[Array, " b"], x: Array, y: Array) -> Array:
    """Coverage of pixels with middles at `x` and `y`: a disc and its outline."""
    across, up = (scale * jnp.maximum(radius, 1e-3)[:, None, None] for scale in (_ACROSS, _UP))
    beside = x - (_LEFT + _ACROSS * _BALL_X)
    below = y - _row(_BALL_GAP + radius)[:, None, None]
    distance = jnp.hypot(beside / across, below / up) - 1
    inside = -distance * (across + up) / 2
    fill = jnp.clip(inside + 0.5, 0, 1)
    return fill + (1 - fill) * jnp.clip(_THIN + 0.5 - jnp.abs(inside), 0, 1)


def _jet(values: Float[Array, "b 4"], x: Array, y: Array) -> Array:
    """Coverage of pixels with middles at `x` and `y`: a stroke along a parabola, with square ends.

    The parabola is (across t, down t^2) for t from 0 to 1, and its nearest point to a pixel a root
    of a cubic, found by Newton's method.
    """
    hole, reach = values.T[2:, :, None, None]
    across = _ACROSS * jnp.maximum(reach, 1e-3)
    down = _UP * jnp.maximum(hole - LANDING, 1e-3)
    u, v = x - (_LEFT + _ACROSS * _WALL_X), y - _row(hole)
    t = (u / across + jnp.sqrt(jnp.maximum(v, 0) / down)) / 2
    for _ in range(3):
        linear = across**2 - 2 * down * v
        slope = jnp.maximum(6 * down**2 * t**2 + linear, 1e-3 * across**2)
        t = jnp.clip((4 * down**2 * t**3 + across * u) / slope, 0, 1)
    # The first of the straight lines is steeper than the parabola where that begins.
    steep = 2 * down * jnp.maximum(t, 0.5 / jnp.sqrt(_STEPS)) / across
    u, v, length = u - across * t, v - down * t**2, jnp.sqrt(1 + steep**2)
    along, beside = jnp.abs(u + steep * v) / length, jnp.abs(v - steep * u) / length
    return jnp.clip(_THICK + 0.5 - along, 0, 1) * jnp.clip(_THICK + 0.5 - beside, 0, 1)


def _ground(first: int, last: int) -> Float[Array, "rows 1"]:
    """Coverage of rows [first, last) by the stroke at y = 0.2, most of which the axes cut off."""
    return span(85.5 - _THICK, _CUT, first, last - first)[:, None]


def _rounded(image: Array) -> UInt8[Array, "..."]:
    return jnp.round(image).astype(jnp.uint8)


def _empty() -> UInt8[Array, "96 96 3"]:
    """What all images share: the ground, and the walls above the water."""
    walls = sum((span(*_stroke(middle), 0, SIDE) for middle in _WALLS), jnp.zeros(SIDE))
    image = over(WHITE, span(_RIM, _WET, 0, SIDE)[:, None] * walls, _BLACK)
    return _rounded(over(image, _ground(0, SIDE) * span(_LEFT, _RIGHT, 0, SIDE), _BLACK))


@jax.jit
def _render(values: Float[Array, "b 4"]) -> UInt8[Array, "b 96 96 3"]:
    x = jnp.arange(_CUP, _RIGHT) + 0.5
    y = (jnp.arange(_BUSY, _CUT) + 0.5)[:, None]
    low = over(_cup(values, _BUSY, _CUT, _RIGHT), _ball(values[:, 0], x, y), _RED)
    jet = _jet(values, x[_JET - _CUP :], y)
    low = over(low, jnp.pad(jet, ((0, 0), (0, 0), (_JET - _CUP, 0))), _WATER)
    low = over(low, _ground(_BUSY, _CUT), _BLACK)
    middle = _cup(values, _WET, _BUSY, _DRY)
    with jax.ensure_compile_time_eval():  # once, not for each image
        empty = _empty()
    image = jnp.broadcast_to(empty, (len(values), SIDE, SIDE, 3))
    image = image.at[:, _WET:_BUSY, _CUP:_DRY].set(_rounded(middle))
    return image.at[:, _BUSY:_CUT, _CUP:_RIGHT].set(_rounded(low))


@jax.jit
def _referee(images: Num[Array, "b 96 96 3"]) -> Float[Array, "b 4"]:
    """Reads water and jet by blue minus red, which is 0 for all that is black or white.

    The water is read to a whole pixel, as it is drawn. The ball is read by its area; the hole by
    the middle of the jet within the wall; the reach by the squares of the jet's distances from the
    wall in its lowest rows, which grow evenly down to the height at which reach is measured.
    """
    red, green, blue = jnp.moveaxis(brightness(images), -1, 0)
    wet = solid((blue - red) / (_WATER[2] - _WATER[0]), 0.04)

    cup = slice(26, 40)
    rows = wet[:, _WET:72, cup].mean(2).sum(1)
    # Agg moves a surface down, by half a pixel on average.
    surface = 72 - rows + _THIN - 0.5
    height = (_BOTTOM - surface) / _UP - _BASE

    shade = solid((_WATER[1] - green) / (_WATER[1] - _RED[1]), 0.04)
    area = shade[:, 70 : _CUT - 1, cup].sum((1, 2))
    scale = (_ACROSS + _UP) / 2
    outer = jnp.sqrt(area / jnp.pi)
    for _ in range(2):  # the ground hides a segment of the disc, 0.26 high
        outer = jnp.sqrt((area + 0.25 * jnp.sqrt(outer)) / jnp.pi)
    radius = (outer - _THIN) / scale

    light = solid(wet[:, _BUSY : _CUT - 1, 41:43].mean(2), 0.15)
    hole = (_BOTTOM - centroid(light, jnp.arange(_BUSY, _CUT - 1) + 0.5)) / _UP

    place = jnp.arange(80, 83) + 0.5
    run = wet[:, 80:83, _DRY:_RIGHT]
    out = jnp.arange(_DRY, _RIGHT) + 0.5 - (_LEFT + _ACROSS * _WALL_X)
    square = centroid(run, out) ** 2
    offset = place - place.mean()
    weight = 1 / len(place) + (_row(jnp.array(LANDING)) - place.mean()) * offset / (offset**2).sum()
    reach = jnp.sqrt(jnp.maximum((square * weight).sum(-1), 0)) / _ACROSS
    return jnp.stack([radius, height, hole, reach], axis=-1)


@jax.jit
def _inside(values: Float[Array, "b 4"]) -> Array:
    radius, height, hole, reach = values.T
    ball = (radius > 0) & (radius <= 2)  # between the walls
    water = (height > 0) & (height <= 7)
    opening = (hole >= 0.9) & (hole <= 5)  # above the ground, and below the water
    return ball & water & opening & (reach > 0) & (_WALL_X + reach <= 19.4)


MECHANISM = Mechanism(
    counterfactual=counterfactual, render=_render, referee=_referee, inside=_inside
)


class FlowPublished(GeneratedBuilder):
    """This module as a tfds data set, flow/published.

    Values are in units of the plane: the ball's radius, the height of the water above y = 5, the
    height of the hole, and the distance of the jet from x = 8 at y = 0.5.
    """

    name = "flow"
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="published")]

    @classmethod
    def facts(cls, config: tfds.core.BuilderConfig) -> Info:
        values = _table()
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=NAMES,
            factor_sizes=(0,) * 4,
            circular=(False,) * 4,
            image_shape=(SIDE, SIDE, 3),
            licence="Apache-2.0 (rendered by cdis; no third-party material)",
            citation=(
                "Rendered by cdis with the geometry, ranges and strokes of CausalVAE (Yang, Liu, "
                "Chen, Shen, Hao and Wang, CVPR 2021), not with its images."
            ),
            description=(
                "A ball raises the water in a cup, which leaves through a hole in a jet; drawn as "
                "CausalVAE's own images are. Every combination of ball size, amount of water and "
                "height of the hole; a little noise on the jet. The water's surface moves by "
                "whole pixels, 0.27 units."
            ),
            count=len(values),
            graph=GRAPH,
            **value_statistics(values),
        )

    @classmethod
    def mechanism(cls, config: tfds.core.BuilderConfig) -> Mechanism:
        del config
        return MECHANISM

    @classmethod
    def examples(
        cls, config: tfds.core.BuilderConfig, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        del config
        values = _table()[index]
        return render_all(_render, values), np.zeros(values.shape, np.int32), values
