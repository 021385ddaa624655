"""Order, errors and closing early."""

import threading
from contextlib import closing

import pytest

from cdis.training.prefetch import prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_batches_come_in_order_and_a_few_ahead():
    taken = []
    ready = prefetch((taken.append(n) or n for n in range(6)), lambda n: 10 * n, ahead=2)
    assert next(ready) == 0
    assert list(ready) == [10, 20, 30, 40, 50]
    assert taken == list(range(6))
    assert not threads()


def test_no_more_are_taken_than_asked_for():
    taken = []
    with closing(
        prefetch((taken.append(n) or n for n in range(99)), lambda n: n, ahead=2)
    ) as ready:
        assert [next(ready) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 2
    assert not threads()


def test_an_error_arrives_where_the_batch_would():
    def batches():
        yield 1
        raise OSError("gone")

    ready = prefetch(batches(), lambda n: n)
    assert next(ready) == 1
    with pytest.raises(OSError, match="gone"):
        next(ready)
    assert not threads()
