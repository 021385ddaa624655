"""Progress messages are rare and correct."""

import time

from cdis.data.progress import Progress


def test_a_line_every_five_seconds(monkeypatch, capsys):
    clock = iter([0.0, 4.0, 8.0, 9.0, 13.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress("set", 10_000, "rendered")
    for _ in range(4):
        progress.advance(1000)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "set: 2,000 of 10,000 images rendered, 250 a second, 32 s left"
    assert second == "set: 4,000 of 10,000 images rendered, 308 a second, 20 s left"
