"""Rooms: an object on the floor of a room. A rendered stand-in for Shapes3D, but not Shapes3D.

Factors, their sizes and their order are those of Shapes3D (Burgess and Kim, "3D Shapes Dataset",
2018); the images are our own, so results on the two are not comparable.

The scene, y up. The floor is y = 0, two walls are x = -4 and z = -4, meeting in a corner. The
object stands on the floor at the origin: a cube of edge 1.6, a cylinder of radius 0.8 and height
1.7, a sphere of radius 1 or an upright capsule of radius 0.6 and height 2.4, times the scale. A
square lamp hangs at (5, 8, 1). The camera is 7 from the axis of the object and 3.4 above the
floor, and looks at (0, 0.8, 0). At orientation 0 the corner is right behind the object;
orientation turns the camera about the object's axis. Corner, lamp and shadow turn with it in the
image, so orientations of round objects differ too.

An image is linear in the colours, and the rest of the scene has few geometries (480 in the full
grid). Rays are therefore cast once per geometry, for the weight of each of the three colours, and
of the white highlight, in each pixel; an image is a product of weights and colours.
"""

import colorsys
import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Bool, Float, UInt8

from cdis.chunks import in_chunks
from cdis.data.generated import GeneratedBuilder
from cdis.data.grid import Factor, Grid, grid_factors, grid_values
from cdis.data.info import Info

SHAPES = ("cube", "cylinder", "sphere", "capsule")

_HUES = tuple(index / 10 for index in range(10))
_SCALES = tuple(float(scale) for scale in np.linspace(0.75, 1.25, 8))
_ORIENTATIONS = tuple(float(degrees) for degrees in np.linspace(-30, 30, 15))
_SIDE = 64


def _grid(hues: slice, scales: slice, orientations: slice) -> Grid:
    """Hues in turns, scales as multiples of length, orientations in degrees, shapes by number."""
    return Grid(
        (
            Factor("floor_hue", _HUES[hues], circular=True),
            Factor("wall_hue", _HUES[hues], circular=True),
            Factor("object_hue", _HUES[hues], circular=True),
            Factor("scale", _SCALES[scales]),
            Factor("shape", (0.0, 1.0, 2.0, 3.0), ordered=False),
            Factor("orientation", _ORIENTATIONS[orientations]),
        ),
        (_SIDE, _SIDE, 3),
    )


GRIDS: dict[str, Grid] = {
    "full": _grid(slice(None), slice(None), slice(None)),
    "small": _grid(slice(0, None, 2), slice(1, None, 2), slice(1, None, 3)),
}

_WALL = -4.0
_CUBE, _TUBE, _TUBE_TOP, _CAPSULE, _CAPSULE_TOP = 0.8, 0.8, 1.7, 0.6, 2.4
_LAMP, _LAMP_HALF = (5.0, 8.0, 1.0), 0.9
_DISTANCE, _HEIGHT, _AIM, _LENS = 7.0, 3.4, 0.8, 0.4
_AMBIENT, _DIFFUSE, _HIGHLIGHT, _GLOSS = 0.3, 0.7, 0.4, 32
_RAYS = 4  # per pixel, horizontally and vertically

Vectors = Float[Array, "3 rays"]
Scalars = Float[Array, " rays"]
Interval = tuple[Scalars, Scalars]  # where each ray enters and leaves; inf, -inf if it misses


def _dot(a: Vectors, b: Vectors) -> Scalars:
    return (a * b).sum(0)


def _unit(a: Vectors) -> Vectors:
    return a * jax.lax.rsqrt(_dot(a, a))


def _slab(start: Scalars, direction: Scalars, low: float, high: float) -> Interval:
    direction = jnp.where(jnp.abs(direction) < 1e-6, 1e-6, direction)
    one, other = (low - start) / direction, (high - start) / direction
    return jnp.minimum(one, other), jnp.maximum(one, other)


def _quadric(a: Scalars, b: Scalars, c: Scalars) -> Interval:
    """Where a t^2 + 2 b t + c <= 0."""
    root = jnp.sqrt(jnp.maximum(b * b - a * c, 0))
    hit = b * b > a * c
    return jnp.where(hit, (-b - root) / a, jnp.inf), jnp.where(hit, (-b + root) / a, -jnp.inf)


def _ball(start: Vectors, direction: Vectors, height: float, radius: float) -> Interval:
    x, y, z = start
    squared = x * x + (y - height) ** 2 + z * z - radius**2
    along = x * direction[0] + (y - height) * direction[1] + z * direction[2]
    return _quadric(_dot(direction, direction), along, squared)


def _tube(start: Vectors, direction: Vectors, radius: float, bottom: float, top: float) -> Interval:
    """An upright cylinder with flat ends."""
    x, _, z = start
    a = jnp.maximum(direction[0] ** 2 + direction[2] ** 2, 1e-9)
    side = _quadric(a, x * direction[0] + z * direction[2], x * x + z * z - radius**2)
    return _both([side, _slab(start[1], direction[1], bottom, top)])


def _both(intervals: list[Interval]) -> Interval:
    enter = functools.reduce(jnp.maximum, [interval[0] for interval in intervals])
    leave = functools.reduce(jnp.minimum, [interval[1] for interval in intervals])
    return jnp.where(enter < leave, enter, jnp.inf), jnp.where(enter < leave, leave, -jnp.inf)


def _meet(shape: Array, start: Vectors, direction: Vectors) -> Interval:
    """Where rays enter and leave an object of scale 1."""
    low, high = _CAPSULE, _CAPSULE_TOP - _CAPSULE
    # The union of these parts is convex, so its interval is the hull of theirs.
    parts = [
        _tube(start, direction, _CAPSULE, low, high),
        _ball(start, direction, low, _CAPSULE),
        _ball(start, direction, high, _CAPSULE),
    ]
    cube = [
        _slab(start[0], direction[0], -_CUBE, _CUBE),
        _slab(start[1], direction[1], 0, 2 * _CUBE),
        _slab(start[2], direction[2], -_CUBE, _CUBE),
    ]
    shapes = [
        _both(cube),
        _tube(start, direction, _TUBE, 0, _TUBE_TOP),
        _ball(start, direction, 1, 1),
        (
            functools.reduce(jnp.minimum, [part[0] for part in parts]),
            functools.reduce(jnp.maximum, [part[1] for part in parts]),
        ),
    ]
    enter, leave = (jnp.stack(ends)[shape] for ends in zip(*shapes, strict=True))
    return enter, leave


def _normal(shape: Array, point: Vectors) -> Vectors:
    """The outward unit normal at points on an object of scale 1."""
    x, y, z = point
    zero = jnp.zeros_like(x)
    offset = jnp.stack([x, y - _CUBE, z])
    face = jnp.abs(offset) == jnp.abs(offset).max(0)
    on_top = y > _TUBE_TOP - 1e-3
    spine = jnp.clip(y, _CAPSULE, _CAPSULE_TOP - _CAPSULE)
    shapes = [
        jnp.where(face, offset, 0),
        jnp.where(on_top, jnp.stack([zero, zero + 1, zero]), jnp.stack([x, zero, z])),
        jnp.stack([x, y - 1, z]),
        jnp.stack([x, y - spine, z]),
    ]
    return _unit(jnp.stack(shapes)[shape] + 1e-12)


def _camera(orientation: Array) -> tuple[Vectors, Vectors]:
    """Starting points and unit directions of rays, the rays of a pixel varying fastest."""
    turn = jnp.deg2rad(45 + orientation)
    start = jnp.stack([_DISTANCE * jnp.sin(turn), _HEIGHT, _DISTANCE * jnp.cos(turn)])
    forward = jnp.array([0, _AIM, 0]) - start
    forward /= jnp.linalg.norm(forward)
    right = jnp.stack([jnp.cos(turn), 0.0, -jnp.sin(turn)])
    up = jnp.cross(right, forward)
    across = (2 * (jnp.arange(_SIDE * _RAYS) + 0.5) / (_SIDE * _RAYS) - 1) * _LENS
    across = across.reshape(_SIDE, _RAYS)
    shape = (_SIDE, _SIDE, _RAYS, _RAYS)
    x = jnp.broadcast_to(across[None, :, None, :], shape).ravel()
    y = jnp.broadcast_to(-across[:, None, :, None], shape).ravel()
    directions = forward[:, None] + right[:, None] * x + up[:, None] * y
    return jnp.broadcast_to(start[:, None], directions.shape), _unit(directions)


def _lamp() -> Vectors:
    """The point of the lamp that each ray of a pixel sees: all different, evenly spaced."""
    cell = np.arange(_RAYS**2) * 5 % _RAYS**2
    row, column = ((2 * np.array(np.divmod(cell, _RAYS)) + 1) / _RAYS - 1) * _LAMP_HALF
    points = np.array(_LAMP)[:, None] + np.stack([column, 0 * row, row])
    return jnp.tile(jnp.asarray(points, jnp.float32), (1, _SIDE**2))


@jax.jit
def _cast(scale: Array, shape: Array, orientation: Array) -> Float[Array, "4 pixels"]:
    """Weights of the colours of floor, wall and object, and of white, in each pixel."""
    start, direction = _camera(orientation)
    lamp = _lamp()

    def far(axis: int, plane: float) -> Scalars:
        slope = direction[axis]
        return jnp.where(slope < -1e-6, (plane - start[axis]) / jnp.minimum(slope, -1e-6), jnp.inf)

    distances = jnp.stack(
        [
            far(1, 0.0),
            far(0, _WALL),
            far(2, _WALL),
            scale * _meet(shape, start / scale, direction)[0],
        ]
    )
    on = jnp.arange(4)[:, None] == distances.argmin(0)
    floor, wall_x, wall_z, body = on
    point = start + direction * distances.min(0)
    room_normal = jnp.stack([wall_x, floor, wall_z]).astype(jnp.float32)
    normal = jnp.where(body, _normal(shape, point / scale), room_normal)
    to_lamp = _unit(lamp - point)
    cosine = jnp.maximum(_dot(normal, to_lamp), 0)
    # A convex body never shadows those of its own points that face the lamp.
    enter, leave = _meet(shape, point / scale, to_lamp)
    dark: Bool[Array, " rays"] = ~body & (enter < leave) & (leave > 0)
    light = _AMBIENT + _DIFFUSE * jnp.where(dark, 0, cosine)
    half = _unit(to_lamp - direction)
    shine = _HIGHLIGHT * jnp.maximum(_dot(normal, half), 0) ** _GLOSS * (cosine > 0)
    weights = jnp.stack([light * floor, light * (wall_x | wall_z), light * body, shine * body])
    return weights.reshape(4, _SIDE**2, _RAYS**2).mean(-1)


@functools.lru_cache(maxsize=512)  # 64 KiB each; the full grid has 480
def _weights(scale: float, shape: float, orientation: float) -> Float[np.ndarray, "4 pixels"]:
    return np.asarray(_cast(scale, int(shape), orientation))


@jax.jit
@jax.vmap
def _paint(weights: Float[Array, "4 pixels"], colours: Float[Array, "3 3"]) -> UInt8[Array, "p 3"]:
    light = jnp.einsum("cp,cd->pd", weights[:3], colours) + weights[3, :, None]
    return jnp.round(255 * jnp.minimum(light, 1)).astype(jnp.uint8)


_CHUNK = 128


def render(values: Float[np.ndarray, "n 6"]) -> UInt8[np.ndarray, "n 64 64 3"]:
    """Render one image per row of physical values, in the order of the factors.

    Hues are in turns (colours fully saturated), shape is the position in `SHAPES`, orientation is
    in degrees. Each pixel has sixteen rays, each seeing a different point of the lamp, so that
    edges and shadows are soft. Different processors may round a pixel to neighbouring levels.
    """
    hues, which = np.unique(values[:, :3], return_inverse=True)
    colours = np.array([colorsys.hsv_to_rgb(h, 1, 1) for h in hues], np.float32)
    colours = colours[which.reshape(-1, 3)]
    geometries, geometry = np.unique(values[:, 3:], axis=0, return_inverse=True)
    weights = np.stack([_weights(*map(float, row)) for row in geometries])
    pixels = in_chunks(
        lambda rows: _paint(weights[geometry.ravel()[rows]], colours[rows]),
        len(values),
        size=_CHUNK,
    )
    return pixels.reshape(-1, _SIDE, _SIDE, 3)


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration with a grid."""

    grid: Grid


class Rooms3d(GeneratedBuilder):
    """The grids of this module as tfds data sets.

    rooms3d/full has the 480,000 combinations of Shapes3D's factors. rooms3d/small, for CPUs, has
    10,000 of them: every second hue (0, 0.2, ... 0.8), every second scale (0.82, 0.96, 1.11, 1.25),
    all shapes, and every third orientation (-25.7 to 25.7 degrees, by 12.9).
    """

    name = "rooms3d"
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
            citation=(
                "Rendered by cdis as a stand-in for Shapes3D (Burgess and Kim, 2018). The full "
                "grid has the factors of Shapes3D, but not its images."
            ),
            description=(
                f"A {', '.join(SHAPES[:-1])} or {SHAPES[-1]} in a room, ray-cast; every "
                "combination of the factors once. Not Shapes3D."
            ),
        )

    @classmethod
    def examples(
        cls, config: Variant, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        factors = grid_factors(config.grid, index)
        values = grid_values(config.grid, factors)
        return render(values), factors, values
