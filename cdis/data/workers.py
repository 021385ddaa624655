"""One function of many items, computed by all cores."""

import contextlib
import os
import queue
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting a process takes about as long as decoding a thousand small images, or ten photographs.
_FEWEST = 64
_MOST = 256
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from cdis.data import workers; workers.serve({handle})"
)


def each(
    work: Callable[[int, Sequence[Item]], Result],
    items: Sequence[Item],
    done: Callable[[Result], object],
) -> None:
    """Call `done(work(start, items[start:end]))` for consecutive slices of `items`, in order.

    `work` runs in processes, one per core; in this one if there are few items. It is a function at
    the top level of a module, or a partial of one, which is pickled, as are items and results.

    The processes are new interpreters that import the module of `work` alone. Python's own pools
    import the user's script in every process, which runs it again if it has no
    `if __name__ == "__main__"`; and a forked process can hang once JAX has started its threads.

    Raises what `work` raises for the first slice that fails, and ChildProcessError if a process
    dies. All processes have ended when this returns or raises.
    """
    count = min(_cores(), len(items) // _FEWEST)
    size = min(_MOST, 1 + len(items) // max(1, 4 * count))
    slices = [(start, items[start : start + size]) for start in range(0, len(items), size)]
    if count < 2:
        for part in slices:
            done(work(*part))
        return
    with contextlib.ExitStack() as stack:
        threads = ThreadPoolExecutor(count)
        stack.callback(threads.shutdown, cancel_futures=True)
        # Ended before the threads, which may be waiting for their answers.
        idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(count):
            worker = _Worker()
            stack.callback(worker.end)
            idle.put(worker)

        def answer(part: tuple[int, Sequence[Item]]) -> Result:
            worker = idle.get()
            try:
                return worker.answer(work, part)
            finally:
                idle.put(worker)

        for result in threads.map(answer, slices):
            done(result)


def serve(handle: int) -> None:
    """The program of a process: answer requests from a connection until its other end closes."""
    warnings.simplefilter("ignore")  # every process would give the same ones
    connection = Connection(handle)
    # The other process may be killed at any time.
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            work, part = connection.recv()
            try:
                answer = work(*part), None
            except Exception as error:
                answer = None, error
            connection.send(answer)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """A process that answers one request at a time."""

    def __init__(self) -> None:
        self._connection, other = Pipe()
        with other:
            program = _PROGRAM.format(path=sys.path, handle=other.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                # Ctrl-C in a terminal reaches this process alone, which ends the others.
                process_group=0,
            )

    def answer(self, work: Callable[..., Result], part: tuple[Any, ...]) -> Result:
        try:
            self._connection.send((work, part))
            result, error = self._connection.recv()
        except (EOFError, ConnectionError) as broken:
            status = self._process.wait()
            raise ChildProcessError(f"a process ended with status {status}") from broken
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()
