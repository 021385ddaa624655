"""The numbering of actions, for integers and arrays of NumPy or JAX.

Each of F factors can go one step up or down, which makes A = 2 F actions:
`action = factor + F * (direction < 0)`, with a direction of +1 or -1.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Int

from cdis.errors import UserError, near_miss

if TYPE_CHECKING:  # `import cdis.data` must not wait for JAX
    import jax

Numbers = TypeVar("Numbers", int, np.ndarray, "jax.Array")
Arrays = TypeVar("Arrays", np.ndarray, "jax.Array")
#: The text of no steps at all.
NO_STEPS = "none"


def factor_of(action: Numbers, num_factors: int) -> Numbers:
    """The factor that each action moves."""
    return action % num_factors


def direction_of(action: Numbers, num_factors: int) -> Numbers:
    """+1 for a step up, -1 for a step down."""
    return 1 - 2 * (action // num_factors)


def shortest_way(steps: Numbers, sizes: tuple[int, ...], circular: tuple[bool, ...]) -> Numbers:
    """Signed steps of each factor `[..., F]`, the shorter way round a circle.

    Half a circle is a way up. Steps of other factors, of which there are fewer than values, stay.
    """
    period: Any = np.where(circular, sizes, 2 * np.array(sizes))
    most_down = (period - 1) // 2
    return (steps + most_down) % period - most_down


def opposite(action: Numbers, num_factors: int) -> Numbers:
    """The action that undoes each action: the same factor, the other direction."""
    return (action + num_factors) % (2 * num_factors)


def actions_of(steps: Sequence[int]) -> list[int]:
    """The actions that take signed steps of each factor, one factor after the other."""
    return [
        factor if count > 0 else opposite(factor, len(steps))
        for factor, count in enumerate(steps)
        for _ in range(abs(count))
    ]


def steps_text(steps: Sequence[int], names: Sequence[str]) -> str:
    """Signed steps of each factor as text: "hue+2 x-1", or "none"."""
    moved = (f"{name}{n:+d}" for name, n in zip(names, steps, strict=True) if n)
    return " ".join(moved) or NO_STEPS


def read_steps(text: str, names: Sequence[str]) -> Int[np.ndarray, " f"]:
    """The inverse of `steps_text`; steps of a factor that is named twice are added.

    Raises `UserError` for any other text.
    """
    steps = np.zeros(len(names), np.int64)
    if text.strip() == NO_STEPS:
        return steps
    one = rf"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})([+-]\d+)(?:\s+|$)"
    rest = text.strip()
    while found := re.match(one, rest):
        steps[list(names).index(found[1])] += int(found[2])
        rest = rest[found.end() :]
    if rest or not text.strip():
        near = near_miss(re.split(r"[+-]", rest)[0], names)
        raise UserError(
            f"{text!r} cannot be read{near}. Steps are written as NAME+N or NAME-N, such as "
            f"{names[0]}+2, with spaces between several, or as {NO_STEPS}. The factors are "
            f"{', '.join(names)}."
        )
    return steps
