"""The numbering of actions, for integers and arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from cdis.errors import UserError
from cdis.ops.actions import (
    actions_of,
    direction_of,
    factor_of,
    opposite,
    read_steps,
    shortest_way,
    steps_text,
)

F = 3


def test_actions_step_up_first_and_then_down():
    assert [factor_of(a, F) for a in range(2 * F)] == [0, 1, 2, 0, 1, 2]
    assert [direction_of(a, F) for a in range(2 * F)] == [1, 1, 1, -1, -1, -1]
    assert [opposite(a, F) for a in range(2 * F)] == [3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize("array", [np.arange, jnp.arange])
def test_arrays_agree_with_integers(array):
    actions = array(2 * F)
    for function in (factor_of, direction_of, opposite):
        expected = [function(a, F) for a in range(2 * F)]
        np.testing.assert_array_equal(function(actions, F), expected)


def test_the_opposite_undoes():
    actions = np.arange(2 * F)
    back = opposite(actions, F)
    np.testing.assert_array_equal(factor_of(back, F), factor_of(actions, F))
    np.testing.assert_array_equal(direction_of(back, F), -direction_of(actions, F))
    np.testing.assert_array_equal(opposite(back, F), actions)


@pytest.mark.parametrize("array", [np.array, jnp.array])
def test_the_shorter_way_round_a_circle(array):
    sizes, circular = (4, 4, 5, 5), (False, True, True, False)
    steps = array([[3, 3, 3, 3], [-3, -3, -3, -3], [2, 2, 2, 2], [-2, -2, -2, -2], [0, 0, 0, 0]])
    expected = [[3, -1, -2, 3], [-3, 1, 2, -3], [2, 2, 2, 2], [-2, 2, -2, -2], [0, 0, 0, 0]]
    np.testing.assert_array_equal(shortest_way(steps, sizes, circular), expected)


def test_steps_as_actions_and_as_text():
    names = ("x", "x2", "wall hue", "a-1")
    for steps, actions, text in (
        ([0, 0, 0, 0], [], "none"),
        ([2, -1, 0, 0], [0, 0, 5], "x+2 x2-1"),
        ([0, 0, -2, 1], [6, 6, 3], "wall hue-2 a-1+1"),
    ):
        assert actions_of(steps) == actions
        assert steps_text(steps, names) == text
        assert read_steps(f" {text} ", names).tolist() == steps
    assert read_steps("x+1 x-2   x2+1", names).tolist() == [-1, 1, 0, 0]
    for text in ("", "x", "x+", "x+1x2+1", "x+1, x2+1", "none x+1", "x+1.5"):
        with pytest.raises(UserError, match="Steps are written as NAME"):
            read_steps(text, names)
    with pytest.raises(UserError, match=r"did you mean 'wall hue'\?"):
        read_steps("x+1 wal hue+1", names)
