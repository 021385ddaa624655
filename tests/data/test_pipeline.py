"""Batches: one order, from any start and for any number of processes."""

import itertools

import grain
import numpy as np
import pytest

from cdis.data.examples import of_images, of_transitions
from cdis.data.pipeline import BatchSource, batches, order
from cdis.data.transitions import Transitions
from cdis.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), np.uint8)
INDEX = np.arange(3, 90, 2)
ROWS = of_images(INDEX)
PAIRS = of_transitions(
    Transitions(np.arange(50), np.arange(50) + 50, np.arange(50, dtype=np.int32) % 6)
)


def _taken(stream) -> np.ndarray:
    return np.stack([batch["x"]["number"] for batch in stream])


def _numbers(**settings) -> np.ndarray:
    columns = {"number": np.arange(100)}
    return _taken(batches(columns, ROWS, seed=1, **{"num_batches": 30, **settings}))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 65, 4608])
def test_every_epoch_is_a_permutation(size):
    stream = order(size, seed=3, start=0, count=3 * size)
    epochs = stream.reshape(3, size)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))
    if size > 5:
        assert (epochs[0] != epochs[1]).any()
        assert (epochs[0] != order(size, seed=4, start=0, count=size)).any()
        # The next seed must not repeat this shuffle.
        assert (epochs[1] != order(size, seed=4, start=0, count=size)).any()


def test_order_is_random_enough():
    firsts = np.stack([order(10, seed=seed, start=0, count=10) for seed in range(2000)])
    for position in range(10):
        counts = np.bincount(firsts[:, position], minlength=10)
        chi_squared = np.square(counts - 200).sum() / 200
        assert chi_squared < 33.7  # nine degrees of freedom, p = 1e-4
    long = order(100_000, seed=0, start=0, count=100_000)
    assert abs(np.corrcoef(long[:-1], long[1:])[0, 1]) < 0.015
    assert abs(np.corrcoef(long, np.arange(len(long)))[0, 1]) < 0.015


def test_order_is_permanent():
    # A change would keep all present runs from resuming.
    assert order(1000, seed=7, start=998, count=6).tolist() == [309, 152, 579, 213, 227, 708]


def test_every_image_once_an_epoch_and_only_those_of_the_split():
    taken = _numbers(batch_size=8).ravel()[: 5 * len(INDEX)].reshape(5, -1)
    for epoch in taken:
        np.testing.assert_array_equal(np.sort(epoch), INDEX)


@pytest.mark.parametrize("start", [1, 17, 29])
def test_same_batches_from_any_start(start):
    np.testing.assert_array_equal(
        _numbers(batch_size=8, start=start), _numbers(batch_size=8)[start:]
    )


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_same_batches_for_any_number_of_threads(threads):
    np.testing.assert_array_equal(_numbers(batch_size=8, threads=threads), _numbers(batch_size=8))


def test_length_and_end():
    assert len(_numbers(batch_size=8, num_batches=7, start=2)) == 5
    assert list(batches({}, ROWS, batch_size=8, seed=0, num_batches=4, start=4)) == []


@pytest.mark.parametrize("hosts", [2, 4])
def test_shares_of_the_processes_are_the_whole_batch(hosts):
    shares = [
        _numbers(batch_size=8, process_index=index, process_count=hosts) for index in range(hosts)
    ]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), _numbers(batch_size=8))


def test_iteration_resumes_from_grains_own_state():
    columns = {"number": np.arange(100)}
    stream, again = (
        iter(batches(columns, ROWS, batch_size=8, seed=1, num_batches=30)) for _ in range(2)
    )
    assert isinstance(stream, grain.DatasetIterator) and isinstance(again, grain.DatasetIterator)
    for _ in range(11):
        next(stream)
    state = stream.get_state()
    rest = _taken(stream)
    again.set_state(state)
    np.testing.assert_array_equal(_taken(again), rest)


def test_images_and_pairs_are_those_of_their_rows(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    columns = {"image": mapped, "number": np.arange(100)}
    stream = batches(columns, PAIRS, batch_size=16, seed=0, num_batches=5)
    for batch in itertools.islice(stream, 5):
        x, y, action = batch["x"], batch["y"], batch["action"]
        assert type(x["image"]) is np.ndarray
        assert x["image"].dtype == np.uint8
        assert action.dtype == np.int32
        np.testing.assert_array_equal(x["image"], IMAGES[x["number"]])
        np.testing.assert_array_equal(y["image"], IMAGES[y["number"]])
        np.testing.assert_array_equal(y["number"], x["number"] + 50)
        np.testing.assert_array_equal(action, x["number"] % 6)


def test_a_far_step_costs_nothing():
    source = BatchSource({}, ROWS, batch_size=4, seed=0, num_batches=10**12)
    assert source[10**12 - 1] == {"x": {}}
    far = order(10**9, seed=0, start=10**15, count=1000)
    assert len(np.unique(far)) == 1000 and far.max() < 10**9


def test_what_cannot_be_batched_is_refused():
    with pytest.raises(UserError, match="no examples to make batches of"):
        BatchSource({}, of_images(np.array([], np.int64)), batch_size=8, seed=0, num_batches=1)
    with pytest.raises(UserError, match="batch of 8 cannot be shared equally by 3"):
        BatchSource({}, ROWS, batch_size=8, seed=0, num_batches=1, process_count=3)
