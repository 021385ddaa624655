"""The user's own folders: every form gives the same data set, and faults are reported."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdis import data
from cdis.data.builder import split_of
from cdis.data.info import Info
from cdis.data.transitions import build, counts
from cdis.errors import UserError

ROOT = Path(__file__).parents[2]
SIZES = (3, 2, 4)
NAMES = ("x", "kind", "turn")
VALUES = ((-1.5, 2.0, 10.0), ("big", "small"), (0, 1, 2, 3))
FACTORS = np.indices(SIZES).reshape(3, -1).T.astype(np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 4, 3), np.uint8)
CELLS = [[str(VALUES[f][i]) for f, i in enumerate(row)] for row in FACTORS]


def _csv(folder: Path, header: list[str], rows: list) -> None:
    with open(folder / "factors.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _arrays(folder: Path, images: np.ndarray = IMAGES, factors: np.ndarray = FACTORS) -> Path:
    np.save(folder / "images.npy", images)
    np.save(folder / "factors.npy", factors)
    return folder


def _zipped(folder: Path) -> Path:
    np.savez_compressed(folder / "data.npz", images=IMAGES, factors=FACTORS)
    return folder


def _table(folder: Path) -> Path:
    np.save(folder / "images.npy", IMAGES)
    _csv(folder, list(NAMES), CELLS)
    return folder


def _files(folder: Path) -> Path:
    (folder / "pictures").mkdir()
    names = [f"pictures/{i}.png" for i in range(24)]
    for name, image in zip(names, IMAGES, strict=True):
        Image.fromarray(image).save(folder / name)
    _csv(
        folder,
        ["x", "image", *NAMES[1:]],
        [[c[0], n, *c[1:]] for n, c in zip(names, CELLS, strict=True)],
    )
    return folder


def _about(folder: Path, **fields) -> None:
    (folder / "about.json").write_text(json.dumps(fields))


@pytest.fixture
def home(tmp_path) -> str:
    return str(tmp_path / "data")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.mark.parametrize("make", [_arrays, _zipped, _table, _files])
def test_every_form_is_the_same_data_set(make, folder, home):
    make(folder)
    with_names = make in (_table, _files)
    _about(folder, circular=["turn"], licence="mine", **({} if with_names else {"factors": NAMES}))
    name = f"own:{folder}"
    data.prepare(name, home)
    dataset = data.load(name, home)
    np.testing.assert_array_equal(dataset.images, IMAGES, strict=True)
    np.testing.assert_array_equal(dataset.factors, FACTORS, strict=True)
    values = FACTORS.astype(np.float32)
    if with_names:
        values[:, 0] = np.array(VALUES[0], np.float32)[FACTORS[:, 0]]
    np.testing.assert_array_equal(dataset.values, values, strict=True)
    split = split_of(24, 0)
    for number, index in enumerate(dataset.splits.values()):
        np.testing.assert_array_equal(index, np.flatnonzero(split == number))
    info = data.info(name)
    assert info == dataset.info and info.name == name
    assert info.factor_names == NAMES and info.factor_sizes == SIZES
    assert info.circular == (False, False, True) and info.image_shape == (8, 4, 3)
    assert info.num_images == 24 and info.licence == "mine"
    assert data.mechanism(name) is None
    pairs = build(dataset.factors, info, np.arange(24))
    assert np.bincount(pairs.action).tolist() == [16, 12, 24] * 2


def test_values_are_sorted_and_may_be_given_another_order(folder):
    np.save(folder / "images.npy", IMAGES[:6])
    sizes = ["10", "9", "9.50", "10", "9", "9.5"]
    names = ["small", "small", "small", "big", "big", "big"]
    _csv(folder, ["size", "name", "note"], [*zip(sizes, names, "abcdef", strict=True)])
    _about(folder, factors=["name", "size"])
    dataset = data.load(f"own:{folder}")
    assert dataset.info.factor_names == ("name", "size")
    assert dataset.factors.tolist() == [[1, 2], [1, 0], [1, 1], [0, 2], [0, 0], [0, 1]]
    assert dataset.values[:3].tolist() == [[1, 10], [1, 9], [1, 9.5]]
    _about(folder, factors=["name", "size"], order={"name": ["small", "big"], "size": [9.5, 10, 9]})
    ordered = data.load(f"own:{folder}")
    assert ordered.factors.tolist() == [[0, 1], [0, 2], [0, 0], [1, 1], [1, 2], [1, 0]]
    assert ordered.values[:3].tolist() == [[0, 10], [0, 9], [0, 9.5]]
    assert ordered.info.value_names == (("small", "big"), ())
    assert Info.from_json(ordered.info.to_json()) == ordered.info


def test_missing_combinations_have_no_transitions(folder):
    kept = np.delete(np.arange(24), [3, 13])
    _arrays(folder, IMAGES[kept], FACTORS[kept])
    dataset = data.load(f"own:{folder}")
    pairs = build(dataset.factors, dataset.info, np.arange(22))
    moved = dataset.factors[pairs.y] - dataset.factors[pairs.x]
    assert len(moved) and (np.abs(moved).sum(1) == 1).all()


def test_image_files_are_decoded_once_and_again_when_one_changes(folder, home):
    _files(folder)
    name = f"own:{folder}"
    data.load(name, home)
    first = sorted(Path(home, "own").glob("*.npy"))
    written = first[0].stat().st_mtime_ns
    (Path(home) / "own" / first[0].with_suffix(".incomplete").name).write_text("of a killed run")
    data.load(name, home)
    assert len(first) == 1 and first[0].stat().st_mtime_ns == written
    Image.fromarray(IMAGES[1]).save(folder / "pictures" / "0.png")
    os.utime(folder / "pictures" / "0.png", ns=(1, 1))
    dataset = data.load(name, home)
    np.testing.assert_array_equal(dataset.images[0], IMAGES[1])
    left = sorted(path.suffix for path in Path(home, "own").iterdir())
    assert left == [".lock", ".npy"] and sorted(Path(home, "own").glob("*.npy")) != first


def test_grey_and_palette_files(folder, home):
    Image.fromarray(IMAGES[0, ..., 0]).save(folder / "a.png")
    Image.fromarray(IMAGES[1, ..., 0]).save(folder / "b.png")
    _csv(folder, ["image", "n"], [["a.png", 0], ["b.png", 1]])
    np.testing.assert_array_equal(data.load(f"own:{folder}", home).images, IMAGES[:2, ..., :1])
    flat = np.zeros((8, 4), np.uint8)
    for name in "ab":
        palette = Image.fromarray(flat).convert("P")
        palette.putpalette([7, 8, 9] * 256)
        palette.save(folder / f"{name}.png")
    images = data.load(f"own:{folder}", home).images
    np.testing.assert_array_equal(
        images, np.broadcast_to(np.array([7, 8, 9], np.uint8), (2, 8, 4, 3))
    )


def _with(**arrays):
    return lambda folder: _arrays(folder, **arrays)


def _lines(*lines: str):
    def write(folder: Path) -> None:
        _files(folder)
        (folder / "factors.csv").write_text("\n".join(lines))

    return write


def _with_about(make=_arrays, **about):
    def write(folder: Path) -> None:
        make(folder)
        _about(folder, **about)

    return write


def _both(folder: Path) -> None:
    _csv(_arrays(folder), list(NAMES), CELLS)


def _another_size(folder: Path) -> None:
    Image.fromarray(IMAGES[0, :4]).save(_files(folder) / "pictures" / "7.png")


def _no_image(folder: Path) -> None:
    (_files(folder) / "pictures" / "7.png").write_text("no image")


def _truncated(folder: Path) -> None:
    os.truncate(_arrays(folder) / "images.npy", 1000)


def _no_json(folder: Path) -> None:
    (_arrays(folder) / "about.json").write_text("{")


P = "pictures"


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda folder: None, "holds no data. It must hold exactly one of: images.npy"),
        (_both, "holds factors.csv and factors.npy and images.npy"),
        (Path.rmdir, "the folder /.* does not exist"),
        (_with(images=IMAGES[:-1]), "it has 23 images but 24 rows of factors"),
        (_with(images=IMAGES / 255), r"images are float64 \[24, 8, 4, 3\], not uint8"),
        (_with(images=IMAGES[..., 0]), r"images are uint8 \[24, 8, 4\], not uint8 \[n, H"),
        (_with(images=IMAGES[:, :0]), r"images are \[24, 0, 4, 3\], without a pixel"),
        (_with(factors=FACTORS + 0.5j), r"factors are complex128 \[24, 3\], not numbers"),
        (_with(factors=FACTORS[:, 0]), r"factors are int32 \[24\], not numbers"),
        (_with(factors=FACTORS[:, :0]), "the data has no factors"),
        (_with(factors=FACTORS * [1, 1, 0]), "'factor_2' has one value, 0"),
        (_with(factors=FACTORS / [1, 1, np.inf]), "'factor_2' has one value, 0"),
        (_with(factors=FACTORS * [1, 1, np.nan]), "'factor_2' has no labels"),
        (_truncated, r"images\.npy cannot be read"),
        (
            _lines("x,image", f"1,{P}/0.png", f"2,{P}/99.png"),
            "1 of 2 image files are missing, first 'p.*line 3",
        ),
        (
            _lines("x,image", f"1,{P}/0.png", f"2,{P}/0.png"),
            f"line 3 .* lists '{P}/0.png' twice: line 2",
        ),
        (_lines("x,image", f"1,{P}/0.png", f"1,{P}/1.png"), "'x' has one value, 1"),
        (
            _lines("x,y,image", f"1,2,{P}/0.png", f"1,{P}/1.png"),
            "line 3 .* has 2 cells, but .* 3 columns",
        ),
        (_lines("x,image", "1,"), "line 2 .* has no 'image'"),
        (_lines("x,x,image", f"1,2,{P}/0.png"), "the first line .* names 'x' twice"),
        (_lines("x,,image", f"1,2,{P}/0.png"), "the first line .* has a column without a name"),
        (_lines("x,image"), "lists no images"),
        (_lines(""), "lists no images"),
        (_lines("x,Image", f"1,{P}/0.png"), "no column 'image' .*'Image'.* images.npy is"),
        (_another_size, r"0\.png is 8 x 4 pixels .*7\.png is 4 x 4: .*@HxW"),
        (_no_image, r"7\.png cannot be read"),
        (_no_json, r"about\.json is not valid JSON \(EOF.*line 1"),
        (
            _with_about(circlar=["turn"]),
            r"no field 'circlar' in about.json .*did you mean 'circular'\?",
        ),
        (_with_about(circular="turn"), "'circular' in about.json .* 'turn' .* a list of names"),
        (
            _with_about(circular=["factor_3"]),
            "'circular' names 'factor_3' .*factor_0, factor_1, factor_2",
        ),
        (
            _with_about(circular=["factor_1"]),
            "'factor_1' has only two values, so it cannot be circular",
        ),
        (_with_about(factors=["a", "b"]), "has 2 names for 3 factors"),
        (_with_about(order=["a"]), r"'order' in about.json .*\['a'\].* a list of values by name"),
        (_with_about(licence=3), "'licence' in about.json .* 3 is not .* a text"),
        (_with_about(_table, factors=["x", "kin"]), r"'kin' .*did you mean 'kind'\?"),
        (
            _with_about(_table, order={"kind": ["small"]}),
            "does not list its values, which are 'big', 'small'",
        ),
        (
            _with_about(_table, order={"kin": ["small"]}),
            "'order' names 'kin' .*did you mean 'kind'",
        ),
    ],
)
def test_faults_are_reported(make, said, folder, home):
    make(folder)
    with pytest.raises(UserError, match=f"^own:.*{said}") as error:
        data.load(f"own:{folder}", home)
    assert "\n" not in str(error.value)
    assert not list(Path(home).rglob("*.incomplete")) and not list(Path(home).rglob("*.npy"))


def test_a_data_directory_that_is_not_writable_is_reported(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"could not be decoded into .*--data_dir"):
        data.load(f"own:{_files(folder)}", str(tmp_path / "file"))


PAGE, _, _ = (ROOT / "cdis" / "data" / "own_data.md").read_text().partition("## A Python module")
EXAMPLES = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
assert [kind for kind, _ in EXAMPLES] == [*["python", "sh"] * 3, "json", "python"]
SPRINGS, CAUSAL, SQUARES, STEPS, DIGITS, REPEATED, ABOUT, IN_PYTHON = (
    block for _, block in EXAMPLES
)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A current folder in which the examples of the documentation run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDIS_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    return tmp_path


def _run(commands: str) -> None:
    """Commands as printed, but with the variants "smoke" of experiments."""
    from cdis.cli import main

    for command in commands.splitlines():
        program, *arguments = re.sub(r"(--config \S+)", r"\1:smoke", command).split()
        assert program == "cdis" and main(arguments) == 0


@pytest.mark.slow
def test_the_causal_example_of_the_documentation(here, capsys):
    first, _, commands = CAUSAL.partition("\n")
    assert first == "python make_springs.py" and len(SPRINGS.splitlines()) < 25
    exec(SPRINGS, {})
    _run(commands)
    assert "R² of the worst labelled latent" in capsys.readouterr().out
    with Image.open(here / "softer.png") as softer:
        assert softer.size == (32, 32)


@pytest.mark.slow
def test_the_example_of_a_grid_of_the_documentation(here, capsys):
    first, _, commands = STEPS.partition("\n")
    assert first == "python make_squares.py"
    exec(SQUARES, {})
    (here / "squares" / "about.json").write_text(ABOUT)
    _run(commands)
    assert "colour" in capsys.readouterr().out
    metrics = json.loads((here / "runs" / "squares" / "metrics.json").read_text())
    assert metrics["data"] == "own:squares"
    assert set(metrics["action_retrieval"]["per_action"]) == set(
        data.info("own:squares").action_names
    )
    assert (here / "squares.png").stat().st_size > 10_000


@pytest.mark.usefixtures("here")
def test_the_example_of_repeated_factors_of_the_documentation():
    assert REPEATED.startswith("python make_digits.py\n")
    exec(DIGITS, {})
    digits = data.load("own:digits")
    assert digits.info.repeats and digits.info.factor_sizes == (10, 5, 6)
    assert digits.info.unordered == ("digit",) and digits.info.count == 17970
    # All images of a handwriting are in one split, and all actions have pairs in each.
    writings = [set(index // 10) for index in digits.splits.values()]
    assert sum(map(len, writings)) == len(set.union(*writings)) == 1797
    assert all(count.min() > 1000 for count in counts(digits).values())


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_the_example_in_python_of_the_documentation():
    exec(SPRINGS, {})
    names: dict = {}
    exec(IN_PYTHON.replace("cauf_vae/own", "cauf_vae/own:smoke"), names)
    whole = data.load("own:springs")
    np.testing.assert_array_equal(names["dataset"].images, whole.images)
    np.testing.assert_array_equal(names["dataset"].values, whole.values)
    assert names["dataset"].info.graph == whole.info.graph == ((0, 0, 0), (0, 0, 0), (1, 1, 0))
    assert names["run"].info == names["dataset"].info
