"""The numbering of actions, for integers and arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from cdis.ops.actions import direction_of, factor_of, opposite

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
