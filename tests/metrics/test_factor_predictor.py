"""The factor predictor learns, is cached, and never loads a stale file."""

import numpy as np
import pytest

from cdis.metrics import factor_predictor as predictors


@pytest.fixture(scope="module")
def squares():
    """16x16 images of a square: brightness (3) and place (4 x 4)."""
    factors = np.stack(np.unravel_index(np.arange(48), (3, 4, 4)), 1).astype(np.int32)
    images = np.zeros((48, 16, 16, 1), np.uint8)
    for image, (brightness, x, y) in zip(images, factors, strict=True):
        image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 85 * (brightness + 1)
    return images, factors


def _train(squares, cache, lines, steps=40):
    images, factors = squares
    index = np.random.default_rng(0).permutation(48)
    return predictors.factor_predictor(
        images,
        factors,
        (3, 4, 4),
        train_index=index[:40],
        test_index=index[40:],
        cache=cache,
        steps=steps,
        progress=lines.append,
    )


@pytest.mark.slow
def test_learns_and_is_cached(squares, tmp_path):
    images, factors = squares
    lines = []
    predictor = _train(squares, tmp_path, lines)
    assert lines and predictor.real_accuracy.shape == (3,)
    assert predictor.real_accuracy[1:].min() == 1
    # Floats in [-1, 1] and uint8 are the same image.
    as_float = images.astype(np.float32) / 127.5 - 1
    np.testing.assert_array_equal(predictor.predict(as_float), predictor.predict(images))
    assert (predictor.predict(images)[:, 1:] == factors[:, 1:]).mean() > 0.95

    (path,) = tmp_path.iterdir()
    again = []
    kept = _train(squares, tmp_path, again)
    assert not again
    np.testing.assert_array_equal(kept.predict(images), predictor.predict(images))

    path.write_bytes(path.read_bytes()[:1000])
    _train(squares, tmp_path, again)
    assert again, "a truncated file must not be loaded"
    other = (255 - images, factors)
    _train(other, tmp_path, [])
    assert len(list(tmp_path.iterdir())) == 2, "other images must get another predictor"


def test_a_cache_that_cannot_be_written_to_is_no_error(squares, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    lines = []
    _train(squares, blocked, lines)
    assert any("not saved" in line for line in lines)
    assert blocked.read_text() == "in the way"


def test_accuracy():
    accuracy = predictors.factor_accuracy(np.array([[0, 1], [2, 1]]), np.array([[0, 1], [1, 1]]))
    np.testing.assert_array_equal(accuracy, [0.5, 1])
