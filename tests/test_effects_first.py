"""A CauF-VAE whose data list an effect before its causes: interventions, samples, encoding.

The bars of `tests.methods.bars`, from left to right "sum", "left" and "right", which is binary.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float
from PIL import Image

import cdis
from cdis import data, exports
from cdis.cli import main
from cdis.data.info import Dataset
from cdis.errors import UserError
from cdis.training.checkpoint import restore
from tests.methods import bars

NAMES = ("sum", "left", "right")
GRAPH = ((0, 1, 1), (0, 0, 0), (0, 0, 0))
BINARY = 2


def _dataset() -> Dataset:
    values = bars.VALUES[:, [2, 0, 1]]
    values[:, BINARY] = values[:, BINARY] > 5
    dataset = data.from_arrays(
        bars.IMAGES,
        values,
        names=NAMES,
        graph=[("left", "sum"), ("right", "sum")],
        split=["train"] * 48 + ["validation"] * 8 + ["test"] * 8,
        name="effects_first",
    )
    assert dataset.info.factor_names == NAMES and dataset.info.graph == GRAPH
    assert dataset.info.binary == (False, False, True)
    return dataset


DATASET = _dataset()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cdis.run.Run:
    """Trained for two steps of each stage."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    overrides = {f"stages.{stage}.steps": 2 for stage in ("flow", "images")}
    # At the full rate, so small an encoder soon gives all images the same latents.
    overrides |= {"model.extra": 1, "stages.images.learning_rate": 1e-4}
    return cdis.train("cauf_vae/pendulum_cpu:smoke", workdir, overrides=overrides, dataset=DATASET)


# The literal twin


def _output(m: dict[str, np.ndarray], hidden: np.ndarray) -> np.ndarray:
    """What a node's network makes of the sums that enter its first hidden layer."""
    second = np.tanh(hidden) @ m["second_kernel"] + m["second_bias"]
    return np.tanh(second) @ m["output_kernel"] + m["output_bias"]


class Twin:
    """The causal flow of a run, one image and one node at a time, in NumPy."""

    def __init__(self, run: cdis.run.Run):
        self.params = restore(run.workdir).variables["params"]
        info = run.info
        self.mean, self.std = np.array(info.value_mean), np.array(info.value_std)

    def theta(self, node: int, z: Float[np.ndarray, " f"]) -> tuple[float, float]:
        """Scale and shift of a node's noise."""
        m = {
            name: np.asarray(part, float)[node] for name, part in self.params["conditioner"].items()
        }
        hidden = m["hidden_bias"].copy()
        for parent in range(3):
            if GRAPH[node][parent]:
                hidden += z[parent] * m["hidden_kernel"][parent]
        s, t = _output(m, hidden)
        return np.exp(3 * np.tanh(s / 3)), t

    def target(self, factor: int, value: float) -> float:
        """The latent that stands for a value: standardised, or the logit that the prior has."""
        if factor != BINARY:
            return (value - self.mean[factor]) / self.std[factor]
        m = {name: np.asarray(part, float)[factor] for name, part in self.params["prior"].items()}
        return _output(m, (2 * value - 1) * m["hidden_kernel"][factor] + m["hidden_bias"])[0]

    def drawn(self, eps: Float[np.ndarray, " f"], values: dict[int, float]) -> np.ndarray:
        """The latents of noise, with factors set."""
        z = np.zeros(3)
        for node in (1, 2, 0):  # the causes, then their effect
            scale, shift = self.theta(node, z)
            z[node] = scale * eps[node] + shift
            if node in values:
                z[node] = self.target(node, values[node])
        return z

    def counterfactual(self, z: Float[np.ndarray, " f"], values: dict[int, float]) -> np.ndarray:
        eps = np.zeros(3)
        for node in range(3):
            scale, shift = self.theta(node, z)
            eps[node] = (z[node] - shift) / scale
        return self.drawn(eps, values)


@pytest.mark.parametrize(
    "given",
    [
        {"left": 6.0},
        {"left": 7.0, "right": 1.0},
        {"sum": 5.0, "right": 0.5},  # the effect keeps its value
        {"right": 0.0, "sum": 6.5, "left": 3.0},
    ],
    ids=lambda given: "+".join(given),
)
def test_several_factors_at_once_against_the_twin(run, given):
    twin, images = Twin(run), DATASET.images[:3]
    vectors = run.encode(images)["vectors"]
    assert vectors.shape == (3, 4)
    values = {NAMES.index(name): value for name, value in given.items()}
    expected = vectors.copy()  # the latent without a label stays as it is
    for row in expected:
        row[:3] = twin.counterfactual(row[:3].astype(float), values)
    assert np.abs(expected - vectors).max() > 1e-2
    latents = run._trained.method.factors.do.args[0]
    assert latents.order == (1, 2, 0)
    found, decoded = run.do(images, **given), run.decode({"vectors": expected})
    assert np.abs(found.astype(int) - decoded).max() <= 1  # a level, where rounding differs
    assert (found != run.do(images, left=1.0)).any()
    np.testing.assert_array_equal(run.do(images[0], **given), found[0])


def test_one_program_for_any_set_of_factors(run):
    images = DATASET.images[:2]
    run.do(images, left=6)
    compiled = run._trained._compiled["do/2"]
    assert compiled._cache_size() == 1
    run.do(images, left=6, right=1)
    run.do(images, sum=[5, 6])
    assert compiled._cache_size() == 1


# Samples


def test_samples_against_the_twin(run):
    import jax

    twin, n = Twin(run), 6
    first = jax.random.fold_in(jax.random.key(4), 0)
    eps = np.asarray(jax.random.normal(first, (128, 4)), float)[:n]
    for given in ({}, {"left": 6.0, "right": 1.0}, {"sum": [5, 5, 5, 6, 6, 6]}):
        samples = run.sample(n, seed=4, **given)
        assert samples.images.shape == (n, 16, 16, 1) and samples.images.dtype == np.uint8
        assert samples.values.dtype == np.float32
        for i, vector in enumerate(samples.vectors):
            values = {NAMES.index(k): np.broadcast_to(v, n)[i] for k, v in given.items()}
            z = twin.drawn(eps[i, :3], values)
            np.testing.assert_allclose(vector, [*z, eps[i, 3]], rtol=1e-4, atol=1e-4)
            means = z * twin.std + twin.mean
            means[BINARY] = 1 / (1 + np.exp(-z[BINARY]))
            np.testing.assert_allclose(samples.values[i], means, rtol=1e-4, atol=1e-4)
        again = run.decode({"vectors": samples.vectors})
        np.testing.assert_array_equal(samples.images, again)


def test_samples_depend_on_the_seed_and_their_place_alone(run):
    many = run.sample(130, seed=1).vectors
    np.testing.assert_array_equal(run.sample(1, seed=1).vectors, many[:1])
    np.testing.assert_array_equal(run.sample(129, seed=1).vectors, many[:129])
    assert len(np.unique(many[:, 1])) == 130
    assert (run.sample(1).vectors != many[:1]).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: run.sample(0), "whole number above 0, not 0"),
        (lambda run: run.sample(2.0), "whole number above 0, not 2.0"),
        (lambda run: run.sample(2, seed=-1), r"from 0 to 2\^32 - 1, not -1"),
        (lambda run: run.sample(2, seed=2**32), r"from 0 to 2\^32 - 1, not 4294967296"),
        (lambda run: run.sample(2, lefft=1), "no factor 'lefft' \\(did you mean 'left'"),
        (lambda run: run.sample(2, left="far"), "left must be a number, or one for each"),
        (lambda run: run.sample(2, left=[1, 2, 3]), "one for each of the 2, not an array"),
        (lambda run: run.sample(2, left=99), "left = 99 is out of range"),
    ],
)
def test_samples_that_are_refused(run, call, said):
    with pytest.raises(UserError, match=said):
        call(run)


# The command line


@pytest.fixture
def fails(capsys):
    """Runs a command that must fail as a user's mistake and returns what it said."""

    def command(*arguments) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("cdis: ") and err.count("\n") == 1
        return err

    return command


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(DATASET.images[0, :, :, 0]).save(path)
    return path


def test_do_several_times_on_the_command_line(run, picture, tmp_path):
    out = tmp_path / "out.png"
    given = ("intervene", picture, "--workdir", run.workdir, "--out", out)
    more = ("--do", "left=7", "--do", "right=1", "--do", "left=7.0")
    assert main([str(part) for part in (*given, *more)]) == 0
    found = np.asarray(Image.open(out))[..., None]
    np.testing.assert_array_equal(found, run.do(DATASET.images[0], left=7, right=1))


def test_sample_writes_arrays_and_pictures(run, tmp_path, capsys):
    arguments = ["sample", "--workdir", str(run.workdir), "--seed", "3", "--do", "right=1", "--out"]
    arrays, picture = tmp_path / "s.npz", tmp_path / "s.png"
    assert main([*arguments, str(arrays), "--count", "5"]) == 0
    assert capsys.readouterr().out == f"Wrote {arrays}: 5 samples\n"
    found, expected = np.load(arrays), run.sample(5, seed=3, right=1)
    assert found["factor_names"].tolist() == list(NAMES)
    for name, part in expected._asdict().items():
        np.testing.assert_array_equal(found[name], part, strict=True)
    assert main([*arguments, str(picture)]) == 0
    assert capsys.readouterr().out == f"Wrote {picture}: 16 samples\n"
    with Image.open(picture) as file:
        assert file.format == "PNG" and min(file.size) > 300


def test_the_words_on_a_sheet(run):
    named = dataclasses.replace(run.info, value_names=((), (), ("short", "tall")))
    assert exports._described(named, 2, 0.7, {"right"}) == "right: tall, set"
    assert exports._described(named, 2, -0.2, set()) == "right: short"
    assert exports._described(named, 1, 3.14159, set()) == "left: 3.14"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "s.jpg"), "does not end in .png or .npz. Name a file"),
        (("--out", "gone/s.png"), "There is no folder"),
        (("--out", "x.png"), "exists and was left as it is"),
        (("--out", "s.png", "--count", "0"), "--count takes a whole number, 1 or more; not '0'"),
        (("--out", "s.png", "--count", "many"), "--count takes a whole number"),
        (("--out", "s.png", "--count", "257"), "at most 256 samples, not 257. Lower --count"),
        (("--out", "s.npz", "--count", "20000000"), "take more than 4 GB of memory. Lower --count"),
        (("--out", "s.png", "--seed", "-1"), "--seed takes a whole number"),
        (("--out", "s.png", "--seed", "4294967296"), "seed must be a whole number from 0"),
        (("--out", "s.png", "--do", "lefft=1"), "no factor 'lefft' (did you mean 'left'?)"),
        (("--out", "s.png", "--do", "left"), "write NAME=VALUE"),
        (("--out", "s.png", "--do", "=3"), "write NAME=VALUE"),
        (("--out", "s.png", "--do", "left=far"), "left must be a number"),
        (("--out", "s.png", "--do", "left=nan"), "left = nan is out of range"),
        (("--out", "s.png", "--do", "left=99"), "left = 99 is out of range"),
        (("--out", "s.png", "--do", "left=1,right=1"), "give --do once for each factor"),
        (("--out", "s.png", "--do", "left=1", "--do", "left=2"), "left to 1.0 and to 2.0"),
        (("--out", "s.png", "--do", "seed=1"), "A factor called seed cannot be set"),
        (("--out", "s.png", "--out", "t.png"), "already defined as s.png"),
        (("y.png", "--out", "s.png"), "takes nothing, but was given y.png"),
        ((), "needs --out"),
    ],
)
def test_sample_refuses(run, picture, arguments, said, fails, monkeypatch):
    monkeypatch.chdir(picture.parent)
    assert said in fails("sample", "--workdir", run.workdir, *arguments)
    assert [path.name for path in picture.parent.iterdir()] == ["x.png"]


# Encoding


def _named(dataset: Dataset, monkeypatch) -> None:
    """Lets the name of a data set in memory stand for it."""
    for of, found in (("info", dataset.info), ("load", dataset)):
        real = getattr(data, of)
        monkeypatch.setattr(
            data,
            of,
            lambda name, *more, real=real, found=found: (
                found if name == dataset.info.name else real(name, *more)
            ),
        )


def test_encode_a_data_set_and_score_it(run, tmp_path, capsys, monkeypatch):
    _named(DATASET, monkeypatch)
    out = tmp_path / "z.npz"
    arguments = ["encode", "--workdir", str(run.workdir), "--out", str(out)]
    for split, index in (*DATASET.splits.items(), ("all", np.arange(64))):
        assert main([*arguments, "--split", split, "--overwrite"]) == 0
        assert capsys.readouterr().out == f"Wrote {out}: {len(index)} images\n"
        found = np.load(out)
        assert found["latent_names"].tolist() == found["factor_names"].tolist() == list(NAMES)
        np.testing.assert_array_equal(found["index"], index)
        np.testing.assert_array_equal(found["values"], DATASET.values[index], strict=True)
        np.testing.assert_array_equal(found["factors"], DATASET.values[index], strict=True)
        vectors = run.encode(DATASET.images[index])["vectors"]
        np.testing.assert_array_equal(found["vectors"], vectors, strict=True)
    scores = tmp_path / "scores.json"
    files = ["--representations", str(out), "--factors", str(out), "--metrics", "mcc"]
    assert main(["score", *files, "--json", str(scores)]) == 0
    expected = cdis.score(vectors, DATASET.values, metrics="mcc")
    assert (
        json.loads(scores.read_text())["metrics"]["mcc"]["scores"]
        == (expected["metrics"]["mcc"]["scores"])
    )


def test_encode_image_files(run, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(DATASET.images[i, :, :, 0]).save(folder / f"{2 - i}.png")
    (folder / "factors.csv").write_text("not an image")
    (folder / ".hidden.png").write_text("not an image")
    out, first = tmp_path / "z.npz", str(folder / "2.png")
    arguments = ["encode", first, str(folder), "--workdir", str(run.workdir), "--out", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"Wrote {out}: 4 images\n"
    found = np.load(out)
    assert found["paths"].tolist() == [first, *(str(folder / f"{i}.png") for i in range(3))]
    expected = run.encode(DATASET.images[[0, 2, 1, 0]])["vectors"]
    np.testing.assert_array_equal(found["vectors"], expected)
    assert set(found) == {"vectors", "latent_names", "paths"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "z.npy"), "does not end in .npz. Name a file of that kind"),
        (("--out", "z.npz", "--split", "tset"), "no split 'tset' (did you mean 'test'?)"),
        (("--out", "z.npz", "--split", "validation"), "no images in the split validation"),
        (("--out", "z.npz", "--data", "sprites2d/colored"), "did you mean 'sprites2d/coloured'"),
        (("--out", "z.npz", "gone.png"), "There is no gone.png. Give image files, or a folder"),
        (("--out", "z.npz", "empty"), "empty has no image files in it"),
        (("--out", "z.npz", "bad.png"), "bad.png cannot be read as an image"),
        (("--out", "z.npz", "wide.png"), "wide.png is 20 x 16 pixels"),
        (("--out", "z.npz", "x.png", "--split", "test"), "either image files or a data set"),
        (("--out", "z.npz", "x.png", "--data", "flow"), "either image files or a data set"),
        (("--out", "z.npz", "--workdir", "b"), "already defined as"),
    ],
)
def test_encode_refuses(run, picture, arguments, said, fails, monkeypatch):
    folder = picture.parent
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "bad.png").write_text("not an image")
    Image.new("L", (20, 16)).save("wide.png")
    before = sorted(path.name for path in folder.iterdir())
    none = dataclasses.replace(DATASET, splits=DATASET.splits | {"validation": np.arange(0)})
    _named(none, monkeypatch)
    assert said in fails("encode", "--workdir", run.workdir, *arguments)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_data_that_are_elsewhere_or_do_not_fit(run, tmp_path, fails, monkeypatch):
    arguments = ("encode", "--workdir", run.workdir, "--out", tmp_path / "z.npz")
    assert "that were trained on cannot be had" in fails(*arguments)
    said = fails(*arguments, "--data", "flow", "--data_dir", tmp_path / "data")
    assert "images of flow/default are 64 x 64 x 3, but the method was trained on images of" in said
    assert not list(Path(tmp_path).iterdir())
