"""Progress of a run: lines on the terminal, log.jsonl and TensorBoard events."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from cdis.errors import UserError
from cdis.files import write_bytes

FILE = "log.jsonl"
_SHOWN = 6


class Window:
    """Means of the metrics since the last line of the log.

    Metrics stay on the device until `drain`, so that no step waits for the one before it.
    Checkpoints keep the `totals`, so that a resumed run logs the means of an uninterrupted one.
    """

    def __init__(self, totals: dict[str, Any] | None = None):
        self._count: int = totals["count"] if totals else 0
        self._sums: dict[str, float] = dict(totals["sums"]) if totals else {}
        self._pending: list[tuple[int, dict[str, jax.Array]]] = []

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        self._pending.append((step, metrics))

    def drain(self) -> None:
        """Fetch pending metrics. Raises `UserError` naming the first one that is not finite."""
        for step, metrics in jax.device_get(self._pending):
            for name, value in metrics.items():
                if not np.isfinite(value):
                    raise UserError(
                        f"Training diverged: {name!r} is {value} at step {step}. All checkpoints "
                        "are from before that step and are kept. Lower the learning rate, "
                        "lengthen warmup_steps or set clip_norm, and train into another --workdir."
                    )
                self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._count += 1
        self._pending = []

    def totals(self) -> dict[str, Any]:
        """Count and sums so far, for JSON."""
        self.drain()
        return {"count": self._count, "sums": self._sums}

    def means(self) -> dict[str, float]:
        """The means so far; starts a new window."""
        self.drain()
        means = {name: total / self._count for name, total in self._sums.items()}
        self._count, self._sums = 0, {}
        return means


class Rate:
    """Steps per second, without the time spent on anything else."""

    def __init__(self, step: int):
        self._step, self._time = step, time.monotonic()

    def restart(self, step: int) -> float:
        """Start again from now; returns the seconds since the last start."""
        seconds = max(time.monotonic() - self._time, 1e-9)
        self._step, self._time = step, time.monotonic()
        return seconds

    def measure(self, step: int) -> float:
        """Steps per second since the last `restart` or `measure`."""
        steps = step - self._step
        return steps / self.restart(step)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time spent inside."""
        began = time.monotonic()
        yield
        self._time += time.monotonic() - began


class Log:
    """Writes log.jsonl (one JSON object per line), TensorBoard events and the terminal.

    Drops lines after `step`: a killed run wrote them, and the resumed one writes them again. Only
    one process of several should be `enabled`.
    """

    def __init__(self, workdir: str | os.PathLike, step: int, *, enabled: bool = True):
        self._enabled = enabled
        if not enabled:
            return
        self._path = Path(workdir) / FILE
        _drop_after(self._path, step)
        # purge_step hides what earlier event files hold from that step on.
        self._events = SummaryWriter(str(workdir), purge_step=step + 1 if step else None)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        if self._enabled:
            self._events.close()

    def write(self, step: int, stage: str, metrics: dict[str, float]) -> None:
        """Add a line to log.jsonl and a point to each TensorBoard curve."""
        if not self._enabled:
            return
        finite = {name: x if math.isfinite(x) else None for name, x in metrics.items()}
        line = {"step": step, "stage": stage, "time": time.time(), **finite}
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(name if "/" in name else f"train/{name}", value, step)
        self._events.flush()

    def say(self, text: str) -> None:
        """Print a line."""
        if self._enabled:
            print(text, flush=True)

    def progress(
        self, stage: str, done: int, settings: ConfigDict, rate: float, metrics: dict[str, float]
    ) -> None:
        """Print the stage, its steps done, speed, time left and main metrics.

        The loss comes first, then the other metrics in the order in which they were reported; the
        gradient's norm and the numbers of single edges and factors come last. Only the first few
        are shown.
        """
        names = sorted(metrics, key=_rank)[:_SHOWN]
        shown = "  ".join(f"{name} {metrics[name]:.4g}" for name in names)
        left = duration((settings.steps - done) / rate) if rate else "?"
        self.say(
            f"{stage} {done}/{settings.steps}  {rate:.1f} steps/s  "
            f"{rate * settings.batch_size:.0f} examples/s  {left} left  {shown}"
        )


def _rank(name: str) -> int:
    if name == "loss":
        return 0
    return 2 if name.startswith(("edge_", "explained_", "labelled", "gradient_norm")) else 1


def mean(metrics: list[dict[str, jax.Array]]) -> dict[str, float]:
    """The mean of each metric, fetched from the device."""
    fetched = jax.device_get(metrics)
    return {name: float(np.mean([one[name] for one in fetched])) for name in fetched[0]}


def duration(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def read_log(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a workdir's log.jsonl, without a last line that a kill cut short."""
    path = Path(workdir) / FILE
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _drop_after(path: Path, step: int) -> None:
    if path.exists():
        kept = [line for line in read_log(path.parent) if line["step"] <= step]
        write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
