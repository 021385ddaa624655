"""Batches as a Grain source whose order is a pure function of (seed, step).

The source is stateless: a run may start at any step at no cost, and several processes may each take
their share of the same batches. Threads gather rows of arrays. Images that must be decoded first
(`cdis.data.records`) are read by worker processes, and by threads for the seconds until these have
started. The batches are the same.
"""

import functools
import os
import signal
import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from multiprocessing import resource_tracker
from typing import Any

import grain
import numpy as np
from absl import flags
from jaxtyping import Int64

from cdis.data.examples import Examples
from cdis.data.records import Records
from cdis.errors import UserError

_ROUNDS = 6
_MOST_WORKERS = 8
_BEFORE_WORKERS = 64  # batches


@functools.lru_cache(maxsize=16)
def _keys(seed: int, epoch: int) -> np.ndarray:
    """An offset and an odd multiplier for each round: uint64 [rounds, 2]."""
    keys = np.random.SeedSequence([seed, epoch]).generate_state(2 * _ROUNDS, np.uint64)
    return keys.reshape(_ROUNDS, 2) | np.array([0, 1], np.uint64)


def _permute(
    position: Int64[np.ndarray, " b"], size: int, seed: int, epoch: int
) -> Int64[np.ndarray, " b"]:
    """Positions under a pseudo-random permutation of range(size), chosen by (seed, epoch).

    A Feistel network permutes range(p), where p is the smallest power of two that is at least
    `size`: the two halves of a number's bits are changed in turn, each by a hash of the other. A
    result outside range(size) is permuted again until it falls inside (cycle walking; Black and
    Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). No table of the permutation is stored.
    """
    bits = max(2, int(size - 1).bit_length())
    low_bits, high_bits = np.uint64(bits // 2), np.uint64(bits - bits // 2)
    value = position.astype(np.uint64)
    outside = np.arange(len(value))
    while len(outside):
        one, other = value[outside] >> low_bits, value[outside] & _ones(low_bits)
        one_bits, other_bits = high_bits, low_bits
        for offset, multiplier in _keys(seed, epoch):
            mixed = (other + offset) * multiplier
            mixed = (mixed ^ (mixed >> np.uint64(32))) * multiplier
            one ^= (mixed >> np.uint64(40)) & _ones(one_bits)
            one, other, one_bits, other_bits = other, one, other_bits, one_bits
        # An even number of rounds: `one` is the high half again.
        value[outside] = (one << low_bits) | other
        outside = outside[value[outside] >= size]
    return value.astype(np.int64)


def _ones(bits: np.uint64) -> np.uint64:
    return (np.uint64(1) << bits) - np.uint64(1)


def order(size: int, *, seed: int, start: int, count: int) -> Int64[np.ndarray, " count"]:
    """Elements `start` to `start + count` of an endless stream over range(size).

    Each epoch, `size` elements from a multiple of `size` on, is a new permutation.
    """
    position = np.arange(start, start + count)
    epoch, within = position // size, position % size
    for number in np.unique(epoch):
        now = epoch == number
        within[now] = _permute(within[now], size, seed, int(number))
    return within


class BatchSource:
    """A Grain random-access source; element `index` is a whole batch."""

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        examples: Examples,
        *,
        batch_size: int,
        seed: int,
        num_batches: int,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        if examples.count == 0:
            raise UserError(
                "There are no examples to make batches of: the split holds no images, or no pairs "
                "of images one step apart. Use a larger data set."
            )
        if batch_size % process_count:
            raise UserError(
                f"A batch of {batch_size} cannot be shared equally by {process_count} processes. "
                "Choose a batch_size that is a multiple of the number of processes."
            )
        # A plain view: indexing a np.memmap makes another np.memmap, which is slow.
        self._columns = {
            name: column if isinstance(column, Records) else np.asarray(column)
            for name, column in columns.items()
        }
        self._examples = examples
        self._batch_size = batch_size
        self._share = batch_size // process_count
        self._offset = process_index * self._share
        self._seed = seed
        self._num_batches = num_batches

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        start = int(index) * self._batch_size + self._offset
        chosen = order(self._examples.count, seed=self._seed, start=start, count=self._share)
        batch: dict[str, Any] = {
            role: self._gather(image[chosen]) for role, image in self._examples.images.items()
        }
        return batch | {name: label[chosen] for name, label in self._examples.labels.items()}

    def _gather(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return {name: column[image] for name, column in self._columns.items()}


def batches(
    columns: Mapping[str, np.ndarray],
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    num_batches: int,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    prefetch: int = 4,
    workers: int | None = None,
) -> "grain.IterDataset | _InTurn":
    """Batches `start`, ..., `num_batches - 1` of an endless, seeded, reshuffled stream.

    Args:
      columns: arrays over all images of the data set, such as {"image": images}. Only the rows of
        a batch are read, so they may be memory maps.
      examples: the examples to sample batches from; see `Examples` for the form of a batch.
      batch_size: B over all processes; each process gets B / process_count, in order.
      seed: chooses the order. Batch `step` depends on (seed, step) alone.
      num_batches: length of the whole run, whatever `start` is.
      start: the first step wanted.
      process_index: this process's share of each batch.
      process_count: the number of shares of each batch.
      threads: the number of threads that gather batches ahead; 0 gathers in the caller's thread.
      prefetch: the number of batches they keep ready.
      workers: the number of processes that make batches instead of threads; 0 for none. By default,
        if a column is of `Records` and so must be decoded, one per core but at most eight. They
        take seconds to start, during which threads make batches; close the iterator to stop them.

    Raises:
      UserError: there are no examples, or process_count does not divide batch_size.
    """
    source = BatchSource(
        columns,
        examples,
        batch_size=batch_size,
        seed=seed,
        num_batches=num_batches,
        process_index=process_index,
        process_count=process_count,
    )
    reading = grain.ReadOptions(threads, prefetch if threads else 0)
    steps = grain.MapDataset.source(source)
    if workers is None:
        decodes = any(isinstance(column, Records) for column in columns.values())
        workers = min(os.cpu_count() or 1, _MOST_WORKERS) if decodes else 0
    handover = start + _BEFORE_WORKERS
    if not workers or handover >= num_batches:
        return steps.slice(slice(start, None)).to_iter_dataset(reading)
    # Grain reads Abseil flags, which are unparsed unless absl.app started the program.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    _start_tracker_silently()
    later = steps.slice(slice(handover, None)).to_iter_dataset(grain.ReadOptions(0, 0))
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=prefetch)
    return _InTurn(
        steps.slice(slice(start, handover)).to_iter_dataset(reading),
        later.mp_prefetch(options, worker_init_fn=_leave_interrupts_to_the_parent),
    )


class _InTurn:
    """The batches of one Grain data set, then those of another, which starts up meanwhile."""

    def __init__(self, first: grain.IterDataset, second: grain.IterDataset) -> None:
        self._first, self._second = first, second

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        with closing(iter(self._first)) as first, closing(iter(self._second)) as second:
            second.get_state()  # creates the iterators that start_prefetch starts
            second.start_prefetch()
            yield from first
            yield from second


def _start_tracker_silently() -> None:
    """Start the process that frees shared memory when this one ends.

    By default it warns about each batch still in use at that time, as on Ctrl-C.
    """
    option = "ignore:resource_tracker"
    sys.warnoptions.append(option)  # inherited by the process
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(option)


def _leave_interrupts_to_the_parent(index: int, count: int) -> None:
    del index, count
    signal.signal(signal.SIGINT, signal.SIG_IGN)
