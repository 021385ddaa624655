"""The renderer against slow supersampling, and properties of the grids."""

import math
import time

import numpy as np
import pytest

from cdis.data import info, names
from cdis.data.sprites2d import _EDGES, GRIDS, grid_examples, grid_factors, render

# The least change by one step of a factor, summed over an image, in units of one full pixel: below
# the actual change, but above an invisible one.
VISIBLE = {"coloured": 12.0, "oriented": 10.0, "dsprites_grid": 2.0}


def grid_images(variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Every image of a variant and its factors: (uint8 [n, H, W, C], int32 [n, F])."""
    grid = GRIDS[variant]
    count = math.prod(len(factor.values) for factor in grid.factors)
    factors = grid_factors(grid, np.arange(count))
    return grid_examples(grid, factors)[0], factors


def _grid_sizes(variant: str) -> tuple[int, ...]:
    return tuple(len(factor.values) for factor in GRIDS[variant].factors)


def _slow_image(values: dict[str, float], side: int) -> np.ndarray:
    """Coverage [side, side] by counting 16 x 16 points a pixel, inside by winding angles."""
    polygon = _EDGES[int(values["shape"])][:, 0]
    turn = 2 * np.pi * values["orientation"]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = values["scale"] * polygon @ rotation.T + [values["x"], values["y"]]
    points = (np.arange(side * 16) + 0.5) / 16
    x, y = np.meshgrid(points, points)
    winding = np.zeros_like(x)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ax, ay, bx, by = a[0] - x, a[1] - y, b[0] - x, b[1] - y
        winding += np.arctan2(ax * by - ay * bx, ax * bx + ay * by)
    inside = np.abs(winding) > np.pi
    return inside.reshape(side, 16, side, 16).mean(axis=(1, 3))


@pytest.mark.parametrize("shape", range(3))
def test_coverage_equals_supersampling(shape):
    factors = ("shape", "scale", "orientation", "x", "y")
    rows = np.array([[shape, 7.3, 0.0, 15.2, 16.9], [shape, 5.1, 0.28, 17.0, 12.4]], np.float32)
    rendered = render(rows, factors, (32, 32, 1))[..., 0] / 255
    for image, row in zip(rendered, rows, strict=True):
        slow = _slow_image(dict(zip(factors, row, strict=True)), 32)
        # Exact for an edge parallel to the pixels; but a right-angled corner in the middle of a
        # pixel covers a quarter of it, where the distance gives a half.
        assert np.abs(image - slow).max() < 0.3
        assert image.sum() == pytest.approx(slow.sum(), rel=0.03)


def test_grids_are_as_published():
    coloured, oriented, dsprites = (info(f"sprites2d/{variant}") for variant in GRIDS)
    assert coloured.factor_names == ("shape", "hue", "scale", "x", "y")
    assert coloured.factor_sizes == (3, 6, 4, 8, 8)
    assert coloured.image_shape == (32, 32, 3)
    assert not any(coloured.circular)
    assert oriented.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert oriented.factor_sizes == (3, 4, 8, 8, 8)
    assert oriented.circular == (False, False, True, False, False)
    assert oriented.image_shape == (32, 32, 1)
    assert dsprites.factor_sizes == (3, 6, 40, 32, 32)
    assert dsprites.image_shape == (64, 64, 1)
    ours = tuple(name for name in names() if name.startswith("sprites2d/"))
    assert ours == tuple(f"sprites2d/{variant}" for variant in GRIDS)


@pytest.mark.parametrize("variant", ["coloured", "oriented"])
def test_every_step_changes_the_image_visibly_and_nothing_is_cut_off(variant):
    images, factors = grid_images(variant)
    facts = info(f"sprites2d/{variant}")
    assert images.dtype == np.uint8
    assert images.shape == (math.prod(facts.factor_sizes), *facts.image_shape)
    edges = images[:, [0, -1]].max(), images[:, :, [0, -1]].max()
    assert max(edges) == 0
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)

    grid = images.reshape(*facts.factor_sizes, -1).astype(np.int16)
    for axis, circular in enumerate(facts.circular):
        change = np.abs(grid - np.roll(grid, -1, axis)).sum(axis=-1) / 255
        if not circular:
            change = np.delete(change, -1, axis)
        assert change.min() > VISIBLE[variant], facts.factor_names[axis]
    np.testing.assert_array_equal(
        factors, np.indices(facts.factor_sizes).reshape(facts.num_factors, -1).T
    )


def test_orientations_differ_from_all_others_also_when_small():
    images, _ = grid_images("oriented")
    smallest = images.reshape(*_grid_sizes("oriented"), -1)[:, 0, :, 4, 4].astype(float) / 255
    for shape in smallest:
        for i in range(8):
            for j in range(i):
                assert np.square(shape[i] - shape[j]).sum() > 5, (i, j)


def test_dsprites_grid_steps_and_margins_on_a_sample():
    grid, rng = GRIDS["dsprites_grid"], np.random.default_rng(0)
    sizes = _grid_sizes("dsprites_grid")
    chosen = grid_factors(grid, rng.choice(math.prod(sizes), 500, replace=False))
    # The largest sprite in each corner of the grid, in every orientation, joins the sample.
    corners = [
        (s, 5, o, x, y) for s in range(3) for o in range(40) for x in (0, 31) for y in (0, 31)
    ]
    chosen = np.concatenate([chosen, np.array(corners, np.int32)])
    images = grid_examples(grid, chosen)[0].astype(np.int16)
    assert max(images[:, [0, -1]].max(), images[:, :, [0, -1]].max()) == 0
    for axis, factor in enumerate(grid.factors):
        moved = chosen.copy()
        moved[:, axis] += 1
        kept = np.full(len(chosen), factor.circular) | (moved[:, axis] < sizes[axis])
        moved[:, axis] %= sizes[axis]
        change = np.abs(grid_examples(grid, moved)[0] - images).sum(axis=(1, 2, 3)) / 255
        assert change[kept].min() > VISIBLE["dsprites_grid"], factor.name


def test_hues_are_saturated_and_evenly_spaced():
    images, factors = grid_images("coloured")
    brightest = [images[factors[:, 1] == hue].max(axis=(0, 1, 2)).tolist() for hue in range(6)]
    assert brightest == [
        [255, 0, 0],
        [255, 255, 0],
        [0, 255, 0],
        [0, 255, 255],
        [0, 0, 255],
        [255, 0, 255],
    ]


def test_x_runs_along_columns_and_y_along_rows():
    names = ("shape", "scale", "x", "y")
    rows = np.array([[2, 5, 8, 16], [2, 5, 24, 16], [2, 5, 16, 8], [2, 5, 16, 24]], np.float32)
    images = render(rows, names, (32, 32, 1))[..., 0]
    left, right, top, bottom = images > 0
    assert left[:, :16].any() and not left[:, 16:].any()
    assert right[:, 16:].any() and not right[:, :16].any()
    assert top[:16].any() and not top[16:].any()
    assert bottom[16:].any() and not bottom[:16].any()


def test_thousands_of_images_a_second():
    grid_images("oriented")
    begun = time.monotonic()
    images, _ = grid_images("oriented")
    assert len(images) / (time.monotonic() - begun) > 3000
