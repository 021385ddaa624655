"""Sprites on a grid of factors, from an antialiased renderer of our own; nothing to download.

One shape of one colour on black. Each variant is a `Grid` of these factors: shape, hue (turns),
scale (circumradius, pixels), orientation (turns), and x and y (centre, pixels from the top left
corner). Factors that a grid does not vary have the values in `_FIXED`.
"""

import colorsys
import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Float, UInt8

from cdis.chunks import in_chunks
from cdis.data.generated import GeneratedBuilder
from cdis.data.grid import Factor, Grid, grid_factors, grid_values
from cdis.data.info import Info


def _spaced(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(value) for value in np.linspace(first, last, count))


def _turns(count: int) -> tuple[float, ...]:
    return tuple(index / count for index in range(count))


_SHAPE = Factor("shape", (0.0, 1.0, 2.0), ordered=False)
_SCALE_32 = Factor("scale", _spaced(4.4, 8.0, 4))
_X_32, _Y_32 = (Factor(axis, _spaced(9.0, 23.0, 8)) for axis in "xy")
_SCALE_64 = Factor("scale", _spaced(8.0, 15.5, 6))
_X_64, _Y_64 = (Factor(axis, _spaced(16.5, 47.5, 32)) for axis in "xy")

GRIDS: dict[str, Grid] = {
    "coloured": Grid(
        (_SHAPE, Factor("hue", _turns(6)), _SCALE_32, _X_32, _Y_32),
        (32, 32, 3),
    ),
    "oriented": Grid(
        (_SHAPE, _SCALE_32, Factor("orientation", _turns(8), circular=True), _X_32, _Y_32),
        (32, 32, 1),
    ),
    "dsprites_grid": Grid(
        (_SHAPE, _SCALE_64, Factor("orientation", _turns(40), circular=True), _X_64, _Y_64),
        (64, 64, 1),
    ),
}

_DESCRIPTION = (
    "An arrow, an L or a bowl on black, antialiased; every combination of the factors once. No "
    "shape is rotationally symmetric, so all orientations differ."
)

_CITATION = (
    "Rendered by cdis. dsprites_grid has the factors and sizes of dSprites (Matthey, Higgins, "
    "Hassabis and Lerchner, 2017), but not its images."
)

_FIXED = {"hue": 0.0, "orientation": 0.0}

# The three shapes as polygons inside the unit circle. No rotation by less than a full turn maps any
# of them onto itself.
_ARROW = [
    (1.0, 0.0),
    (0.05, 0.95),
    (0.05, 0.33),
    (-0.94, 0.33),
    (-0.94, -0.33),
    (0.05, -0.33),
    (0.05, -0.95),
]
_ELL = [(-0.5, -0.82), (0.57, -0.82), (0.57, -0.2), (0.1, -0.2), (0.1, 0.86), (-0.5, 0.86)]
_BOWL = [
    (1.16 * np.cos(angle) - 0.35, 0.93 * np.sin(angle))
    for angle in np.linspace(-np.pi / 2, np.pi / 2, 10)
]


def _edges(polygons: list[list[tuple[float, float]]]) -> Float[np.ndarray, "s e 2 2"]:
    """Polygons as [shape, edge, (from, to), (x, y)], padded to equal length by repeated points."""
    length = max(map(len, polygons))
    points = np.array([polygon + [polygon[-1]] * (length - len(polygon)) for polygon in polygons])
    return np.stack([points, np.roll(points, -1, axis=1)], axis=2).astype(np.float32)


_EDGES = _edges([_ARROW, _ELL, _BOWL])


def _coverage(
    shape: Array, scale: Array, orientation: Array, x: Array, y: Array, height: int, width: int
) -> Float[Array, "h w"]:
    """Coverage of each pixel by one shape: half a pixel minus the signed distance, clipped."""
    rows, columns = jnp.mgrid[:height, :width] + 0.5
    cosine, sine = jnp.cos(2 * jnp.pi * orientation), jnp.sin(2 * jnp.pi * orientation)
    horizontal, vertical = (columns - x) / scale, (rows - y) / scale
    px = cosine * horizontal + sine * vertical
    py = cosine * vertical - sine * horizontal
    squared_distance = jnp.full((height, width), jnp.inf)
    inside = jnp.zeros((height, width), bool)
    edges = jnp.asarray(_EDGES)[shape]
    for edge in range(_EDGES.shape[1]):
        (ax, ay), (bx, by) = edges[edge]
        ex, ey, qx, qy = bx - ax, by - ay, px - ax, py - ay
        along = jnp.clip((qx * ex + qy * ey) / jnp.maximum(ex * ex + ey * ey, 1e-9), 0, 1)
        rest = (qx - along * ex) ** 2 + (qy - along * ey) ** 2
        squared_distance = jnp.minimum(squared_distance, rest)
        # A ray to the right crosses the edge: even-odd rule.
        crosses = ((ay > py) != (by > py)) & ((qx * ey < qy * ex) == (ey > 0))
        inside ^= crosses
    distance = jnp.sqrt(squared_distance) * scale
    return jnp.clip(0.5 - jnp.where(inside, -distance, distance), 0, 1)


def _render(
    values: dict[str, Array], height: int, width: int, channels: int
) -> UInt8[Array, "b h w c"]:
    geometry = {name: values[name] for name in ("shape", "scale", "orientation", "x", "y")}
    coverage_of = functools.partial(_coverage, height=height, width=width)
    coverage = jax.vmap(lambda row: coverage_of(**row))(geometry)[..., None]
    if channels == 3:
        coverage = coverage * values["colour"][:, None, None, :]
    return jnp.round(255 * coverage).astype(jnp.uint8)


_render_jitted = jax.jit(_render, static_argnums=(1, 2, 3))
_CHUNK = 512


def render(
    values: Float[np.ndarray, "n f"], names: tuple[str, ...], image_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "n h w c"]:
    """Render one image per row of physical values, whose columns are `names`.

    Antialiased by the signed distance to the shape's outline. Colours are fully saturated.
    Different processors may round a pixel on an edge to neighbouring grey levels.
    """
    count = len(values)
    columns: dict[str, np.ndarray] = {
        name: np.full(count, value, np.float32) for name, value in _FIXED.items()
    }
    columns |= {name: np.asarray(values[:, i], np.float32) for i, name in enumerate(names)}
    hues, which = np.unique(columns.pop("hue"), return_inverse=True)
    columns["colour"] = np.array([colorsys.hsv_to_rgb(h, 1, 1) for h in hues], np.float32)[which]
    columns["shape"] = columns["shape"].astype(np.int32)
    return in_chunks(
        lambda rows: _render_jitted({k: v[rows] for k, v in columns.items()}, *image_shape),
        count,
        size=_CHUNK,
    )


def grid_examples(grid: Grid, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Render rows of factor indices: (images uint8 [b, H, W, C], values float32 [b, F])."""
    values = grid_values(grid, factors)
    names = tuple(factor.name for factor in grid.factors)
    return render(values, names, grid.image_shape), values


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration with a grid."""

    grid: Grid


class Sprites2d(GeneratedBuilder):
    """The grids of this module as tfds data sets, sprites2d/coloured and so on."""

    name = "sprites2d"
    BUILDER_CONFIGS: ClassVar = [Variant(name=name, grid=grid) for name, grid in GRIDS.items()]

    @classmethod
    def facts(cls, config: Variant) -> Info:
        factors = config.grid.factors
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=tuple(factor.name for factor in factors),
            factor_sizes=tuple(len(factor.values) for factor in factors),
            circular=tuple(factor.circular for factor in factors),
            unordered=tuple(factor.name for factor in factors if not factor.ordered),
            image_shape=config.grid.image_shape,
            licence="Apache-2.0 (rendered by cdis; no third-party material)",
            citation=_CITATION,
            description=_DESCRIPTION,
        )

    @classmethod
    def examples(
        cls, config: Variant, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        factors = grid_factors(config.grid, index)
        images, values = grid_examples(config.grid, factors)
        return images, factors, values
