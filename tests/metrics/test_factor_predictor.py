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
    assert lines and predictor.real_score.shape == (3,)
    assert predictor.real_score[1:].min() == 1
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


@pytest.fixture(scope="module")
def mixed():
    """12 x 10 pixels: brightness (continuous) of the left or the right half (discrete)."""
    random = np.random.default_rng(0)
    brightness, right = random.uniform(0.3, 1, 400), random.integers(0, 2, 400)
    images = np.zeros((400, 12, 10, 1), np.uint8)
    images[right == 0, :, :5, 0] = 255 * brightness[right == 0, None, None]
    images[right == 1, :, 5:, 0] = 255 * brightness[right == 1, None, None]
    factors = np.stack([np.zeros(400, int), right], 1).astype(np.int32)
    values = np.stack([1000 + 10 * brightness, right], 1).astype(np.float32)
    return images, factors, values


def test_kinds_of_factors_side_by_side_and_missing_labels(mixed, tmp_path):
    images, factors, values = mixed
    hidden_factors, hidden = factors.copy(), values.copy()
    # A third of the images is wrongly lit, a third on the wrong side; no label says so.
    hidden[:100, 0], hidden[100:200, 1], hidden_factors[100:200, 1] = np.nan, np.nan, -1
    lines = []

    def train(steps):
        return predictors.factor_predictor(
            images,
            hidden_factors,
            (0, 2),
            values=hidden,
            train_index=np.arange(300),
            validation_index=np.arange(300, 350),
            test_index=np.arange(350, 400),
            cache=tmp_path,
            steps=steps,
            progress=lines.append,
        )

    predictor = train(60)
    assert predictor.real_score[0] > 0.9 and predictor.real_score[1] == 1
    read = predictor.predict(images[:50])
    assert read[:, 0] == pytest.approx(values[:50, 0], abs=2)
    lines.clear()
    np.testing.assert_array_equal(train(60).predict(images[:50]), read)
    assert not lines
    few = np.arange(9)
    with pytest.raises(ValueError, match="values"):
        predictors.factor_predictor(images, factors, (0, 2), train_index=few, test_index=few)
    with pytest.raises(ValueError, match="label"):
        hidden_factors[:] = -1
        predictors.factor_predictor(images, hidden_factors, (2, 2), train_index=few, test_index=few)


def test_labels_and_scores():
    factors = np.array([[0, 1], [0, -1], [0, 0], [0, 0]])
    values = np.array([[1.5, 0.2], [2.5, np.nan], [np.nan, 0.1], [3.5, 0.1]])
    labels = predictors.labels(factors, values, (0, 2))
    np.testing.assert_array_equal(labels, [[1.5, 1], [2.5, np.nan], [np.nan, 0], [3.5, 0]])
    predicted = np.array([[1.5, 1], [2.5, 1], [0.0, 1], [4.5, 0]])
    np.testing.assert_allclose(predictors.factor_scores(predicted, labels, (0, 2)), [0.5, 2 / 3])
    unknown = np.full_like(labels, np.nan)
    assert np.isnan(predictors.factor_scores(predicted, unknown, (0, 2))).all()
