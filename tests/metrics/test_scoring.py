"""All metrics in one call, the table of metrics, and the files that `cdis score` reads."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from cdis.errors import UserError
from cdis.metrics import METRICS, metrics_help, score, table
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.files import read_kinds, read_matrix, read_seed
from cdis.metrics.scoring import metrics_for

FACTORS = np.tile(np.stack(np.unravel_index(np.arange(60), (3, 4, 5)), 1), (5, 1))
CODES = FACTORS + np.random.default_rng(0).normal(size=FACTORS.shape)
LIGHT = ("mig", "modularity", "irs", "mcc")


def test_scores_beside_perfect_codes():
    announced = []
    result = score(CODES, FACTORS, metrics=LIGHT, progress=announced.append)
    json.dumps(result, allow_nan=False)
    assert announced == list(result["metrics"]) == list(LIGHT)
    assert (result["num_samples"], result["num_dimensions"], result["num_factors"]) == (300, 3, 3)
    for entry in result["metrics"].values():
        assert 0 < entry["scores"]["score"] < entry["perfect"]["score"] <= 1
        assert entry["seconds"] > 0 and entry["detail"]["score"] == entry["scores"]["score"]
    assert result["metrics"]["mcc"]["preset"] == "pearson"
    again = score(CODES, FACTORS, metrics="mig, mcc", perfect=False)
    assert again["metrics"]["mig"]["scores"] == result["metrics"]["mig"]["scores"]
    assert "perfect" not in again["metrics"]["mig"]


def test_metrics_that_cannot_be_computed_are_listed_with_the_reason():
    dependent = np.concatenate([FACTORS[:, :1], FACTORS[:, :2]], 1)
    result = score(CODES, dependent, metrics=LIGHT)
    assert "crossed design" in result["metrics"]["irs"]["reason"]
    assert set(result["metrics"]["irs"]) == {"reason"}
    shown = table(result)
    assert "Not computed:\n  irs: IRS fixes one factor" in shown
    assert "\nmcc (pearson) " in shown
    # With a single factor, perfect codes have one dimension, too few for a gap.
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
def test_refuses_unknown_names(arguments, said):
    with pytest.raises(UserError, match=said):
        score(CODES, FACTORS, **arguments)


def test_presets_reach_their_metric():
    for preset in ("spearman", ["spearman"], {"mcc": "spearman"}):
        result = score(CODES, FACTORS, metrics="mcc", preset=preset, perfect=False)
        assert result["metrics"]["mcc"]["preset"] == "spearman"


def test_refuses_arrays_that_suit_no_metric():
    with pytest.raises(UnsuitableData, match="rows"):
        score(CODES[1:], FACTORS)
    assert issubclass(UnsuitableData, ValueError) and issubclass(UnsuitableData, UserError)


def test_the_table_of_metrics_agrees_with_their_functions():
    for name, metric in METRICS.items():
        assert metric.function.__name__ == name == metric.name
        parameters = inspect.signature(metric.function).parameters
        assert ("preset" in parameters) == bool(metric.presets)
        if metric.presets:
            assert parameters["preset"].default == next(iter(metric.presets))


def test_help_lists_every_metric_and_preset():
    lines = metrics_help().splitlines()
    assert max(map(len, lines)) < 100
    assert [line.split()[0] for line in lines if line[2] != " "] == list(METRICS)
    words = set(metrics_help().replace("(", " ").split())
    assert words >= {preset for metric in METRICS.values() for preset in metric.presets}


def test_metrics_that_evaluation_computes():
    assert metrics_for("codes") == ("mig", "dcimig", "modularity", "infomec")
    for kind in ("vectors", "vectors_of_continuous"):
        assert metrics_for(kind) and set(metrics_for(kind)) <= set(METRICS)
    assert not any(METRICS[name].discrete for name in metrics_for("vectors_of_continuous"))
    assert not any(METRICS[name].crossed for name in metrics_for("vectors_of_continuous"))


def test_importing_is_light():
    program = (
        "import sys, cdis.metrics; cdis.metrics.metrics_help(); "
        "slow = {'jax', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules); "
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


def test_reads_matrices(tmp_path):
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
        ("two.npz", {"a": CODES, "b": CODES}, "no array called representations; it has a, b"),
        ("two.npz:c", {"a": CODES, "b": CODES}, "no array 'c'; it has a, b"),
        ("words.npy", np.array(["a"]), "array of <U1"),
        ("objects.npy", np.array([None, {}]), "cannot be read as npy"),
        ("z.csv", b"a,b\n1,2\n1\n", "line 3: 1 columns, but the first row has 2"),
        ("z.csv", b"1,2\n1,x\n", "line 2, column 2: 'x' is not a number"),
        ("z.csv", b"a,b\n", "no rows of numbers"),
        ("z.csv", b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_reports_what_is_wrong_with_a_file(tmp_path, name, content, said):
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
