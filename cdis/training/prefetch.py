"""Batches on the device before they are needed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def prefetch(
    batches: Iterable[Any], put: Callable[[Any], Any], ahead: int = 2
) -> Generator[Any, None, None]:
    """Yield ``put(batch)`` for each batch; a thread keeps `ahead` of them ready.

    Errors raised by `batches` or `put` are raised here. Closing the generator ends the thread, and
    closes `batches` if it has a method `close`.
    """
    iterator = iter(batches)
    end = object()

    def load() -> Any:
        batch = next(iterator, end)
        return end if batch is end else put(batch)

    try:
        with ThreadPoolExecutor(1, "prefetch") as pool:
            waiting = deque(pool.submit(load) for _ in range(ahead))
            while (batch := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(load))
                yield batch
    finally:
        # This ends the processes that make batches.
        if (close := getattr(iterator, "close", None)) is not None:
            close()
