"""ELBO: a lower bound on the log-likelihood of test images."""

import jax
import numpy as np

from cdis.chunks import in_chunks
from cdis.measure.base import Headline, Measured, Measurement, Metrics, Subject
from cdis.measure.sampling import MAX_IMAGES, SEED, sample
from cdis.trained import BATCH


def _applies(subject: Subject) -> bool:
    return subject.method.elbo is not None


def _measure(subject: Subject) -> Measured:
    """The mean over labelled images of the bound in nats, with one sample of the latents each."""
    if reason := subject.too_few_labels:
        return Measured({"elbo": {"reason": reason}})
    dataset, key = subject.dataset, jax.random.key(SEED)

    def bound(rows: np.ndarray) -> np.ndarray:
        own_key = jax.random.fold_in(key, rows[0])
        return subject.trained.elbo(dataset.images[rows], dataset.values[rows], own_key)

    mean = float(in_chunks(bound, sample(subject.labelled, MAX_IMAGES), size=BATCH).mean())
    subject.progress(f"ELBO: {mean:.1f} nats per image")
    return Measured({"elbo": mean})


def _headlines(metrics: Metrics) -> list[Headline]:
    return [Headline("ELBO", f"{metrics['elbo']:,.0f}", "nats per image")]


MEASUREMENT = Measurement("elbo", _applies, _measure, headlines=_headlines, scores={"elbo": "ELBO"})
