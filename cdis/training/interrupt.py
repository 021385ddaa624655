"""A clean stop on SIGTERM (from a scheduler) and SIGINT (Ctrl-C)."""

import signal
import threading


class Interrupt:
    """A context in which `received` names the signal that asks the run to stop, or is None.

    A second signal has its usual effect. Only the main thread receives signals.
    """

    def __init__(self):
        self.received: str | None = None
        self._previous = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _note(self, number: int, _) -> None:
        self.received = signal.Signals(number).name
        self.__exit__()
