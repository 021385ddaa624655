"""How far a long preparation has come."""

import sys
import time

_SECONDS = 5.0


class Progress:
    """Tells on stderr, every five seconds, how many images are done and how long the rest takes."""

    def __init__(self, name: str, count: int, done: str):
        self._name, self._count, self._word, self._done = name, count, done, 0
        self._begun = self._told = time.monotonic()

    def advance(self, images: int) -> None:
        """Counts `images` more as done."""
        self._done += images
        now = time.monotonic()
        if now - self._told < _SECONDS:
            return
        self._told = now
        rate = self._done / (now - self._begun)
        print(
            f"{self._name}: {self._done:,} of {self._count:,} images {self._word}, "
            f"{rate:,.0f} a second, {(self._count - self._done) / rate:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
