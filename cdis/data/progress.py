"""Progress messages of long preparations."""

import sys
import time

_SECONDS = 5.0


class Progress:
    """Prints to stderr, every five seconds, how much is done and how long the rest will take."""

    def __init__(self, name: str, count: float, done: str, unit: str = "images") -> None:
        self._name, self._count, self._word, self._unit = name, count, done, unit
        self._done = 0.0
        self._begun = self._told = time.monotonic()

    def advance(self, amount: float) -> None:
        """Count `amount` more as done."""
        self._done += amount
        now = time.monotonic()
        if now - self._told < _SECONDS:
            return
        self._told = now
        rate = self._done / (now - self._begun)
        print(
            f"{self._name}: {self._done:,.0f} of {self._count:,.0f} {self._unit} {self._word}, "
            f"{rate:,.0f} a second, {(self._count - self._done) / rate:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
