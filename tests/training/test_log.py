"""Every line appears once, and means survive an interruption."""

import json

import jax.numpy as jnp
import pytest

from cdis.config import stage
from cdis.errors import UserError
from cdis.training.log import FILE, Log, Rate, Window, duration, read_log


def test_resuming_drops_later_lines_and_a_line_cut_short(tmp_path):
    lines = [{"step": step, "stage": "s", "loss": 0.5} for step in (4, 8, 12)]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 14, "sta'
    (tmp_path / FILE).write_text(text)
    with Log(tmp_path, 8) as log:
        log.write(12, "s", {"loss": 0.25})
    assert [(line["step"], line["loss"]) for line in read_log(tmp_path)] == [
        (4, 0.5),
        (8, 0.5),
        (12, 0.25),
    ]


def test_the_log_is_plain_json(tmp_path):
    with Log(tmp_path, 0) as log:
        log.write(1, "s", {"validation/loss": float("nan")})
    (line,) = read_log(tmp_path)
    assert line["validation/loss"] is None
    assert json.dumps(line, allow_nan=False)


def test_other_processes_write_nothing(tmp_path, capsys):
    with Log(tmp_path, 0, enabled=False) as log:
        log.write(1, "s", {"loss": 1.0})
        log.say("hello")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_a_window_continues_from_its_totals():
    values = [jnp.float32(x) for x in (0.1, 0.2, 0.4, 0.8)]
    whole, first = Window(), Window()
    for step, value in enumerate(values):
        whole.add(step, {"loss": value})
    for step, value in enumerate(values[:2]):
        first.add(step, {"loss": value})
    second = Window(json.loads(json.dumps(first.totals())))
    for step, value in enumerate(values[2:]):
        second.add(step, {"loss": value})
    means = whole.means()
    assert means == second.means()
    assert means["loss"] == pytest.approx(0.375)


def test_a_window_names_the_first_metric_that_is_not_finite():
    window = Window()
    window.add(1, {"loss": jnp.float32(1), "norm": jnp.float32(1)})
    window.add(2, {"loss": jnp.float32(1), "norm": jnp.float32("inf")})
    window.add(3, {"loss": jnp.float32("nan"), "norm": jnp.float32("nan")})
    with pytest.raises(UserError, match="'norm' is inf at step 2"):
        window.drain()


def test_pauses_do_not_slow_the_rate(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    rate = Rate(10)
    now[0] += 2
    with rate.paused():
        now[0] += 100
    assert rate.measure(14) == pytest.approx(2.0)


def test_the_progress_line(tmp_path, capsys):
    settings = stage(steps=100, batch_size=8, learning_rate=0.1)
    with Log(tmp_path, 0) as log:
        log.progress("s", 40, settings, 0.5, {"accuracy": 0.5, "loss": 0.25})
    assert capsys.readouterr().out == (
        "s 40/100  0.5 steps/s  4 examples/s  2:00 left  loss 0.25  accuracy 0.5\n"
    )
    assert duration(3725) == "1:02:05"


def test_edge_strengths_do_not_crowd_out_the_reconstruction(tmp_path, capsys):
    """The loss first, then the order of reporting; edges and the gradient's norm come last."""
    names = ["edge_a_b", "edge_b_c", "reconstruction", "kl", "loss", "gradient_norm", "accuracy"]
    with Log(tmp_path, 0) as log:
        settings = stage(steps=100, batch_size=8, learning_rate=0.1)
        log.progress("s", 40, settings, 0.5, dict.fromkeys(names, 1.0))
    shown = capsys.readouterr().out.split("left  ")[1].split()[::2]
    assert shown == ["loss", "reconstruction", "kl", "accuracy", "edge_a_b", "edge_b_c"]
