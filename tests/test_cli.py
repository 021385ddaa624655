"""The command line: what it teaches, what it does, and what it says to bad input."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdis import data
from cdis.cli import COMMANDS, main
from cdis.config import names
from cdis.data import transitions
from cdis.measure import downstream, headlines

ROOT = Path(__file__).parents[1]
TINY = str(ROOT / "tests/tiny_method.py")
QUICKSTART = "ct_vae/quickstart"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("data"))
    data.prepare("sprites2d/coloured", path)
    return path


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, data_dir):
    """Trained by the command itself."""
    path = str(tmp_path_factory.mktemp("runs") / "tiny")
    assert main(["train", "--config", TINY, "--workdir", path, "--data_dir", data_dir]) == 0
    return path


@pytest.fixture
def pictures(tmp_path):
    """x.png, and y.png, which is x.png rolled by three: action 3."""
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(x).save(tmp_path / "x.png")
    Image.fromarray(np.roll(x, 3, axis=1)).save(tmp_path / "y.png")
    return x, str(tmp_path / "x.png"), str(tmp_path / "y.png")


@pytest.fixture
def fails(capsys):
    """Runs a command that must fail as a user's mistake and returns what it said."""

    def run(*arguments):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("cdis: ") and "Traceback" not in err
        return err

    return run


# Help


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_all_commands(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name.split()[0]} " in out
    assert f"cdis train --config {QUICKSTART}" in out


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_command_names_its_flags_and_gives_an_example(name, flag, capsys):
    assert main([*name.split(), "--workdir", "nowhere", flag]) == 0
    out = capsys.readouterr().out
    assert f"Usage: cdis {name.split()[0]}" in out and "\nExample" in out
    assert set(COMMANDS[name].flags) <= set(re.findall(r"--(\w+)", out))
    assert max(map(len, out.splitlines())) <= 100


def test_help_of_data_without_more(capsys):
    assert main(["data"]) == 0
    assert main(["data", "--help"]) == 0
    assert capsys.readouterr().out.count("cdis data prepare NAME") == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"cdis \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_as_a_module():
    def run(*arguments):
        command = [sys.executable, "-m", "cdis", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    assert run("--help").stdout.startswith("cdis: causal disentanglement")
    failed = run("trian")
    assert failed.returncode == 2 and "did you mean 'train'?" in failed.stderr


def test_experiments_are_listed_with_what_they_are(capsys):
    assert main(["experiments"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(names())
    assert any(line.startswith("ct_vae/quickstart   ") and "CT-VAE" in line for line in lines)


@pytest.mark.skipif(shutil.which("bash") is None, reason="runs the script in bash")
def test_completion_in_bash(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "runs").mkdir()

    def complete(*words):
        program = f"""source {script}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _cdis; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        command = ["bash", "--norc", "-c", program, "bash", "cdis", *words]
        return subprocess.check_output(command, text=True, cwd=tmp_path).split()

    assert set(complete("")) == {name.split()[0] for name in COMMANDS} | {"--help", "--version"}
    assert complete("tr") == ["train"]
    assert complete("data", "") == ["list", "prepare", "show"]
    assert complete("data", "show", "sprites2d/c") == ["sprites2d/coloured"]
    options = {"--data_dir", "--out", "--overwrite", "--resize", "--help"}
    assert set(complete("data", "show", "-")) == options
    assert complete("train", "--w") == ["--workdir"]
    assert complete("train", "--config", "ct_vae/qu") == [QUICKSTART]
    assert complete("train", "--config", "=", "ct_vae/qu") == [QUICKSTART]
    assert complete("train", "--config", "=") == list(names())
    assert complete("evaluate", "--workdir", "r") == ["runs"]
    assert complete("sample", "--") == [
        f"--{flag}" for flag in ("workdir", "out", "count", "seed", "do", "overwrite", "help")
    ]
    assert complete("encode", "--split", "va") == ["validation"]
    assert complete("encode", "--data", "=", "sprites2d/c") == ["sprites2d/coloured"]


def test_completion_of_another_shell(fails):
    assert "only for bash and zsh" in fails("completion", "fish")


# Commands and flags that are not there


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "did you mean 'train'?"),
        (["data", "shwo", "NAME"], "did you mean 'data show'?"),
        (["--workdir", "x", "train"], "The command comes first"),
        (["evaluate", "--workdri", "x"], "did you mean '--workdir'?"),
        (["evaluate", "--workdir"], "Missing value for flag --workdir"),
        (["evaluate"], "needs --workdir"),
        (["evaluate", "--workdir", "x", "--workdir=y"], "--workdir=y: already defined as x"),
        (["compare", "x", "--json", "--json"], "--json=true: already defined as True"),
        (["evaluate", "--workdir", "x", "y"], "takes nothing, but was given y"),
        (["retrieve", "--workdir", "x", "a.png"], "takes X.png and Y.png, but was given a.png"),
        (["retrieve", "--workdir", "x", "--json=maybe", "a", "b"], "json"),
        (["intervene", "--workdir", "x", "a.png", "--action", "x+1"], "needs --out"),
        (["train", "--workdir", "x"], "needs --config"),
        (["train", "--config", TINY, "--workdir", "x", "--config.seed"], "needs a value"),
        (
            ["train", "--config", TINY, "--config.seed=1", "--config.seed", "2"],
            "--config.seed is given twice, as 1 and as 2. Give it once.",
        ),
        (["data", "prepare"], "takes NAME, but was given nothing"),
        (["data", "list", "--out", "x.png"], "has no flag --out"),
    ],
)
def test_bad_usage(arguments, said, fails):
    err = fails(*arguments)
    assert said in err and "--help" in err


# Train


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "nowhere.py"], "There is no config file 'nowhere.py'"),
        (["--config", TINY, "--config.stages.only.stesp=3"], "did you mean 'stages.only.steps'"),
        (["--config", TINY, "--config.stages.only.steps=many"], "cannot be set to 'many'"),
        (["--config", TINY, "--config.stages.only.steps", "1.5"], "cannot be set to"),
        (["--config", TINY, "--config.data.name=sprites2d/colored"], "sprites2d/coloured"),
        (["--config", TINY, "--config.method=cdis.methods.nothing"], "cdis.methods.nothing"),
        (["--config", TINY, "--resize", "64"], "images of your own (own:FOLDER)"),
        (["--config", TINY, "--config.data.name=own:x", "--resize=64*78"], "SIDE or HEIGHTxWIDTH"),
    ],
)
def test_train_refuses(arguments, said, fails, tmp_path, data_dir):
    workdir = tmp_path / "run"
    assert said in fails("train", *arguments, "--workdir", workdir, "--data_dir", data_dir)
    assert not workdir.exists()


def test_train_takes_overrides_in_any_order_and_form(tmp_path, data_dir):
    arguments = ["--config.model.offset", "-2", "--data_dir", data_dir, "--workdir", str(tmp_path)]
    arguments += ["--config", TINY, "-config.seed=7", "--config.model.widths=(3, 4)"]
    assert main(["train", *arguments, "--config.model.can_apply=false"]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["seed"] == 7
    assert config["model"] == {"can_apply": False, "offset": -2.0, "widths": [3, 4]}


def test_train_keeps_a_workdir_of_another_config(workdir, data_dir, fails):
    before = {path: path.stat().st_mtime_ns for path in Path(workdir).rglob("*")}
    err = fails(
        "train", "--config", TINY, "--workdir", workdir, "--data_dir", data_dir, "--config.seed=9"
    )
    assert "seed: 0 there, 9 here" in err
    assert {path: path.stat().st_mtime_ns for path in Path(workdir).rglob("*")} == before


# Score


@pytest.fixture
def arrays(tmp_path):
    """Paths of noisy codes and of their factors, a whole grid."""
    factors = np.tile(np.stack(np.unravel_index(np.arange(60), (3, 4, 5)), 1), (4, 1))
    codes = factors + np.random.default_rng(0).normal(size=factors.shape)
    np.save(tmp_path / "codes.npy", codes)
    np.savetxt(tmp_path / "factors.csv", factors, "%d", ",", header="a,b,c", comments="")
    return str(tmp_path / "codes.npy"), str(tmp_path / "factors.csv")


def test_score_prints_a_table_and_writes_all(arrays, tmp_path, capsys):
    codes, factors = arrays
    out = tmp_path / "out.json"
    arguments = ["--representations", codes, "--factors", factors, "--json", str(out)]
    arguments += ["--metrics", "mig,irs,mcc,explicitness", "--preset", "spearman"]
    assert main(["score", *arguments, "--continuous", "0"]) == 0
    shown = capsys.readouterr().out
    written = json.loads(out.read_text())
    assert shown.split()[:4] == ["metric", "score", "perfect", "seconds"]
    entry = written["metrics"]["mcc"]
    line = next(line for line in shown.splitlines() if line.startswith("mcc (spearman)"))
    assert line.split()[2:4] == [f"{entry[k]['score']:.3f}" for k in ("scores", "perfect")]
    assert f"All numbers: {out}" in shown
    assert written["continuous"] == [True, False, False]
    assert "factor(s) 0 are continuous" in written["metrics"]["explicitness"]["reason"]
    assert "Not computed:\n  explicitness: Explicitness needs" in shown


def test_score_refuses(arrays, tmp_path, fails):
    codes, factors = arrays
    where = ("score", "--representations", codes, "--factors")
    assert "There is no file" in fails(*where, "gone.npy")
    assert "did you mean 'mig'" in fails(*where, factors, "--metrics", "mgi")
    assert "240 rows of representations and 10 of factors" in fails(
        *where, _saved(tmp_path, np.ones((10, 2)))
    )
    same = _saved(tmp_path, np.repeat(np.arange(240)[:, None] % 4, 2, axis=1))
    err = fails(*where, same, "--metrics", "irs,factor_vae")
    assert "None of the metrics can be computed" in err and "crossed design" in err
    assert "whole number" in fails(*where, factors, "--seed", "x")


def _saved(tmp_path, array):
    np.save(tmp_path / "other.npy", array)
    return tmp_path / "other.npy"


# Retrieve and intervene


def test_retrieve_prints_the_likeliest_action_first(workdir, pictures, capsys):
    _, x, y = pictures
    actions = data.info("sprites2d/coloured").action_names
    assert main(["retrieve", x, "--workdir", workdir, y]) == 0
    answer, blank, *table = capsys.readouterr().out.splitlines()
    assert answer == actions[3] and blank == ""
    assert table[0].split()[0] == actions[3] and {row.split()[0] for row in table} == set(actions)
    shown = [float(row.split()[1]) for row in table]
    assert shown == sorted(shown, reverse=True) and abs(sum(shown) - 1) < 1e-3

    assert main(["retrieve", "--workdir", workdir, "--json", x, y]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["action"] == actions[3]
    np.testing.assert_allclose(list(told["probabilities"].values()), shown, atol=1e-4)


def test_retrieve_imports_only_what_it_needs(workdir, pictures):
    _, x, y = pictures
    program = f"""
import sys
from cdis.cli import main
assert main(["retrieve", "--workdir", {workdir!r}, {x!r}, {y!r}]) == 0
slow = {{"grain", "h5py", "matplotlib", "scipy", "sklearn", "tensorboardX", "tensorflow_datasets"}}
assert not slow & set(sys.modules), slow & set(sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_intervene_writes_the_picture(workdir, pictures, tmp_path, capsys):
    image, x, _ = pictures
    out = tmp_path / "out.png"
    name = data.info("sprites2d/coloured").action_names[2]
    assert main(["intervene", "--workdir", workdir, x, "--action", name, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"Wrote {out}\n"
    with Image.open(out) as file:
        assert file.format == "PNG" and file.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(file), np.roll(image, 2, axis=1))


def test_several_actions(workdir, pictures, tmp_path):
    image, x, _ = pictures
    out, names = tmp_path / "out.png", data.info("sprites2d/coloured").action_names
    given = [part for name in (names[2], names[5], names[2]) for part in ("--action", name)]
    assert main(["intervene", "--workdir", workdir, x, *given, "--out", str(out)]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.roll(image, 9, axis=1))


def test_intervene_keeps_an_existing_file_unless_told(workdir, pictures, tmp_path, fails):
    _, x, y = pictures
    before = Path(y).read_bytes()
    arguments = ["intervene", "--workdir", workdir, x, "--action", "hue+1", "--out", y]
    assert "--overwrite" in fails(*arguments)
    assert Path(y).read_bytes() == before
    assert main([*arguments, "--overwrite"]) == 0
    assert Path(y).read_bytes() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "y.png"]


@pytest.mark.parametrize(
    ("action", "out", "said"),
    [
        ("hue+2", "out.png", "did you mean 'hue+1'?"),
        ("nonsense", "out.png", "Its actions are shape+1, hue+1"),
        ("hue+1", "out.jpg", "does not end in .png"),
        ("hue+1", "missing/out.png", "There is no folder"),
        ("hue+1", "folder.png", "is a folder"),
    ],
)
def test_intervene_refuses(action, out, said, workdir, pictures, tmp_path, fails):
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    _, x, _ = pictures
    err = fails("intervene", "--workdir", workdir, x, "--action", action, "--out", tmp_path / out)
    assert said in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either --action NAME or --do NAME=VALUE"),
        (("--do", "x=bright"), "x must be a number, or one for each image, not 'bright'"),
        (("--do", "x="), "write NAME=VALUE"),
        (("--do", "x=1", "--do", "x=2"), "--do sets x to 1.0 and to 2.0. Give x one value."),
        (("--do", "x=1,y=2"), "give --do once for each factor, as in --do a=1 --do b=2"),
        (("--action", "x+1", "--action", "y+2"), "did you mean 'y+1'?"),
        (("--action", "x+1", "--do", "x=1"), "either --action NAME or --do NAME=VALUE"),
        (("--do", "x"), "write NAME=VALUE"),
        (("--do", "xx=1"), "has no factor 'xx' (did you mean 'x'?)"),
        (("--do", "x=1"), "have no values to set, only steps to take"),
    ],
)
def test_intervene_with_a_value_refuses(arguments, said, workdir, pictures, tmp_path, fails):
    _, x, _ = pictures
    out = tmp_path / "out.png"
    assert said in fails("intervene", "--workdir", workdir, x, *arguments, "--out", out)
    assert not out.exists()


def test_a_full_disk_leaves_no_partial_picture(workdir, pictures, tmp_path, fails, monkeypatch):
    _, x, _ = pictures

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    err = fails(
        "intervene", "--workdir", workdir, x, "--action", "x+1", "--out", tmp_path / "out.png"
    )
    assert "No space left on device" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "y.png"]


def _save(path, mode="RGB", size=(32, 32)):
    Image.new(mode, size).save(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "cannot be read as an image"),
        (lambda path: path.write_text("not an image"), "cannot be read as an image"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read as an image"),
        (lambda path: _save(path, size=(64, 32)), "is 64 x 32 pixels, colour"),
        (lambda path: _save(path, mode="L"), "is 32 x 32 pixels, greyscale"),
    ],
)
def test_pictures_that_do_not_fit(spoil, said, workdir, pictures, fails):
    _, x, y = pictures
    spoil(Path(y))
    err = fails("retrieve", "--workdir", workdir, x, y)
    assert said in err and "32 x 32 pixels" in err and y in err


@pytest.mark.parametrize(
    "command", ["evaluate", "report", "retrieve", "intervene", "sample", "encode"]
)
def test_not_a_workdir(command, pictures, tmp_path, fails):
    _, x, y = pictures
    more = {
        "retrieve": [x, y],
        "intervene": [x, "--action", "x+1", "--out", str(tmp_path / "out.png")],
        "sample": ["--out", str(tmp_path / "out.png")],
        "encode": [x, "--out", str(tmp_path / "out.npz")],
    }
    err = fails(command, "--workdir", tmp_path / "nowhere", *more.get(command, []))
    assert "nowhere" in err and "cdis train" in err
    assert not (tmp_path / "nowhere").exists()


def test_damaged_checkpoint(workdir, pictures, tmp_path, fails):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    arrays = [path for path in (copy / "checkpoints").rglob("*") if path.is_file()]
    for path in arrays:
        path.write_bytes(path.read_bytes()[:10])
    _, x, y = pictures
    assert "damaged" in fails("retrieve", "--workdir", copy, x, y)


def test_a_method_that_cannot(tmp_path, data_dir, pictures, fails):
    _, x, y = pictures
    path = str(tmp_path / "mute")
    assert (
        main(["train", "--config", f"{TINY}:mute", "--workdir", path, "--data_dir", data_dir]) == 0
    )
    assert "cannot retrieve actions" in fails("retrieve", "--workdir", path, x, y)
    out = tmp_path / "out.png"
    assert "cannot apply actions" in fails(
        "intervene", "--workdir", path, x, "--action", "x+1", "--out", out
    )
    arguments = ("--workdir", path, "--out", out.with_suffix(".npz"))
    assert "cannot sample images" in fails("sample", *arguments, "--do", "x=1")
    assert "cannot encode images" in fails("encode", x, *arguments)
    assert [file.name for file in tmp_path.glob("out*")] == []


def test_unforeseen_errors_keep_their_traceback(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("cdis.data.names", broken)
    with pytest.raises(ZeroDivisionError):
        main(["data", "list"])


# Data


def test_data_list(capsys):
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(data.names())
    assert "4,608 images, 32 x 32 x 3: shape 3, hue 6, scale 4, x 8, y 8" in lines[0]


def test_data_of_continuous_factors(capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "20,000 images, 64 x 64 x 3: pendulum_angle, light_position, shadow_length" in out
    assert main(["data", "show", "flow"]) == 0
    out = capsys.readouterr().out
    assert "ball_radius     continuous, mean 0.650, std 0.289" in out
    assert "std 0.968, caused by ball_radius\n" in out
    assert "caused by water_height and hole_height" in out and "Actions: none" in out


def test_data_prepare_and_show(data_dir, workdir, tmp_path, capsys, fails):
    name = "sprites2d/coloured"
    assert main(["data", "prepare", "--data_dir", data_dir, name]) == 0
    assert f"{name} is ready" in capsys.readouterr().out
    sheet = tmp_path / "sheet.png"
    assert main(["data", "show", name, "--out", str(sheet), "--data_dir", data_dir]) == 0
    out = capsys.readouterr().out
    assert "hue" in out and "Actions: shape+1, hue+1" in out and "Licence: " in out
    assert "shape             3 values, in no meaningful order\n" in out
    table = [line.split() for line in out.splitlines()]
    first = table.index(["transitions", "train", "validation", "test"])
    rows = {row[0]: row[1:] for row in table[first + 1 : first + 12]}
    dataset = data.load(name, data_dir)
    assert list(rows) == [*dataset.info.action_names, "all"]
    for column, split in enumerate(dataset.splits):
        pairs = transitions.build(dataset.factors, dataset.info, dataset.splits[split])
        told = [int(rows[action][column].replace(",", "")) for action in rows]
        assert told == [*np.bincount(pairs.action).tolist(), len(pairs.action)]
    with Image.open(sheet) as file:
        assert file.format == "PNG"
    assert "--overwrite" in fails("data", "show", name, "--out", sheet, "--data_dir", data_dir)


def test_data_of_an_unknown_name(fails, tmp_path):
    err = fails("data", "prepare", "sprites2d/colored", "--data_dir", tmp_path)
    assert "did you mean 'sprites2d/coloured'?" in err
    assert list(tmp_path.iterdir()) == []


# All of it


@pytest.mark.slow
def test_from_data_to_report(data_dir, tmp_path, capsys):
    """Quickstart's commands, on its own experiment shrunk to a few steps."""
    workdir, picture = str(tmp_path / "run"), str(tmp_path / "x.png")
    where = ["--workdir", workdir, "--data_dir", data_dir]
    assert main(["train", "--config", f"{QUICKSTART}:smoke", *where]) == 0
    assert main(["evaluate", *where]) == 0
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    for line in headlines(metrics):
        assert f"\n{line}\n" in out
    for line in ("action retrieval", "named factor moved", "reconstruction", "share of codes"):
        assert f"\n{line}" in out

    assert main(["report", *where]) == 0
    assert f"Page: {workdir}/report/index.html" in capsys.readouterr().out
    assert "</html>" in Path(workdir, "report/index.html").read_text()
    assert list(Path(workdir, "pictures").glob("*.png"))

    Image.fromarray(data.load("sprites2d/coloured", data_dir).images[0]).save(picture)
    out = str(tmp_path / "out.png")
    arguments = ["--workdir", workdir, "--action", "hue+1", "--out", out]
    assert main(["intervene", picture, *arguments]) == 0
    assert main(["retrieve", picture, out, "--workdir", workdir]) == 0


@pytest.mark.slow
def test_from_causal_data_to_report(tmp_path, capsys, fails, monkeypatch):
    """The same of causal factors, whose values can be set, and of what is compared with it."""
    for task in ("sample_efficiency", "distributional_robustness"):
        fewer = functools.partial(getattr(downstream, task), repeats=2)
        monkeypatch.setattr(downstream, task, fewer)
    workdir, picture, data_dir = (str(tmp_path / name) for name in ("run", "x.png", "data"))
    where = ["--workdir", workdir, "--data_dir", data_dir]
    file = ROOT / "experiments/cauf_vae/pendulum_cpu.py"
    assert main(["train", "--config", f"{file}:smoke", *where]) == 0
    log = Path(workdir, "log.jsonl").read_text().splitlines()
    # Every evaluation during training tells how strong the edges are.
    validations = [line for line in map(json.loads, log) if "validation/loss" in line]
    edge = "validation/edge_light_position_to_shadow_length"
    assert validations and all(line[edge] > 0 for line in validations)
    assert main(["evaluate", *where]) == 0
    out = capsys.readouterr().out
    metrics = json.loads(Path(workdir, "metrics.json").read_text())
    assert {"factors", "interventions", "structure", "downstream", "elbo"} <= set(metrics)
    assert set(metrics["downstream"]) >= {"sample_efficiency", "robustness"}
    for line in ("R² of the worst labelled latent", "do(pendulum_angle)", "SHD"):
        assert f"\n{line}" in out

    assert main(["report", *where]) == 0
    drawn = {path.stem for path in Path(workdir, "pictures").glob("*.png")}
    assert {"do_light_position", "edge_strength", "reconstructions"} <= drawn

    beside, file = str(tmp_path / "beside"), ROOT / "experiments/baselines/beta_vae_pendulum_cpu.py"
    where = ["--workdir", beside, "--data_dir", data_dir]
    assert main(["train", "--config", f"{file}:smoke", *where]) == 0
    assert main(["report", *where]) == 0
    assert "Downstream tasks" in Path(beside, "report/index.html").read_text()
    measured = json.loads(Path(beside, "metrics.json").read_text())
    assert {"reconstruction", "disentanglement", "downstream", "elbo"} <= set(measured)
    assert not {"factors", "interventions", "structure"} & set(measured)
    # The tasks are the same, but for dimensions that no label names.
    assert set(measured["downstream"]) == set(metrics["downstream"])
    for task in ("sample_efficiency", "robustness"):
        ours, theirs = (m["downstream"][task] for m in (metrics, measured))
        assert set(ours) == {"all", "labelled", "true_factors"} == {"labelled", *theirs}
    assert ours["true_factors"] == theirs["true_factors"]
    capsys.readouterr()
    assert main(["compare", workdir, beside, "--scores", "downstream"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "|  | run | beside |" and len(rows) == 3 + 2 * 3 * 7

    image = data.load("pendulum/clean", data_dir).images[0]
    Image.fromarray(image).save(picture)
    given = ["intervene", picture, "--workdir", workdir, "--out", str(tmp_path / "out.png")]
    assert main([*given, "--do", "light_position=12.5"]) == 0
    with Image.open(tmp_path / "out.png") as file:
        assert np.asarray(file).shape == image.shape
    given[-1] = str(tmp_path / "other.png")
    assert "out of range" in fails(*given, "--do", "light_position=99")
    assert "has no factor 'light'" in fails(*given, "--do", "light=12.5")
    assert "has no actions" in fails(*given, "--action", "light_position+1")
