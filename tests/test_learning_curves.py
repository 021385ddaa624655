"""tools/learning_curves: runs that belong together, what the table says, and what is refused."""

import csv
import io
import json
import sys

import learning_curves
import numpy as np
import pytest

from cdis.data.info import Info
from cdis.errors import UserError

INFO = Info(
    name="a",
    factor_names=tuple("fghij"),
    factor_sizes=(3,) * 5,
    circular=(False,) * 5,
    image_shape=(8, 8, 1),
    licence="",
    citation="",
    description="",
)


def write(workdir, lines, *, seed=0, data="a", rate=0.1):
    """A workdir with this log and a config in which only its arguments differ."""
    workdir.mkdir()
    config = {"method": "m", "seed": seed, "data": {"name": data}, "log_every": 50, "rate": rate}
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "info.json").write_text(INFO.to_json())
    (workdir / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return workdir


def trained(offset, steps=1200):
    """Codes until step 600, then retrieval, which the second half of the lines validates."""
    for step in range(100, 601, 100):
        error = {"reconstruction": 0.01 + offset, "validation/reconstruction": 0.02 + offset}
        yield {"step": step, "stage": "one", "codes_used": 0.5 + offset} | error
    for step in range(700, steps + 1, 100):
        yield {"step": step, "stage": "two", "retrieval_accuracy": step / 2000 + offset}
        if step % 200 == 0:
            accuracy = step / 2000 - offset
            yield {"step": step, "stage": "two", "validation/retrieval_accuracy": accuracy}


@pytest.fixture
def workdirs(tmp_path):
    """Two seeds of one experiment, of which the second was cut, and another one."""
    return [
        write(tmp_path / "run_s0", trained(0.0)),
        write(tmp_path / "other", trained(0.25, steps=700), rate=0.2, data="b"),
        write(tmp_path / "run_s1", trained(0.1, steps=1000), seed=1),
    ]


def test_seeds_are_taken_together_as_far_as_all_have_come(workdirs):
    two, one = learning_curves.read(workdirs)
    assert [run.seed for run in two.runs] == [0, 1] and two.name == "run_s"
    assert (one.name, one.data, one.chance) == ("other", "b", 0.1)
    assert two.ends == [("one", 600), ("two", 1200)]
    retrieval = two.curve("retrieval_accuracy")
    assert retrieval is not None and retrieval.kind == "validation"
    np.testing.assert_array_equal(retrieval.steps, [800, 1000])
    np.testing.assert_allclose(retrieval.values, [[0.4, 0.5], [0.3, 0.4]])
    # Codes in use were logged in training alone, and so was retrieval of the run that was cut.
    assert [
        curve.kind for curve in (two.curve("codes_used"), one.curve("retrieval_accuracy")) if curve
    ] == ["", ""]


def test_the_table_has_the_last_values_up_to_each_step(workdirs):
    lines = learning_curves.table(learning_curves.read(workdirs)).splitlines()
    assert lines[2:] == [
        "| a | run_s | 0, 1 | 500 | one | .550 (.500–.600) | .07 (.02–.12) | – |",
        "| a | run_s | 0, 1 | 1,000 | two | .550 (.500–.600) | .07 (.02–.12) | .450 (.400–.500) |",
        "| b | other | 0 | 500 | one | .750 | .27 | – |",
        "| b | other | 0 | 700 | two | .750 | .27 | .600 |",
    ]


def test_the_tool_writes_a_figure_and_all_points(workdirs, tmp_path, monkeypatch, capsys):
    out, points = tmp_path / "new" / "curves.png", tmp_path / "points.csv"
    command = ["learning_curves", *map(str, workdirs), "--out", str(out), "--csv", str(points)]
    monkeypatch.setattr(sys, "argv", command)
    assert learning_curves.main() == 0
    assert capsys.readouterr().out.startswith("| data | run | seeds | step | stage | codes in use")
    assert out.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO(points.read_text())))
    assert {row["run"] for row in rows} == {"run_s", "other"}
    # Nothing is left out, not even where another seed was cut.
    of = [r for r in rows if r["seed"] == "0" and r["data"] == "a" and r["kind"] == "validation"]
    assert [int(r["step"]) for r in of if r["quantity"] == "retrieval_accuracy"] == [
        800,
        1000,
        1200,
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "has no log yet: .* fewer steps than config.log_every \\(50\\)"),
        ([{"step": 100, "stage": "one", "loss": 1.0}], "has none of codes_used, .* method is m"),
    ],
)
def test_runs_without_curves_are_refused(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        learning_curves.read([write(tmp_path / "run", lines)])


def test_other_folders_and_second_runs_of_a_seed_are_refused(workdirs, tmp_path):
    with pytest.raises(UserError, match="is not a workdir of cdis"):
        learning_curves.read([tmp_path])
    with pytest.raises(UserError, match="second run of one experiment with seed 0"):
        learning_curves.read([workdirs[0], workdirs[0]])
