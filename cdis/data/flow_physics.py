"""What happens in Flow, however it is drawn: balls, water, holes and jets.

After CausalVAE (Yang, Liu, Chen, Shen, Hao and Wang, CVPR 2021). In a plane, y up: a ball of radius
R raises the water in a cup to the height h = R^3 + the amount poured in; through a hole at height d
leaves a jet, x(y) = 8 + sqrt(2 push h (d - y)), which reaches x(0.5) - 8. In the published images,
push is 0.98 plus a little noise.
"""

import functools
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int64

NAMES = ("ball_radius", "water_height", "hole_height", "jet_reach")
GRAPH = ((0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0), (0, 1, 1, 0))

PUSH, LANDING = 0.98, 0.5  # the height at which reach is measured

_Numbers = TypeVar("_Numbers", np.ndarray, Array)


def jet_reach(height: _Numbers, hole: _Numbers, push: _Numbers | float) -> _Numbers:
    """How far a jet gets from the wall, for water of `height` and a hole at height `hole`."""
    return (2 * push * height * (hole - LANDING)) ** 0.5


def grid() -> tuple[Int64[np.ndarray, " n"], ...]:
    """30 balls by 30 amounts of water by 9 holes, in units of 1/30, 1/10 and 1/3; n = 8,100."""
    parts = np.meshgrid(np.arange(5, 35), np.arange(10, 40), np.arange(6, 15), indexing="ij")
    return tuple(part.ravel() for part in parts)


def table(push: Float[np.ndarray, " n"] | float) -> Float[np.ndarray, "n 4"]:
    """The values of every image of `grid`, float64, in the order of `NAMES`."""
    ball, poured, hole = grid()
    radius, hole = ball / 30, hole / 3
    height = radius**3 + poured / 10
    return np.stack([radius, height, hole, jet_reach(height, hole, push)], axis=1)


@functools.partial(jax.jit, static_argnames="factor")
def counterfactual(
    values: Float[Array, "b 4"], factor: int, value: Float[Array, " b"]
) -> Float[Array, "b 4"]:
    """See `cdis.data.mechanism.Mechanism`: what was poured in and the push stay as they were."""
    radius, height, hole, reach = values.T
    poured, push = height - radius**3, reach**2 / (2 * height * (hole - LANDING))
    new = list(values.at[:, factor].set(value).T)
    if factor == 0:
        new[1] = new[0] ** 3 + poured
    if factor < 3:
        new[3] = jet_reach(new[1], new[2], push)
    return jnp.stack(new, axis=-1)
