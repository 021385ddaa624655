"""Are reconstructions as sharp as the images? The ratio of their horizontal gradients."""

import numpy as np

from cdis.measure import Headline, Measured, Measurement
from cdis.ops.images import from_uint8


def applies(subject):
    return subject.method.encode is not None and subject.method.decode is not None


def measure(subject):
    images = subject.dataset.images[subject.test]
    reconstructed = gradient(subject.trained.reconstruct(images))
    return Measured({"sharpness": {"ratio": reconstructed / gradient(from_uint8(images))}})


def gradient(images):
    return float(np.abs(np.diff(images, axis=2)).mean())


def headlines(metrics):
    return [Headline("sharpness", f"{metrics['sharpness']['ratio']:.2f}", "1 is perfect")]


SHARPNESS = Measurement(
    "sharpness", applies, measure, headlines=headlines, scores={"sharpness.ratio": "Sharpness"}
)
