"""Bars: the causal models that seeds draw, their mechanism against a literal twin, and pictures."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cdis import data
from cdis.data.bars import Scm, bars
from cdis.data.generated import GeneratedBuilder
from cdis.errors import UserError
from cdis.ops import images as images_op

BATCH = 256


def _mechanism(name: str) -> data.Mechanism:
    mechanism = data.mechanism(name)
    assert mechanism is not None
    return mechanism


def _render(values: np.ndarray) -> np.ndarray:
    render = _mechanism("bars/4").render  # the same for any number of bars
    assert render is not None
    return np.asarray(render(values))


def _r_squared(read: np.ndarray, values: np.ndarray) -> np.ndarray:
    return 1 - np.square(read - values).sum(0) / np.square(values - values.mean(0)).sum(0)


# The literal twin


def _literal_caused(scm: Scm, i: int, heights: list[float]) -> float:
    """The height of bar i without its noise."""
    height, turned = float(scm.base[i]), float(scm.phase[i])
    for j in range(i):
        u = (heights[j] - 30) / 10
        height += scm.amplitude[i, j] * math.tanh(scm.slope[i, j] * u + scm.shift[i, j])
        turned += scm.turn[i, j] * u
    return height + scm.wave[i] * math.sin(turned)


def _literal_counterfactual(scm: Scm, row: np.ndarray, factor: int, value: float) -> list[float]:
    before = [float(height) for height in row]
    noise = [before[i] - _literal_caused(scm, i, before) for i in range(len(before))]
    after: list[float] = []
    for i in range(len(before)):
        after.append(value if i == factor else _literal_caused(scm, i, after) + noise[i])
    return after


def test_counterfactuals_equal_a_literal_twin():
    _, scm, values = bars(10, 0)
    rows = values[:24]
    for factor in range(10):
        asked = values[-24:, factor]
        changed = np.asarray(_mechanism("bars/10").counterfactual(rows, factor, asked))
        literal = [
            _literal_counterfactual(scm, row, factor, float(value))
            for row, value in zip(rows, asked, strict=True)
        ]
        np.testing.assert_allclose(changed, literal, atol=1e-4)


def test_an_intervention_moves_the_descendants_and_nothing_else():
    graph, _, values = bars(16, 0)
    rows, mechanism = values[:BATCH], _mechanism("bars/16")
    reached = np.linalg.matrix_power(np.eye(16) + graph, 16) > 0  # [effect, cause]
    assert not reached[:, 0].all() and reached[:, 0].sum() > 8
    for factor in range(16):
        asked = values[-BATCH:, factor]
        changed = np.asarray(mechanism.counterfactual(rows, factor, asked))
        np.testing.assert_array_equal(changed[:, factor], asked)
        moved = changed != rows
        assert not moved[:, ~reached[:, factor]].any()
        assert moved[:, reached[:, factor]].mean(0).min() > 0.95
        same = mechanism.counterfactual(rows, factor, rows[:, factor])
        np.testing.assert_array_equal(same, rows)
        assert np.asarray(mechanism.inside(changed)).all()


# What seeds draw


def _known(scm: Scm, i: int, values: np.ndarray) -> np.ndarray:
    """The literal twin for all images at once."""
    u = (values - 30) / 10
    steps = sum(
        scm.amplitude[i, j] * np.tanh(scm.slope[i, j] * u[:, j] + scm.shift[i, j]) for j in range(i)
    )
    turned = sum((scm.turn[i, j] * u[:, j] for j in range(i)), scm.phase[i])
    return scm.base[i] + steps + scm.wave[i] * np.sin(turned)


@pytest.mark.parametrize(
    ("count", "seed"),
    [(count, 0) for count in range(4, 17)]
    + [(count, seed) for count in (4, 10, 16) for seed in range(1, 10)],
)
def test_causes_matter_and_do_not_tell_everything(count, seed):
    graph, scm, values = bars(count, seed)
    assert values.shape == (20_000, count) and values.dtype == np.float32
    assert values.min() > 3.5 and values.max() < 56.5
    # In topological order, and connected: whoever is not reached has no edge to the others.
    assert not np.triu(graph).any() and graph.sum(1).max() <= 3
    reached = {0}
    for _ in range(count):
        reached |= {int(k) for i in reached for k in np.flatnonzero(graph[i] + graph[:, i])}
    assert reached == set(range(count))
    some = values[:4000].astype(float)
    std, noises = some.std(0), []
    for i in range(count):
        known = _known(scm, i, some)
        noises.append(some[:, i] - known)
        explained = known.var() / some[:, i].var()
        assert 0.7 < explained < 0.95 if graph[i].any() else explained < 1e-9
        for j in range(i):
            moved = some + 0.01 * (np.arange(count) == j)
            slope = (_known(scm, i, moved) - known) / 0.01
            effect = np.sqrt(np.square(slope).mean()) * std[j] / std[i]
            assert effect > 0.3 if graph[i, j] else effect == 0
    assert std.min() > 5.5
    noise = np.array(noises)
    assert np.abs(np.corrcoef(noise) - np.eye(count)).max() < 0.07
    # Gaussian, cut off at 2.5 standard deviations of the uncut.
    assert np.abs(noise).max(1) / scm.noise == pytest.approx(2.5, abs=0.15)
    np.testing.assert_allclose(noise.std(1) / scm.noise, 0.9545, rtol=0.045)


def test_seeds_draw_the_same_everywhere_and_each_something_else():
    graph, _, values = bars(4, 0)
    assert graph.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]
    np.testing.assert_allclose(
        values[[0, -1]],
        [[28.47, 42.376, 28.854, 30.288], [34.004, 23.774, 33.719, 24.22]],
        atol=1e-3,
    )
    again = bars.__wrapped__(4, 0)
    np.testing.assert_array_equal(again.values, values)
    other = bars(4, 1)
    assert (other.values != values).mean() > 0.99
    assert (bars(5, 0).values[:, :4] != values).mean() > 0.99


# Pictures


def test_bars_stand_on_the_ground_with_antialiased_tops():
    image = _render(np.array([[10.25, 0, 61.5, 62]], np.float32))[0]
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert (image[62:] == 64).all()
    red, cyan, violet = (204, 0, 0), (0, 204, 204), (102, 0, 204)
    assert (image[52:62, 2:14] == red).all()
    assert (image[51, 2:14] == (242, 191, 191)).all()  # a quarter of red on white
    for white in (image[:62, :2], image[:62, 14:34], image[:51, :34], image[:62, 46:50]):
        assert (white == 255).all()
    assert (image[1:62, 34:46] == cyan).all() and (image[0, 34:46] == (128, 230, 230)).all()
    assert (image[:62, 50:62] == violet).all()
    narrow = _render(np.full((1, 16), 30, np.float32))[0]
    assert (narrow[40].reshape(16, 4, 3) == 255).all(-1).tolist() == [[False] * 3 + [True]] * 16
    assert len(np.unique(narrow[40], axis=0)) == 17


@pytest.mark.parametrize("count", [4, 7, 16])
def test_referee_reads_images_and_counterfactuals(count):
    mechanism, values = _mechanism(f"bars/{count}"), bars(count, 0).values
    changed = mechanism.counterfactual(values[:BATCH], 0, values[-BATCH:, 0])
    for heights in (values[:BATCH], np.asarray(changed)):
        read = np.asarray(mechanism.referee(_render(heights)))
        assert _r_squared(read, heights).min() > 0.9999


def test_referee_reads_decoded_images():
    """Floats in [-1, 1], blurred by half a pixel and tinted by 5 %, with noise."""
    mechanism, values = _mechanism("bars/16"), bars(16, 0).values[:BATCH]
    images = gaussian_filter(
        images_op.from_uint8(_render(values)), (0, 0.5, 0.5, 0), mode="nearest"
    )
    assert _r_squared(np.asarray(mechanism.referee(images)), values).min() > 0.9999
    noise = np.random.default_rng(0).normal(0, 0.02, images.shape)
    tinted = 0.95 * images + 0.05 * np.array([1, 0.3, -1]) + noise
    tinted = np.clip(tinted, -1, 1).astype(np.float32)
    assert _r_squared(np.asarray(mechanism.referee(tinted)), values).min() > 0.9995


@pytest.mark.parametrize("grey", [0, 255])
def test_referee_of_empty_images_is_finite(grey):
    images = np.full((BATCH, 64, 64, 3), grey, np.uint8)
    assert np.isfinite(np.asarray(_mechanism("bars/16").referee(images))).all()


def test_bars_that_leave_the_frame_are_reported():
    rows = np.array([[0, 62, 30, 30], [-0.1, 30, 30, 30], [30, 30, 30, 62.1]], np.float32)
    assert np.asarray(_mechanism("bars/4").inside(rows)).tolist() == [True, False, False]


# Names and facts


def test_names_and_facts():
    listed = [name for name in data.names() if name.startswith("bars")]
    assert listed == [f"bars/{count}" for count in range(4, 17)]
    info = data.info("bars/4_seed9")
    graph, _, values = bars(4, 9)
    assert info.name == "bars/4_seed9" and info.num_images == len(values)
    assert info.graph == tuple(map(tuple, graph.tolist())) != data.info("bars/4").graph
    assert info.value_mean is not None and info.value_std is not None
    np.testing.assert_allclose(info.value_mean, values.astype(float).mean(0), rtol=1e-6)
    np.testing.assert_allclose(info.value_std, values.astype(float).std(0), rtol=1e-6)
    builder, config = data.find("bars/4_seed9")
    assert issubclass(builder, GeneratedBuilder)
    index = np.arange(0, 20_000, 79)
    images, factors, some = builder.examples(config, index)
    np.testing.assert_array_equal(some, values[index])
    np.testing.assert_array_equal(images, _render(values[index]))
    assert factors.shape == some.shape and not factors.any()


@pytest.mark.parametrize(
    ("name", "near"),
    [("bars/17", "bars/7"), ("bars/10_seedx", "bars/10_seed9"), ("bars/10_sed1", "bars/10_seed1")],
)
def test_unknown_names_are_reported(name, near):
    with pytest.raises(UserError, match=f"did you mean '{near}'") as error:
        data.info(name)
    assert "bars/16" in str(error.value) and "bars/16_seed1" not in str(error.value)
