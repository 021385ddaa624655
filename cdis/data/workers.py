"""One function of many items, computed by all cores."""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items for each process, at least. Starting one takes some 0.2 s: little beside 64 photographs, and
# no long wait for small images.
_FEWEST = 64
_MOST = 256  # items in a slice
_ROUND = 8  # slices for each process, before results are handed on


def each(
    work: Callable[[int, Sequence[Item]], Result],
    items: Sequence[Item],
    done: Callable[[Result], object],
) -> None:
    """Call `done(work(start, items[start:end]))` for consecutive slices of `items`, in order.

    `work` runs in processes, one per core; in this one if there are few items. It is pickled, as
    are items and results. The processes are joblib's: those of Python's own pools run the user's
    script again if it has no `if __name__ == "__main__"`, and forked ones can hang once JAX has
    started its threads.

    Raises what `work` raises for a slice, and ChildProcessError if a process dies. All processes
    have ended when this returns or raises.
    """
    count = max(1, min(cpu_count(), len(items) // _FEWEST))
    size = min(_MOST, 1 + len(items) // (_ROUND * count))
    slices = [(start, items[start : start + size]) for start in range(0, len(items), size)]
    if count == 1:
        for part in slices:
            done(work(*part))
        return
    try:
        with Parallel(count) as parallel:
            # In rounds: joblib's generator of results warns if it is left early, as by Ctrl-C.
            for first in range(0, len(slices), _ROUND * count):
                parts = slices[first : first + _ROUND * count]
                for result in parallel(delayed(work)(*part) for part in parts):
                    done(cast(Result, result))
    except TerminatedWorkerError as error:
        raise ChildProcessError("a process was killed, perhaps because memory ran out") from error
    finally:
        # joblib would keep the processes for five minutes.
        get_reusable_executor().shutdown(kill_workers=True)
