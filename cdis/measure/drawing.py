"""Images as the mechanism of a data set draws them: what the pixels of a method should be."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from cdis.chunks import in_chunks
from cdis.measure.base import Subject
from cdis.measure.reconstruction import squared_error
from cdis.ops.images import from_uint8
from cdis.trained import BATCH


def draw(subject: Subject, values: Float[np.ndarray, "n f"]) -> UInt8[np.ndarray, "n h w c"] | None:
    """Images of factor values; None without a mechanism that draws."""
    render = None if subject.mechanism is None else subject.mechanism.render
    if render is None:
        return None
    return in_chunks(lambda rows: render(values[rows]), len(values), size=BATCH)


def redrawn(subject: Subject, index: Int[np.ndarray, " n"]) -> float | None:
    """Mean squared error of the drawings of images' own labels, for pixels in [0, 1].

    0 if labels say all that an image shows. None without a mechanism that draws.
    """
    drawn = draw(subject, subject.dataset.values[index])
    if drawn is None:
        return None
    images = subject.dataset.images[index]
    return float(squared_error(np.asarray(from_uint8(drawn)), images).mean())


def ratio(error: float, of_reconstructions: float) -> float | None:
    """The one error over the other; None if reconstructions have no error at all."""
    return error / of_reconstructions if of_reconstructions > 0 else None
