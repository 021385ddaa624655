"""Batches on the device before they are needed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def prefetch(
    batches: Iterable[Any], put: Callable[[Any], Any], ahead: int = 2
) -> Generator[Any, None, None]:
    """``put(batch)`` for each batch, `ahead` of the consumer, in a thread of its own.

    What `batches` or `put` raise is raised here. Close the generator to end the thread early, and
    with it `batches`, if they can be closed.
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
        # Ends the processes that make batches.
        if (close := getattr(iterator, "close", None)) is not None:
            close()
