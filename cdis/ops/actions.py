"""The numbering of actions, for integers and arrays of NumPy or JAX.

Each of F factors can go one step up or down, which makes A = 2 F actions:
`action = factor + F * (direction < 0)`, with a direction of +1 or -1.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # `import cdis.data` must not wait for JAX
    import jax

Numbers = TypeVar("Numbers", int, np.ndarray, "jax.Array")


def factor_of(action: Numbers, num_factors: int) -> Numbers:
    """The factor that each action moves."""
    return action % num_factors


def direction_of(action: Numbers, num_factors: int) -> Numbers:
    """+1 for a step up, -1 for a step down."""
    return 1 - 2 * (action // num_factors)


def opposite(action: Numbers, num_factors: int) -> Numbers:
    """The action that undoes each action: the same factor, the other direction."""
    return (action + num_factors) % (2 * num_factors)
