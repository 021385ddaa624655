"""Flow: a ball raises the water in a cup, and a jet leaves the cup through a hole. Rendered.

The geometry is that of CausalVAE (Yang, Liu, Chen, Shen, Hao and Wang, CVPR 2021). In the plane
[0, 20] by [0, 20], y up: a cup from x = 3 to x = 8 with walls 19 high; a ball of radius R; water of
height h = R^3 + the amount poured in; a hole in the right wall at height d; a jet
x(y) = 8 + sqrt(2 (0.98 + e) h (d - y)) from the hole down to y = 0.5, with a little noise e.

Departures, beside seeded noise and disjoint splits, which the published data set lacks:
  height        the surface is at y = 5 + h, which is above every hole
  jet_reach     measured from the cup's wall: x(0.5) - 8
  jet           its vertical thickness is the hole's (1.2) everywhere, so that its flux is constant;
                it continues to the bottom of the image, and is measured at y = 0.5
  strokes       walls 0.625 thick; the ball hangs 0.6 above the bottom; all antialiased, on white
  e             Gaussian with standard deviation 0.02, seeded
"""

import dataclasses
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

_FRAME, _WALLS_ONLY_ABOVE = 20, 12.5
_LEFT, _RIGHT, _WALL, _RIM, _BASE = 3.0, 8.0, 0.625, 19.0, 5.0
_BALL_X, _BALL_GAP = 5.5, 0.6
_HOLE, NOISE = 0.6, 0.02  # half the hole; the standard deviation of e
_BLACK, _RED = (0.0, 0.0, 0.0), (178.0, 34.0, 34.0)
_WATER, _JET = (135.0, 206.0, 250.0), (30.0, 144.0, 255.0)


@functools.cache
def _table() -> Float[np.ndarray, "n 4"]:
    """The values of every image, float32."""
    values = table(PUSH + NOISE * gaussian(0, len(grid()[0])))
    return values.astype(np.float32)


@functools.partial(jax.jit, static_argnames="side")
def _render(values: Float[Array, "b 4"], *, side: int) -> UInt8[Array, "b side side 3"]:
    scale = side / _FRAME
    above = side - int(_WALLS_ONLY_ABOVE * scale)
    radius, height, hole, reach = values.T[:, :, None]

    def columns(low: Array | float, high: Array | float) -> Array:
        return span(low * scale, high * scale, 0, side)

    def rows(low: Array | float, high: Array | float) -> Array:
        """Coverage of the rows below `_WALLS_ONLY_ABOVE`: [..., rows]."""
        return span((_FRAME - high) * scale, (_FRAME - low) * scale, above, side - above)

    x = (jnp.arange(side) + 0.5) / scale
    y = (_FRAME - (jnp.arange(above, side) + 0.5) / scale)[:, None]
    water = rows(0.0, _BASE + height[:, 0])[:, :, None] * columns(_LEFT, _RIGHT)
    middle = _WALL + _BALL_GAP + radius
    distance = jnp.hypot(x - _BALL_X, y - middle[..., None])
    ball = jnp.clip(scale * (radius[..., None] - distance) + 0.5, 0, 1)
    opening = rows(hole[:, 0] - _HOLE, hole[:, 0] + _HOLE)
    walls = columns(_LEFT, _LEFT + _WALL) + (1 - opening[:, :, None]) * columns(
        _RIGHT - _WALL, _RIGHT
    )
    bottom = rows(0.0, _WALL)[:, None] * columns(_LEFT + _WALL, _RIGHT - _WALL)
    # The stream lies between two parabolas: the area below the upper minus that below the lower.
    fall = (hole - LANDING) / reach**2  # [b, 1]
    out = x - _RIGHT
    steep = scale / jnp.sqrt(1 + (2 * fall * out) ** 2)
    below = ((hole - fall * out**2)[:, None] - y) * steep[:, None]
    half = _HOLE * steep[:, None]
    stream = jnp.clip(below + half + 0.5, 0, 1) - jnp.clip(below - half + 0.5, 0, 1)
    stream = stream * columns(_RIGHT, float(_FRAME))

    scene = WHITE
    for coverage, colour in (
        (water, _WATER),
        (ball, _RED),
        (jnp.clip(walls + bottom, 0, 1), _BLACK),
        (stream, _JET),
    ):
        scene = over(scene, coverage, colour)
    both = columns(_LEFT, _LEFT + _WALL) + columns(_RIGHT - _WALL, _RIGHT)
    rim = span((_FRAME - _RIM) * scale, float(side), 0, above)[:, None]
    empty = over(WHITE, rim * both, _BLACK)
    empty = jnp.broadcast_to(jnp.round(empty).astype(jnp.uint8), (len(values), *empty.shape))
    return jnp.concatenate([empty, jnp.round(scene).astype(jnp.uint8)], axis=1)


@jax.jit
def _referee(images: Num[Array, "b side side 3"]) -> Float[Array, "b 4"]:
    """Reads the ball by its red area, the water by its height, the hole by the gap in the wall.

    The jet's reach is read in the lowest rows: the jet's middle, the root mean square of its two
    edges, interpolated to the height at which reach is measured.
    """
    red, green, blue = jnp.moveaxis(brightness(images), -1, 0)
    side = red.shape[-1]
    scale = side / _FRAME

    def cells(low: float, high: float) -> Array:
        return span(low * scale, high * scale, 0, side)

    x = (jnp.arange(side) + 0.5) / scale
    y = _FRAME - x

    def rows(low: float, high: float) -> Array:
        return cells(_FRAME - high, _FRAME - low)

    wet = solid((255 - red) / (255 - _WATER[0]), 0.04)
    wide = cells(4.0, 7.0)
    height = (wet * wide * rows(3.75, 12.0)[:, None]).sum((1, 2)) / (wide.sum() * scale)
    height = height + 3.75 - _BASE

    shade = solid((_WATER[1] - green) / (_WATER[1] - _RED[1]), 0.04)
    area = (shade * cells(4.0, 7.0) * rows(_WALL + 0.25, 3.75)[:, None]).sum((1, 2))
    # The antialiased edge enlarges the area of a disc by pi / 12 pixels.
    radius = jnp.sqrt(jnp.maximum(area / jnp.pi - 1 / 12, 0)) / scale

    whole = (cells(_RIGHT - _WALL, _RIGHT) > 0.99).astype(jnp.float32)
    light = (blue * whole).sum(2) / whole.sum() / _WATER[2]
    hole = centroid(solid(light, 0.1) * rows(_WALL + 0.25, 6.0), y)

    lowest = y[-int(scale) :]  # up to y = 1, so that they are centred on the height of measurement
    run = solid((255 - red[:, -len(lowest) :]) / (255 - _JET[0]), 0.04) * cells(8.35, 20.0)
    middle, width = centroid(run, x - _RIGHT), run.sum(-1) / scale
    offset = lowest - lowest.mean()
    weight = 1 / len(lowest) + (LANDING - lowest.mean()) * offset / (offset**2).sum()
    reach = jnp.sqrt(jnp.maximum(((middle**2 + width**2 / 4) * weight).sum(-1), 0))
    return jnp.stack([radius, height, hole, reach], axis=-1)


@jax.jit
def _inside(values: Float[Array, "b 4"]) -> Array:
    radius, height, hole, reach = values.T
    lowest = reach * jnp.sqrt((hole + _HOLE) / (hole - LANDING))
    jet = (reach > 0) & (_RIGHT + lowest <= _FRAME)
    water = (height > 0) & (_BASE + height <= 12) & (hole + _HOLE <= _BASE + height)
    ball = (radius > 0) & (radius <= (_RIGHT - _LEFT) / 2 - _WALL)
    return jet & water & ball & (hole - _HOLE >= _WALL)


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration: the side of an image in pixels."""

    side: int


class Flow(GeneratedBuilder):
    """This module as tfds data sets, flow/default and flow/default_96.

    Values are in units of the plane: the ball's radius, the height of the water above y = 5, the
    height of the hole's middle, and the distance of the jet from the wall at y = 0.5.
    """

    name = "flow"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name="default", side=64),
        Variant(name="default_96", side=96),
    ]

    @classmethod
    def facts(cls, config: Variant) -> Info:
        values = _table()
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
            description=(
                "A ball raises the water in a cup, which leaves through a hole in a jet. Every "
                "combination of ball size, amount of water and height of the hole; a little noise "
                "on the jet."
            ),
            count=len(values),
            graph=GRAPH,
            **value_statistics(values),
        )

    @classmethod
    def mechanism(cls, config: Variant) -> Mechanism:
        return Mechanism(
            counterfactual=counterfactual,
            render=functools.partial(_render, side=config.side),
            referee=_referee,
            inside=_inside,
        )

    @classmethod
    def examples(
        cls, config: Variant, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = _table()[index]
        images = render_all(functools.partial(_render, side=config.side), values)
        return images, np.zeros(values.shape, np.int32), values
