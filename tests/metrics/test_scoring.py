"""All scores in one call, and the files that they are computed from."""

import importlib
import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from cdis.errors import UserError
from cdis.metrics import METRICS, score, table
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.files import read_kinds, read_matrix, read_seed

FACTORS = np.tile(np.stack(np.unravel_index(np.arange(60), (3, 4, 5)), 1), (5, 1))
CODES = FACTORS + np.random.default_rng(0).normal(size=FACTORS.shape)
LIGHT = ("mig", "modularity", "irs", "mcc")


def test_scores_beside_perfect_codes():
    told = []
    result = score(CODES, FACTORS, metrics=LIGHT, progress=told.append)
    json.dumps(result, allow_nan=False)
    assert told == list(result["metrics"]) == list(LIGHT)
    assert (result["num_samples"], result["num_dimensions"], result["num_factors"]) == (300, 3, 3)
    for entry in result["metrics"].values():
        assert 0 < entry["scores"]["score"] < entry["perfect"]["score"] <= 1
        assert entry["seconds"] > 0 and entry["detail"]["score"] == entry["scores"]["score"]
    assert result["metrics"]["mcc"]["preset"] == "pearson"
    again = score(CODES, FACTORS, metrics="mig, mcc", perfect=False)
    assert again["metrics"]["mig"]["scores"] == result["metrics"]["mig"]["scores"]
    assert "perfect" not in again["metrics"]["mig"]


def test_what_cannot_be_computed_is_listed_with_the_reason():
    dependent = np.concatenate([FACTORS[:, :1], FACTORS[:, :2]], 1)
    result = score(CODES, dependent, metrics=LIGHT)
    assert "crossed design" in result["metrics"]["irs"]["reason"]
    assert set(result["metrics"]["irs"]) == {"reason"}
    shown = table(result)
    assert "Not computed:\n  irs: IRS fixes one factor" in shown
    assert "\nmcc (pearson) " in shown
    # One factor alone: its perfect code has one dimension, which cannot be compared with another.
    single = score(CODES, FACTORS[:, :1], metrics="mig")["metrics"]["mig"]
    assert single["perfect"] is None and "1 dimension" in single["perfect_reason"]
    assert "-" in table({"metrics": {"mig": single}})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"metrics": "mgi"}, "did you mean 'mig'"),
        ({"preset": "random_forst"}, "did you mean 'random_forest'"),
        ({"preset": "spearman", "metrics": "mig"}, "not among the metrics"),
        ({"preset": "spearman,pearson"}, "two presets"),
        ({"preset": {"mcc": "tripod"}}, "it has pearson, spearman"),
        ({"preset": {"mig": "tripod"}}, "it has none"),
        ({"continuous": [True]}, "each of the 3 factors"),
    ],
)
def test_refuses_names_it_does_not_know(arguments, said):
    with pytest.raises(UserError, match=said):
        score(CODES, FACTORS, **arguments)


def test_presets_reach_their_metric():
    for preset in ("spearman", ["spearman"], {"mcc": "spearman"}):
        result = score(CODES, FACTORS, metrics="mcc", preset=preset, perfect=False)
        assert result["metrics"]["mcc"]["preset"] == "spearman"


def test_refuses_arrays_that_no_metric_takes():
    with pytest.raises(UnsuitableData, match="rows"):
        score(CODES[1:], FACTORS)
    assert issubclass(UnsuitableData, ValueError) and issubclass(UnsuitableData, UserError)


def test_the_list_of_metrics_tells_what_their_functions_take():
    for name, metric in METRICS.items():
        module = importlib.import_module(f"cdis.metrics.{metric.module}")
        parameters = inspect.signature(getattr(module, name)).parameters
        assert ("continuous" in parameters) == metric.takes_continuous
        assert ("preset" in parameters) == bool(metric.presets)
        if metric.presets:
            assert parameters["preset"].default == metric.presets[0]
            assert set(module.PRESETS) == set(metric.presets)


def test_importing_is_light():
    program = (
        "import sys, cdis.metrics; slow = {'jax', 'sklearn', 'scipy'} & set(sys.modules); "
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_everything_at_once():
    result = score(CODES, FACTORS)
    json.dumps(result, allow_nan=False)
    for name, entry in result["metrics"].items():
        assert set(entry["scores"]) == set(METRICS[name].headlines)
        assert entry["perfect"] is not None


# Files


def test_reads_what_was_written(tmp_path):
    np.save(tmp_path / "z.npy", CODES.astype(np.float32))
    np.savez(tmp_path / "both.npz", representations=CODES, factors=FACTORS, mu=CODES[:, :1])
    np.savez(tmp_path / "one.npz", anything=CODES)
    np.save(tmp_path / "grid.npy", CODES.reshape(300, 3, 1))
    (tmp_path / "z.csv").write_text("a,b\n0.5,1e-3\n\n-2,3\n")
    (tmp_path / "codes.csv").write_text("0,1\n2,3\n")

    def read(name):
        return read_matrix(str(tmp_path / name), ("representations",))

    np.testing.assert_array_equal(read("z.npy"), CODES.astype(np.float32))
    np.testing.assert_array_equal(read("both.npz"), CODES)
    np.testing.assert_array_equal(read("both.npz:factors"), FACTORS)
    np.testing.assert_array_equal(read("one.npz"), CODES)
    np.testing.assert_array_equal(read("grid.npy"), CODES)
    np.testing.assert_array_equal(read("z.csv"), [[0.5, 0.001], [-2, 3]])
    assert read("codes.csv").dtype.kind == "i"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.npy", None, "There is no file"),
        ("z.txt", b"1", "ends in .txt"),
        ("z.npy", b"not numpy", "cannot be read as npy"),
        ("two.npz", {"a": CODES, "b": CODES}, "no array called representations, but a, b"),
        ("two.npz:c", {"a": CODES, "b": CODES}, "no array 'c'; it has a, b"),
        ("words.npy", np.array(["a"]), "array of <U1"),
        ("objects.npy", np.array([None, {}]), "cannot be read as npy"),
        ("z.csv", b"a,b\n1,2\n1\n", "line 3: 1 columns where the first row has 2"),
        ("z.csv", b"1,2\n1,x\n", "line 2, column 2: 'x' is not a number"),
        ("z.csv", b"a,b\n", "no rows of numbers"),
        ("z.csv", b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path, name, content, said):
    place = tmp_path / name.split(":")[0]
    if isinstance(content, dict):
        np.savez(place, **content)
    elif isinstance(content, np.ndarray):
        np.save(place, content, allow_pickle=True)
    elif content is not None:
        place.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_matrix(str(tmp_path / name), ("representations",))


def test_reads_flags():
    assert read_kinds(None, 3) is None
    assert read_kinds("all", 3) is True and read_kinds("none", 3) is False
    assert read_kinds("0, 2", 3) == [True, False, True]
    assert (read_seed(None), read_seed("7")) == (0, 7)
    for text in ("3", "-1", "x"):
        with pytest.raises(UserError, match="columns between 0 and 2"):
            read_kinds(text, 3)
    with pytest.raises(UserError, match="whole number"):
        read_seed("-1")
