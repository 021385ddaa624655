"""The bound and its noise."""

import jax
import numpy as np
import pytest
from oracles import four_shades, silent

from cdis.measure import Subject, elbo
from cdis.methods.base import Method
from cdis.trained import BATCH, Trained


def _noisy() -> Method:
    def bound(variables, images, values, key):
        return values[:, 0] + jax.random.normal(key, (len(images),))

    return Method(lambda key, batch: {}, (), elbo=bound)


def _expected(values, keys):
    """A chunk at a time, the last one padded to `BATCH` rows."""
    chunks = np.split(values, range(BATCH, len(values), BATCH))
    noise = [
        np.asarray(jax.random.normal(key, (BATCH,)))[: len(chunk)]
        for chunk, key in zip(chunks, keys, strict=True)
    ]
    return np.concatenate(chunks) + np.concatenate(noise)


def test_each_chunk_has_noise_of_its_own():
    dataset = four_shades(300)
    trained, key = Trained(_noisy(), {}, dataset.info), jax.random.key(5)
    keys = [key, *(jax.random.fold_in(key, start) for start in (BATCH, 2 * BATCH))]
    bound = trained.elbo(dataset.images, dataset.values, key)
    np.testing.assert_allclose(bound, _expected(dataset.values[:, 0], keys), rtol=1e-6)
    assert len(trained.elbo(dataset.images[:1], dataset.values[:1], key)) == 1


def test_the_mean_over_test_images():
    dataset = four_shades(300)  # all of them test images
    subject = Subject(Trained(_noisy(), {}, dataset.info), dataset, progress=silent)
    scores, arrays = elbo.MEASUREMENT.measure(subject)
    keys = [jax.random.fold_in(jax.random.key(0), start) for start in range(0, 300, BATCH)]
    expected = _expected(dataset.values[:, 0], keys).mean()
    assert scores == {"elbo": pytest.approx(expected, rel=1e-6)} and not arrays
