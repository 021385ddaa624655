"""The ray caster against literal sphere tracing, and properties of the grids."""

import math
import time

import numpy as np
import pytest

from cdis.data import info, rooms3d
from cdis.data.grid import grid_factors, grid_values
from cdis.data.rooms3d import GRIDS, Rooms3d, render

FULL, SMALL = GRIDS["full"], GRIDS["small"]
SIZES = (10, 10, 10, 8, 4, 15)


def _distance(shape: int, scale: float, point: np.ndarray) -> float:
    """Signed distance to the object; from the module's text, not from its code."""
    x, y, z = point / scale
    if shape == 0:
        outside = np.abs([x, y - 0.8, z]) - 0.8
    elif shape == 1:
        outside = np.array([math.hypot(x, z) - 0.8, abs(y - 0.85) - 0.85])
    elif shape == 2:
        return scale * (math.sqrt(x * x + (y - 1) ** 2 + z * z) - 1)
    else:
        spine = min(max(y, 0.6), 1.8)
        return scale * (math.sqrt(x * x + (y - spine) ** 2 + z * z) - 0.6)
    return scale * (np.linalg.norm(outside.clip(0)) + min(outside.max(), 0))


def _traced(shape: int, scale: float, start: np.ndarray, direction: np.ndarray) -> float:
    """How far along a ray the object begins; inf if it is not met within 20."""
    along = 0.0
    for _ in range(300):
        step = _distance(shape, scale, start + along * direction)
        along += step
        if step < 1e-5:
            return along
        if along > 20:
            return math.inf
    return math.inf


def _slow_weights(scale: float, shape: int, degrees: float, pixel: tuple[int, int]) -> np.ndarray:
    """Light of floor, wall and object, and highlight, in a pixel (row, column): ray by ray."""
    total = np.zeros(4)
    turn = math.radians(45 + degrees)
    eye = np.array([7 * math.sin(turn), 3.4, 7 * math.cos(turn)])
    forward = np.array([0, 0.8, 0]) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    for ray in range(16):
        row, column = (4 * p + s + 0.5 for p, s in zip(pixel, divmod(ray, 4), strict=True))
        direction = forward + 0.4 * ((column / 128 - 1) * right - (row / 128 - 1) * up)
        direction /= np.linalg.norm(direction)
        lamp_row, lamp_column = divmod(ray * 5 % 16, 4)
        lamp = np.array([5 + 0.45 * lamp_column - 0.675, 8, 1 + 0.45 * lamp_row - 0.675])
        meets = {3: _traced(shape, scale, eye, direction)}
        for kind, axis, plane in ((0, 1, 0), (1, 0, -4), (2, 2, -4)):
            if direction[axis] < 0:
                meets[kind] = (plane - eye[axis]) / direction[axis]
        kind = min(meets, key=lambda kind: meets[kind])
        point = eye + meets[kind] * direction
        normal = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])[kind % 3]
        if kind == 3:
            around = 1e-4 * np.eye(3)
            normal = np.array(
                [
                    _distance(shape, scale, point + e) - _distance(shape, scale, point - e)
                    for e in around
                ]
            )
            normal /= np.linalg.norm(normal)
        to_lamp = (lamp - point) / np.linalg.norm(lamp - point)
        cosine = max(normal @ to_lamp, 0)
        shadow = math.isfinite(_traced(shape, scale, point + 1e-3 * normal, to_lamp))
        total[(0, 1, 1, 2)[kind]] += 0.3 + 0.7 * cosine * (not shadow)
        if kind == 3 and cosine > 0:
            half = to_lamp - direction
            total[3] += 0.4 * max(normal @ half / np.linalg.norm(half), 0) ** 32
    return total / 16


@pytest.mark.parametrize("shape", range(4))
def test_ray_casting_equals_literal_sphere_tracing(shape):
    scale, degrees = (0.75, 1.25, 1.0, 0.9)[shape], (-30.0, 30.0, 5.0, -10.0)[shape]
    fast = rooms3d._weights(scale, shape, degrees).reshape(4, 64, 64)
    seen = fast[2] > 0
    middle = (int(np.argwhere(seen)[:, 0].mean()), int(np.argwhere(seen)[:, 1].mean()))
    outline = np.argwhere(seen & (fast[0] + fast[1] > 0))[::12]
    highlight = np.unravel_index(fast[3].argmax(), (64, 64))
    corners = [(2, 2), (2, 61), (61, 2), (61, 61)]
    # Down to the left of the object, through its shadow and out again.
    shadow = [(middle[0] + 5, column) for column in range(2, middle[1], 5)]
    for pixel in [middle, highlight, *corners, *shadow, *map(tuple, outline)]:
        slow = _slow_weights(scale, shape, degrees, pixel)
        # One ray in sixteen may just miss an edge that the other one just meets.
        np.testing.assert_allclose(fast[:, *pixel], slow, atol=0.07, err_msg=str(pixel))
        if pixel in (middle, *corners):
            np.testing.assert_allclose(fast[:, *pixel], slow, atol=0.01, err_msg=str(pixel))
    assert len(outline) > 3 and len(shadow) > 3


def test_grids_are_as_documented():
    full, small = info("rooms3d/full"), info("rooms3d/small")
    assert full.factor_names == (
        "floor_hue",
        "wall_hue",
        "object_hue",
        "scale",
        "shape",
        "orientation",
    )
    assert full.factor_sizes == SIZES and full.num_images == 480_000
    assert small.factor_sizes == (5, 5, 5, 4, 4, 5) and small.num_images == 10_000
    for facts in (full, small):
        assert facts.circular == (True, True, True, False, False, False)
        assert facts.image_shape == (64, 64, 3)
        assert "Not Shapes3D" in facts.description and "stand-in" in facts.citation
    np.testing.assert_allclose(FULL.factors[0].values, np.arange(10) / 10)
    np.testing.assert_allclose(FULL.factors[3].values, np.linspace(0.75, 1.25, 8))
    np.testing.assert_allclose(FULL.factors[5].values, np.linspace(-30, 30, 15))
    np.testing.assert_allclose(SMALL.factors[0].values, (0, 0.2, 0.4, 0.6, 0.8))


@pytest.mark.parametrize("grid", [FULL, SMALL], ids=["full", "small"])
def test_an_index_is_one_row_of_factors(grid):
    sizes = [len(factor.values) for factor in grid.factors]
    index = np.arange(math.prod(sizes))
    factors = grid_factors(grid, index)
    strides = np.concatenate([np.cumprod(sizes[:0:-1])[::-1], [1]])
    np.testing.assert_array_equal(factors @ strides, index)


def test_small_is_rows_of_the_full_grid():
    variants = {variant.name: variant for variant in Rooms3d.BUILDER_CONFIGS}
    images, factors, values = Rooms3d.examples(variants["small"], np.arange(7, 10_000, 1999))
    in_full = np.stack(
        [
            [np.argmin(np.abs(np.array(factor.values) - value)) for value in column]
            for factor, column in zip(FULL.factors, values.T, strict=True)
        ],
        axis=1,
    )
    again = Rooms3d.examples(
        variants["full"], np.asarray(np.ravel_multi_index(tuple(in_full.T), SIZES))
    )
    np.testing.assert_array_equal(again[1], in_full)
    np.testing.assert_array_equal(again[2], values)
    np.testing.assert_array_equal(again[0], images)
    assert images.dtype == np.uint8 and factors.dtype == np.int32
    np.testing.assert_array_equal(in_full[:, 0], 2 * factors[:, 0])


def test_every_step_changes_the_picture_visibly():
    """On all geometries of the smallest object and of the middle orientation."""
    rng = np.random.default_rng(0)
    rows = [(0, shape, turn) for shape in range(4) for turn in range(15)]
    rows += [(scale, shape, 7) for shape in range(4) for scale in range(8)]
    hues = rng.integers(0, 10, (len(rows), 3))
    hues[::2] = hues[::2, :1]  # all three the same, where things are hardest to tell apart
    chosen = np.concatenate([hues, np.array(rows)], axis=1).astype(np.int32)
    images = render(grid_values(FULL, chosen)).astype(np.int16)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(np.unique(chosen, axis=0))
    for axis, size in enumerate(SIZES):
        moved = chosen.copy()
        moved[:, axis] += 1
        there = moved[:, axis] < size
        if axis < 3:
            moved[:, axis] %= size
            there[:] = True
        if axis == 3:  # only the middle orientation, which has been cast already
            there &= chosen[:, 5] == 7
        if axis == 4:  # the same
            there &= chosen[:, 3] == 0
        change = np.abs(render(grid_values(FULL, moved[there])) - images[there])
        change = change.sum(axis=(1, 2, 3)) / 255
        assert there.sum() > 20 and change.min() > 10, (FULL.factors[axis].name, change.min())


def test_each_hue_colours_its_own_part():
    """Red floor, green wall, blue object: in the shadow too, no part has another's colour."""
    row = np.array([[0, 1 / 3, 2 / 3, 1.0, 2, 0.0]], np.float32)
    image = render(row)[0]
    assert image[62, 32, 0] > 60 and image[62, 32, 1:].max() <= 1
    assert image[2, 32, 1] > 60 and image[2, 32, [0, 2]].max() <= 1
    weights = rooms3d._weights(1.0, 2, 0.0).reshape(4, 64, 64)
    body = weights[2] > 0
    assert 300 < body.sum() < 900
    only = body & (weights[0] + weights[1] == 0) & (weights[3] < 1e-3)
    assert image[only][:, 2].min() > 60 and image[only][:, :2].max() <= 1


def test_shapes_are_what_they_are_called():
    """By their outlines at orientation 0, seen along the cube's diagonal."""
    widths, heights, areas = [], [], []
    for shape in range(4):
        covered = rooms3d._weights(1.0, shape, 0.0)[2].reshape(64, 64) > 0.1
        widths.append(covered.any(0).sum())
        heights.append(covered.any(1).sum())
        areas.append(covered.sum() / (widths[-1] * heights[-1]))
    cube, cylinder, sphere, capsule = range(4)
    assert abs(widths[sphere] - heights[sphere]) <= 2
    assert areas[sphere] == pytest.approx(np.pi / 4, abs=0.04)
    assert heights[capsule] > 1.7 * widths[capsule]
    assert areas[cylinder] > 0.88
    assert widths[cube] > 1.3 * widths[cylinder]  # sqrt(2), less the perspective


def test_weights_are_finite_and_reproducible():
    for scale, shape, degrees in ((0.75, 0, -30.0), (1.25, 1, 30.0), (1.25, 3, 0.0)):
        weights = rooms3d._weights(scale, shape, degrees)
        assert np.isfinite(weights).all() and weights.min() >= 0
        assert weights[:3].sum(0).min() > 0.2 and weights[:3].sum(0).max() <= 1
        np.testing.assert_array_equal(weights, rooms3d._cast(scale, shape, degrees))


def test_five_hundred_images_a_second_with_their_geometries():
    """Of one full chunk of preparation, in processor time, which other programs do not stretch."""
    index = np.random.default_rng(0).choice(10_000, 4096, replace=False)
    values = grid_values(SMALL, grid_factors(SMALL, index))
    render(values[:1])  # compiles
    rooms3d._weights.cache_clear()
    begun = time.process_time()
    render(values)
    assert len(values) / (time.process_time() - begun) > 500
