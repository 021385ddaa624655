"""`cdis retrieve` on many pairs: answers, scores, mistakes in the list, and memory."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import shade_method
from PIL import Image
from shade_method import INFO, images

import cdis
from cdis import pairs
from cdis.cli import main
from cdis.errors import UserError
from cdis.metrics.retrieval import action_retrieval

NAMES = INFO.action_names
COUNT = 300


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return shade_method.workdir(tmp_path_factory.mktemp("runs") / "shade")


@pytest.fixture
def listed(tmp_path):
    """pairs.csv of 300 pairs; one in three has another action than the true one."""
    (tmp_path / "pictures").mkdir()
    for light in range(20):
        _save(tmp_path / f"pictures/{light}.png", light)
    rng = np.random.default_rng(0)
    x, answer = rng.integers(0, 16, COUNT), rng.integers(0, 4, COUNT)
    true = np.where(np.arange(COUNT) % 3 == 0, (answer + rng.integers(1, 4, COUNT)) % 4, answer)
    rows = [
        [f"pictures/{before}.png", str(tmp_path / f"pictures/{before + k}.png"), "", NAMES[action]]
        for before, k, action in zip(x, answer, true, strict=True)
    ]
    _write(tmp_path / "pairs.csv", [["x", "y", "note", "action"], *rows])
    return tmp_path / "pairs.csv", answer, true


@pytest.fixture
def fails(capsys):
    """Runs the command, which must fail as a user's mistake, and returns what it said."""

    def run(*arguments):
        capsys.readouterr()
        assert main(["retrieve", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("cdis: ") and "Traceback" not in err
        return err

    return run


def _save(path, light, size=(8, 8), mode="L"):
    Image.new(mode, size, light if mode == "L" else (light,) * 3).save(path)


def _write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def _read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_of_answers_and_their_accuracy(workdir, listed, tmp_path, capsys):
    path, answer, true = listed
    out = tmp_path / "answers.csv"
    assert main(["retrieve", "--workdir", workdir, "--pairs", str(path), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    rows = _read(out)
    assert list(rows[0]) == ["x", "y", "answer", "probability", *NAMES, "action"]
    assert [row["answer"] for row in rows] == [NAMES[k] for k in answer]
    assert [row["action"] for row in rows] == [NAMES[k] for k in true]
    given = _read(path)
    assert [(row["x"], row["y"]) for row in rows] == [(row["x"], row["y"]) for row in given]
    for row, k in zip(rows, answer, strict=True):
        assert float(row["probability"]) == float(row[NAMES[k]]) == pytest.approx(0.7)
        assert sum(float(row[name]) for name in NAMES) == pytest.approx(1)

    scores = action_retrieval(np.eye(4)[answer], true, 2)
    low, high = scores["directed_interval"]
    assert f"{scores['directed']:.4f}  95 % interval {low:.4f} to {high:.4f}" in shown
    assert f"undirected  {scores['undirected']:.4f}" in shown
    table = [line.split() for line in shown.splitlines()]
    first = table.index(list(NAMES))
    told = [[int(count) for count in row[1:]] for row in table[first + 1 : first + 5]]
    assert told == scores["confusion"]
    assert shown.endswith(f"Wrote {out}: 300 pairs\n")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "answers.csv",
        "pairs.csv",
        "pictures",
    ]


def test_json_needs_no_file_of_answers(workdir, listed, capsys):
    path, answer, true = listed
    assert main(["retrieve", "--workdir", workdir, "--pairs", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "num_pairs": COUNT,
        "actions": list(NAMES),
        "action_retrieval": action_retrieval(np.eye(4)[answer], true, 2),
    }


def test_several_steps(workdir, tmp_path, capsys, fails):
    for light in (20, 21, 32, 45):
        _save(tmp_path / f"{light}.png", light)
    x, y = str(tmp_path / "20.png"), str(tmp_path / "32.png")
    one = ["retrieve", "--workdir", workdir, "--steps", "3", x]
    assert main([*one, y]) == 0
    assert capsys.readouterr().out == "light+2 shadow+1\n\nprobability  0.7500\n"
    assert main([*one, "--json", y]) == 0
    told = {"answer": "light+2 shadow+1", "probability": 0.75, "steps": {"light": 2, "shadow": 1}}
    assert json.loads(capsys.readouterr().out) == told
    assert main([*one, x]) == 0
    assert capsys.readouterr().out.startswith("none\n")

    # The third truth is wrong; the order of steps, and one named twice, make no difference.
    pairs_csv, out = tmp_path / "pairs.csv", tmp_path / "answers.csv"
    true = ["light+1", "shadow+1  light+1 light+1", "light+1", "none"]
    ends = ((20, 21), (20, 32), (32, 21), (45, 45))
    rows = [(f"{a}.png", f"{b}.png", action) for (a, b), action in zip(ends, true, strict=True)]
    _write(pairs_csv, [("x", "y", "action"), *rows])
    many = ["retrieve", "--workdir", workdir, "--pairs", str(pairs_csv), "--steps", "3"]
    assert main([*many, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "exact 0.7500" in shown and "  1 step: 1 of 2 pairs\n" in shown
    answers = _read(out)
    assert list(answers[0]) == ["x", "y", "answer", "probability", "light", "shadow", "action"]
    found = [(row["answer"], row["light"], row["shadow"]) for row in answers]
    assert found == [
        ("light+1", "1", "0"), ("light+2 shadow+1", "2", "1"), ("light-1 shadow-1", "-1", "-1"),
        ("none", "0", "0"),
    ]  # fmt: skip
    assert main([*many, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["steps_retrieval"]
    assert scores["by_number"] == [[1, 1], [2, 1], [0, 0], [1, 1]]
    assert (scores["exact"], scores["num_pairs"]) == (0.75, 4)

    for count in ("0", "10", "two", "-1"):
        assert "whole number from 1 to 9" in fails("--workdir", workdir, f"--steps={count}", x, y)
    for truth, said in (
        ("lihgt+1", "line 2: 'lihgt+1' cannot be read (did you mean 'light'?)"),
        ("light+1x", "line 2: 'light+1x' cannot be read"),
        ("light+2 shadow+2", "line 2: 'light+2 shadow+2' are 4 steps"),
    ):
        _write(pairs_csv, [("x", "y", "action"), ("20.png", "21.png", truth)])
        assert said in fails("--workdir", workdir, "--pairs", pairs_csv, "--steps", "3")


def test_two_folders(workdir, tmp_path, capsys, fails):
    for folder, lights in (("before", (1, 2, 3)), ("after", (1, 3, 5))):
        (tmp_path / folder).mkdir()
        for i, light in enumerate(lights):
            _save(tmp_path / folder / f"{i}.png", light)
    before, after, out = (tmp_path / name for name in ("before", "after", "out.csv"))
    arguments = ["--workdir", workdir, str(before), str(after)]
    assert "The answers need --out" in fails(*arguments)
    assert main(["retrieve", *arguments, "--out", str(out)]) == 0
    rows = _read(out)
    assert [row["answer"] for row in rows] == [NAMES[0], NAMES[1], NAMES[2]]
    assert list(rows[0]) == ["x", "y", "answer", "probability", *NAMES]
    assert rows[2]["x"] == str(before / "2.png") and rows[2]["y"] == str(after / "2.png")
    assert capsys.readouterr().out == f"Wrote {out}: 3 pairs\n"

    assert "exists and was left as it is" in fails(*arguments, "--out", out)
    assert main(["retrieve", *arguments, "--out", str(out), "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"num_pairs": 3, "actions": list(NAMES)}

    (after / "1.png").unlink()
    err = fails(*arguments, "--out", out, "--overwrite")
    assert f"{before} has a file 1.png, but {after} has none" in err
    assert len(_read(out)) == 3  # the earlier answers are still there
    for path in [*before.iterdir(), *after.iterdir()]:
        path.unlink()
    assert "are empty" in fails(*arguments, "--out", out, "--overwrite")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["x", "why"], ["0.png", "1.png"]], "has no column 'y'"),
        ([["x;y"], ["0.png;1.png"]], "has no column 'x'"),
        ([["x", "y"]], "has no pairs"),
        ([], "has no column 'x'"),
        ([["x", "y"], ["0.png", "1.png"], ["0.png"]], "pairs.csv, line 3: there is no y"),
        ([["y", "x"], ["0.png", "gone.png"]], "pairs.csv, line 2: there is no file"),
        (
            [["x", "y", "action"], ["0.png", "1.png", "lihgt+1"]],
            "pairs.csv, line 2: shade has no action 'lihgt+1' (did you mean 'light+1'?)",
        ),
        ([["x", "y", "action"], [], ["0.png", "1.png", ""]], "line 3: there is no action"),
        ([["x", "y"], ["0.png", "wide.png"]], "line 2: "),
        ([["x", "y"], ["0.png", "colour.png"]], "line 2: "),
        ([["x", "y"], ["0.png", "text.png"]], "line 2: "),
    ],
)
def test_mistakes_in_the_list_name_the_line(rows, said, workdir, tmp_path, fails):
    for light in range(2):
        _save(tmp_path / f"{light}.png", light)
    _save(tmp_path / "wide.png", 0, size=(9, 8))
    _save(tmp_path / "colour.png", 0, mode="RGB")
    (tmp_path / "text.png").write_text("no image")
    _write(tmp_path / "pairs.csv", rows)
    before = sorted(tmp_path.iterdir())
    pairs_csv, out = tmp_path / "pairs.csv", tmp_path / "out.csv"
    assert said in fails("--workdir", workdir, "--pairs", pairs_csv, "--out", out)
    assert sorted(tmp_path.iterdir()) == before


def test_a_bad_image_late_in_the_list_leaves_no_partial_answers(workdir, tmp_path, fails):
    _save(tmp_path / "0.png", 0)
    _save(tmp_path / "wide.png", 0, size=(9, 8))
    rows = [["0.png", "0.png"]] * 500 + [["0.png", "wide.png"]]
    _write(tmp_path / "pairs.csv", [["x", "y"], *rows])
    err = fails(
        "--workdir", workdir, "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "out.csv"
    )
    assert "pairs.csv, line 502: " in err and "is 9 x 8 pixels" in err
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pairs", "gone.csv", "--out", "out.csv"), "gone.csv cannot be read"),
        (("--pairs", "gone.csv", "x.png"), "takes nothing with --pairs, but was given x.png"),
        (("--pairs", "gone.csv", "--out", "out.txt"), "does not end in .csv"),
        (("x.png", "y.png", "--out", "out.csv"), "--out is for many pairs"),
        (("--out", "out.csv"), "takes X.png and Y.png, but was given nothing"),
    ],
)
def test_bad_usage(arguments, said, workdir, tmp_path, fails, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in fails("--workdir", workdir, *arguments)
    assert not list(tmp_path.iterdir())


def test_progress_tells_speed_and_time_left(workdir, listed, capsys, monkeypatch):
    monkeypatch.setattr("cdis.data.progress._SECONDS", 0.0)
    assert main(["retrieve", "--workdir", workdir, "--pairs", str(listed[0])]) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("cdis retrieve: 128 of 300 pairs answered, ")
    assert "a second" in first and first.endswith("s left")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's statistics")
def test_memory_does_not_grow_with_the_number_of_pairs(workdir, tmp_path):
    for light in range(2):
        _save(tmp_path / f"{light}.png", light)
    run = cdis.load(workdir)
    x = images(0)
    run.retrieve(x.repeat(128, 0), x.repeat(128, 0))  # compiled beforehand

    path, resident = tmp_path / "pairs.csv", []
    path.write_text("x,y,action\n" + "0.png,1.png,shadow+1\n" * 20_000)

    def advance(_: int) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE"))

    given = pairs.from_csv(str(path), run.info)
    with open(os.devnull, "wb") as out:
        confusion = pairs.answer(run, given, out.write, advance)
    assert confusion[1, 1] == confusion.sum() == 20_000
    # 100 bytes kept for each of the last 17,000 pairs would be more.
    assert max(resident) - resident[len(resident) // 8] < 1_700_000


def test_pairs_of_a_method_that_cannot(tmp_path):
    run = cdis.load(shade_method.workdir(tmp_path / "mute", mute=True))
    _save(tmp_path / "0.png", 0)
    _write(tmp_path / "pairs.csv", [["x", "y"], ["0.png", "0.png"]])
    given = pairs.from_csv(str(tmp_path / "pairs.csv"), run.info)
    with pytest.raises(UserError, match="cannot retrieve actions"):
        pairs.answer(run, given, lambda _: None, lambda _: None)
    assert not Path(tmp_path / "answers.csv").exists()
