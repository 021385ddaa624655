"""The causal mechanism behind a data set: counterfactuals, renderer, and a referee that reads."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # `import cdis.data` must not wait for JAX
    from jaxtyping import Array


class Mechanism(NamedTuple):
    """How the images of a data set come about, as functions of arrays.

    `values` are physical values, float32 [b, F], as in `Dataset.values`; images have the data
    set's shape.

    Attributes:
      counterfactual: (values, factor, value float32 [b]) -> values float32 [b, F]: the factors that
        each image would have had under do(factor = value), where `factor` is a column's number.
        Abduction recovers the exogenous noise from `values`, which must be exact (those of the data
        set); then the factor is set and its descendants are recomputed with their own noise. All
        other factors stay.
      render: values -> images, uint8 [b, H, W, C]. Takes any values, including combinations that
        never occur. None if images cannot be rendered from their factors, as photographs cannot.
      referee: images -> values: reads every factor off the pixels by colour and position, without
        knowledge of the causal graph. Takes uint8, or floats in [-1, 1]; where an object is
        missing, the result is finite but meaningless.
      inside: values -> bool [b]: does the whole scene fit into the frame? True for every image of
        the data set, unless it cuts off scenes itself (pendulum/published); setting two effects at
        will may move one out of the picture.
    """

    counterfactual: Callable[..., "Array"]
    render: Callable[..., "Array"] | None
    referee: Callable[..., "Array"]
    inside: Callable[..., "Array"]
