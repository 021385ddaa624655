"""Pendulum in the published framing, against matplotlib's drawings of the same scenes."""

import numpy as np
import pytest
from pendulum_twin import draw

from cdis import data
from cdis.data import pendulum, pendulum_published
from cdis.data.builder import SPLITS

BATCH = 128
READ = [0.9999, 0.9999, 0.997, 0.9995]  # R^2; shadows end at whole pixels, and a few are cut off
_mechanism = data.mechanism("pendulum/published")
assert _mechanism is not None and _mechanism.render is not None
render, referee, inside = _mechanism.render, _mechanism.referee, _mechanism.inside
counterfactual = _mechanism.counterfactual


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    table = pendulum_published.table()
    return table[np.random.default_rng(0).choice(len(table), BATCH, replace=False)]


@pytest.fixture(scope="module")
def ours(values) -> np.ndarray:
    return np.asarray(render(values))


@pytest.fixture(scope="module")
def originals(values) -> np.ndarray:
    return np.stack([draw(*row)[..., :3] for row in values.tolist()])


def _objects(images: np.ndarray) -> dict[str, np.ndarray]:
    """The pixels of which each object covers more than half."""
    red, green, blue = np.moveaxis(images.astype(int), -1, 0)
    row = np.arange(96)[:, None]
    return {
        "sun": (row < 40) & (blue < 128),
        "ball": (row >= 40) & (red - green > 72),
        "rod": (row >= 40) & (row < 82) & (red < 89),
        "shadow": (row >= 82) & (red < 128),
    }


def _r_squared(read: np.ndarray, values: np.ndarray) -> np.ndarray:
    return 1 - np.square(read - values).sum(0) / np.square(values - values.mean(0)).sum(0)


def test_images_are_those_of_the_published_script(ours, originals):
    difference = np.abs(ours.astype(int) - originals)
    # Of 255; an image is 5 % objects. The worst pixels are of antialiased edges.
    assert difference.mean() < 0.065 and difference.max() <= 25
    mine, theirs = _objects(ours), _objects(originals)
    for name, least, most in (
        ("sun", 0.998, 0.35),
        ("ball", 0.99, 1.05),
        ("rod", 0.985, 1.2),
        ("shadow", 1.0, 0.0),
    ):
        either = mine[name] | theirs[name]
        assert (mine[name] & theirs[name]).sum() / either.sum() >= least, name
        assert difference[either].mean() <= most, name


def test_a_rod_that_hangs_straight_down_is_snapped_to_pixels():
    for angle in (0.0, np.pi / 200):
        row = np.array([[angle, 12.0, 3.0, 8.0]], np.float32)
        difference = np.abs(
            np.asarray(render(row))[0].astype(int) - draw(*row[0].tolist())[..., :3]
        )
        assert difference[40:60].max() <= 12


def test_scenes_beyond_the_published_ones_are_cut_off_as_matplotlib_does():
    row = np.array([[1.2, 19.0, 6.0, 18.0], [-1.2, 0.5, 8.0, 3.0]], np.float32)
    theirs = np.stack([draw(*values)[..., :3] for values in row.tolist()])
    assert np.abs(np.asarray(render(row)).astype(int) - theirs).max() <= 25


def test_the_grid_is_the_published_one():
    table = pendulum_published.table()
    clean = pendulum._table("clean").reshape(84, 88, 4)
    np.testing.assert_array_equal(table.reshape(84, 87, 4), np.delete(clean, 100 - 60, axis=1))
    info = data.info("pendulum/published")
    assert info.num_images == 7308 and info.image_shape == (96, 96, 3)
    _, light, length, position = table.astype(float).T
    assert ((light < 3) | (light > 17)).sum() == 924
    cut = (position - length / 2 < 0) | (position + length / 2 > 20)
    assert cut.sum() == 114
    np.testing.assert_array_equal(np.asarray(inside(table)), ~cut)


def test_splits_are_the_published_ones(tmp_path):
    """The script counts images; it sets the counter to 0 after a test image, and then adds 1."""
    count, tests = 0, []
    for _ in range(7308):
        tests.append(count == 4)
        count = 1 if count == 4 else count + 1
    builder = pendulum_published.PublishedPendulum(data_dir=tmp_path, config="published")
    split = builder.split()
    np.testing.assert_array_equal(split == SPLITS.index("test"), tests)
    assert np.bincount(split).tolist() == [4660, 822, 1826]
    # Validation is no particular part of the grid.
    table = pendulum_published.table().astype(float)
    standard = (table - table.mean(0)) / table.std(0)
    assert np.abs(standard[split == SPLITS.index("validation")].mean(0)).max() < 0.1


def test_referee_reads_ours_and_originals(values, ours, originals):
    for images in (ours, originals):
        assert (_r_squared(np.asarray(referee(images)), values) > READ).all()


def test_referee_reads_counterfactuals(values):
    table = pendulum_published.table()
    for factor in range(4):
        asked = np.random.default_rng(factor).permutation(table[:, factor])[:BATCH]
        changed = np.asarray(counterfactual(values, factor, asked))
        kept = np.asarray(inside(changed))
        assert kept.mean() > 0.8
        read = np.asarray(referee(render(changed)))
        assert (_r_squared(read[kept], changed[kept]) > READ).all()


def test_referee_reads_decoded_images(values, ours):
    """Floats in [-1, 1], blurred by half a pixel, with a little noise."""
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / 0.5) ** 2)
    kernel /= kernel.sum()
    images = ours / 127.5 - 1
    for axis in (1, 2):
        images = sum(
            k * np.roll(images, s, axis) for k, s in zip(kernel, range(-2, 3), strict=True)
        )
    noise = np.random.default_rng(0).normal(0, 0.01, ours.shape)
    noisy = np.clip(images + noise, -1, 1).astype(np.float32)
    assert (_r_squared(np.asarray(referee(noisy)), values) > READ).all()


def test_referee_of_empty_images_is_finite():
    for grey in (0, 255):
        images = np.full((BATCH, 96, 96, 3), grey, np.uint8)
        assert np.isfinite(np.asarray(referee(images))).all()
