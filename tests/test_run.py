"""The library's face: what `import cdis` costs, and a trained method on arrays."""

import dataclasses
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shade_method
from PIL import Image
from shade_method import INFO, images

import cdis
from cdis import data
from cdis.cli import main
from cdis.data.info import Dataset
from cdis.errors import UserError
from cdis.run import Run, _value_indices
from tests.methods import bars

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests/tiny_method.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return shade_method.workdir(tmp_path_factory.mktemp("runs") / "shade")


@pytest.fixture(scope="module")
def run(workdir):
    return cdis.load(workdir)


# The module


def test_import_is_quick_and_imports_neither_jax_nor_numpy():
    program = """
import sys, time
began = time.perf_counter()
import cdis
took = time.perf_counter() - began
assert not {"jax", "numpy"} & set(sys.modules)
assert set(cdis.__all__) <= set(dir(cdis))
print(took)
"""
    took = min(
        float(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT)) for _ in range(3)
    )
    assert took < 0.2


def test_the_face():
    for name in cdis.__all__:
        assert callable(getattr(cdis, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cdis.nothing  # noqa: B018  # pyright: ignore  # that is the point


def test_packages_of_the_same_name_do_not_hide_the_face():
    from cdis.training import loop

    assert cdis.train is not loop.train and isinstance(cdis.train, types.FunctionType)


# What a run is


def test_what_a_run_is(run, workdir):
    assert isinstance(run, Run)
    assert (run.workdir, run.step, run.info) == (Path(workdir), 5, INFO)
    assert run.config.method == "shade_method"
    assert run.actions == INFO.action_names == ("light+1", "shadow+1", "light-1", "shadow-1")
    assert "shade_method on shade, step 5" in repr(run)


def test_metrics(run):
    with pytest.raises(UserError, match=r"has not been evaluated.*cdis evaluate --workdir"):
        _ = run.metrics
    path = run.workdir / "metrics.json"
    try:
        path.write_text('{"step": 5}')
        assert run.metrics == {"step": 5}
        path.write_text('{"step":')
        with pytest.raises(UserError, match="is damaged"):
            _ = run.metrics
    finally:
        path.unlink()


def test_not_a_workdir(tmp_path):
    with pytest.raises(UserError, match="is not a workdir of cdis"):
        cdis.load(tmp_path)


# Arrays in, arrays out


@pytest.mark.parametrize("count", [1, 2, 128, 300])
def test_batches_of_any_size(run, count):
    lights = np.arange(count) % 200
    x = images(*lights)
    found = run.encode(x)
    assert found["vectors"].dtype == np.float32 and found["codes"].dtype == np.int32
    np.testing.assert_allclose(found["vectors"], np.stack([2 * lights, 0 * lights], 1))
    np.testing.assert_array_equal(found["codes"], lights[:, None])
    np.testing.assert_array_equal(run.decode({"vectors": found["vectors"] / 2}), x)

    action = np.arange(count) % 4
    after = run.intervene(x, action)
    assert after.dtype == np.uint8 and after.shape == x.shape
    np.testing.assert_array_equal(after, images(*(lights + action)))
    probabilities = run.retrieve(x, after)
    assert probabilities.dtype == np.float32 and probabilities.shape == (count, 4)
    np.testing.assert_array_equal(probabilities.argmax(1), action)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)

    np.testing.assert_array_equal(run.do(x, light=11), images(*(lights + 11)))
    values = 10 + np.arange(count) % 3
    np.testing.assert_array_equal(run.do(x, light=values), images(*(lights + values)))


def test_one_image_needs_no_batch_axis(run):
    (x,) = images(7)
    found = run.encode(x)
    np.testing.assert_allclose(found["vectors"], [14, 0])
    assert found["codes"].tolist() == [7]
    np.testing.assert_array_equal(run.decode({"vectors": [7.0, 0.0]}), x)
    after = run.intervene(x, "shadow+1")
    np.testing.assert_array_equal(after, images(8)[0])
    np.testing.assert_allclose(run.retrieve(x, after), [0.1, 0.7, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(run.do(x, shadow=-1), images(106)[0])


def test_steps_of_many_pairs_and_of_one(run):
    x, y = images(20, 20, 20), images(21, 32, 20)
    steps, probability = run.retrieve_steps(x, y)
    np.testing.assert_array_equal(steps, [[1, 0], [2, 1], [0, 0]])
    np.testing.assert_array_equal(probability, [0.75, 0.75, 0.75])
    np.testing.assert_array_equal(run.retrieve_steps(x, y, max_steps=2).steps[1], [0, 0])
    steps, probability = run.retrieve_steps(x[1], y[1])
    assert steps.tolist() == [2, 1] and probability == 0.75


def test_labels_for_an_encoder_that_reads_them(run):
    values = np.array([[3, 0], [4, 0]])
    np.testing.assert_allclose(run.encode(images(1, 2), values)["vectors"], [[2, 6], [4, 8]])
    np.testing.assert_allclose(run.encode(images(1)[0], [3, 0])["vectors"], [2, 6])


def test_actions_by_name_index_or_one_for_each(run):
    x = images(1, 1, 1)
    for action in ("light-1", 2, np.int64(2), ["light-1"] * 3, np.full(3, 2, np.uint8)):
        np.testing.assert_array_equal(run.intervene(x, action), images(3, 3, 3))


def test_several_actions_or_factors(run):
    x, after = images(1, 2), images(1 + 1 + 3, 2 + 1 + 3)
    for actions in (("shadow+1", "shadow-1"), (1, [3, 3]), ([[1, 3]] * 2,)):
        np.testing.assert_array_equal(run.intervene(x, *actions), after)
    np.testing.assert_array_equal(run.intervene(x, [[0, 1], [2, 3]], 1), images(3, 8))
    np.testing.assert_array_equal(run.intervene(x[0], ["shadow+1", "shadow-1"]), after[0])
    np.testing.assert_array_equal(run.do(x, light=10, shadow=[-1, -2]), images(110, 110))
    np.testing.assert_array_equal(run.do(x[0], shadow=-1, light=10), images(110)[0])


def test_both_parts_of_a_representation_in_any_order(run):
    found = run.encode(images(5, 6))
    vectors, codes = found["vectors"] / 2, found["codes"]
    for given in ({"vectors": vectors, "codes": codes}, {"codes": codes, "vectors": vectors}):
        np.testing.assert_array_equal(run.decode(given), images(5, 6))


# What is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda run: run.encode(images(1) / 255),
            r"images must be uint8 from 0 to 255 of the shape \[B, 8, 8, 1\], or \[8, 8, 1\] for "
            r"one image; it is float64 of the shape \[1, 8, 8, 1\]",
        ),
        (lambda run: run.encode(np.zeros((8, 8), np.uint8)), "images must be uint8"),
        (lambda run: run.encode(images()), "images holds no images"),
        (lambda run: run.encode(images(1), [[1.0]]), r"numbers of the shape \[1, 2\].*light, shad"),
        (lambda run: run.retrieve(images(1), images(1, 2)), "x and y must be as many images"),
        (lambda run: run.retrieve(images(1), np.zeros((1, 9, 8, 1), np.uint8)), "y must be uint8"),
        (lambda run: run.retrieve_steps(images(1), images(1, 2)), "must be as many images"),
        (lambda run: run.retrieve_steps(images(1), images(1), 0), "max_steps must be a whole"),
        (lambda run: run.retrieve_steps(images(1), images(1), width=1.5), "width must be a whole"),
        (lambda run: run.intervene(images(1), "lihgt+1"), "did you mean 'light\\+1'"),
        (lambda run: run.intervene(images(1), 4), "numbered from 0 to 3"),
        (lambda run: run.intervene(images(1), -1), "numbered from 0 to 3"),
        (lambda run: run.intervene(images(1), 0.5), "a name or an index of run.actions"),
        (lambda run: run.intervene(images(1), [0, 1]), "one for each of the 1, not an array"),
        (lambda run: run.intervene(images(1), [[0, 1], [2, 3]]), r"of the 1, or k for each"),
        (lambda run: run.intervene(images(1, 2), [[0, 1], [2]]), "as many actions as any other"),
        (lambda run: run.intervene(images(1)[0], []), "a name or an index of run.actions"),
        (lambda run: run.intervene(images(1), "light+1", "lihgt+1"), "did you mean 'light\\+1'"),
        (lambda run: run.do(images(1)), "do needs a factor and its value"),
        (lambda run: run.do(images(1), light=10, shadow=1), "shadow = 1 is out of range"),
        (lambda run: run.do(images(1), light=10, shadwo=-1), "did you mean 'shadow'"),
        (lambda run: run.do(images(1), lihgt="bright"), "no factor 'lihgt'"),
        (lambda run: run.do(images(1), lihgt=1), "no factor 'lihgt' \\(did you mean 'light'\\?\\)"),
        (lambda run: run.do(images(1), light=16.1), "light = 16.1 is out of range.*from 4 to 16"),
        (lambda run: run.do(images(1, 2), light=[10, np.nan]), "light = nan is out of range"),
        (lambda run: run.do(images(1), light=[10, 11]), "light must be one for all images"),
        (lambda run: run.do(images(1), light="bright"), "light must be a number"),
        (lambda run: run.decode({"codes": np.ones((1, 1), int)}), 'with at least "vectors"'),
        (lambda run: run.decode(np.ones((1, 2))), "A representation is a dict"),
        (lambda run: run.decode({"vectors": np.ones((1, 3))}), r"float32 of the shape \[B, 2\]"),
        (lambda run: run.decode({"vectors": np.ones((1, 2), int)}), "must be float32"),
        (lambda run: run.decode({"vectors": np.ones((0, 2))}), "one row in each part"),
    ],
)
def test_arrays_that_do_not_fit(run, call, message):
    with pytest.raises(UserError, match=message):
        call(run)


def test_values_that_have_names(run):
    info = dataclasses.replace(
        run.info, factor_sizes=(0, 2), count=9, value_names=((), ("off", "on"))
    )
    indices = _value_indices(info, "shadow", np.asarray(["on", "off", "on"]))
    assert indices.tolist() == [1, 0, 1]
    assert _value_indices(info, "light", np.asarray("on")) == "on"  # no number: refused later
    with pytest.raises(UserError, match=r"shadow has no value 'of' \(did you mean 'off'\?\)"):
        _value_indices(info, "shadow", np.asarray("of"))


def test_what_a_method_cannot_do(tmp_path):
    run = cdis.load(shade_method.workdir(tmp_path / "mute", mute=True))
    x = images(1)
    for call in (
        lambda: run.encode(x),
        lambda: run.decode({"vectors": np.ones((1, 2))}),
        lambda: run.retrieve(x, x),
        lambda: run.retrieve_steps(x, x),
        lambda: run.intervene(x, 0),
        lambda: run.do(x, light=10),
        lambda: run.sample(1),
    ):
        with pytest.raises(UserError, match="cannot"):
            call()


# Train and evaluate


def test_train_gives_a_run_and_evaluate_takes_it(tmp_path, monkeypatch):
    data_dir = str(tmp_path / "data")
    data.prepare("sprites2d/coloured", data_dir)
    overrides = {"stages.only.steps": 3}
    run = cdis.train(TINY, tmp_path / "run", data_dir, overrides=overrides)
    assert run.step == 3 and run.info == data.info("sprites2d/coloured")
    # The same by a config, which is left as it was: there is nothing more to do.
    again = cdis.train(run.config, tmp_path / "run", data_dir)
    assert again.step == 3 and run.config.is_locked

    called = []

    def evaluate(*arguments, progress, dataset, mechanism):
        assert dataset is mechanism is None
        called.append(arguments)
        return {"step": 3}

    measure = types.ModuleType("cdis.measure")
    monkeypatch.setattr(measure, "evaluate", evaluate, raising=False)
    monkeypatch.setitem(sys.modules, "cdis.measure", measure)
    for given in (run, tmp_path / "run"):
        assert cdis.evaluate(given, data_dir) == {"step": 3}
    assert called == [(tmp_path / "run", data_dir)] * 2


def _of_ones_own() -> Dataset:
    """Bars of 16 x 13 pixels; whether the second is tall is binary, and labels are missing."""
    values = bars.VALUES.copy()
    values[:, 1] = values[:, 1] > 5
    mean, std = values.mean(0), values.std(0)
    values[::4, 0] = values[::6, 2] = np.nan
    info = dataclasses.replace(
        bars.INFO,
        name="own",
        factor_names=("left", "tall", "sum"),
        factor_sizes=(0, 2, 0),
        image_shape=(16, 13, 1),
        value_mean=tuple(mean.tolist()),
        value_std=tuple(std.tolist()),
        partly_labelled=True,
    )
    index = np.arange(64)
    splits = {"train": index[:48], "validation": index[48:56], "test": index[56:]}
    return Dataset(info, bars.IMAGES[:, :, :13], np.zeros((64, 3), np.int32), splits, values)


def test_what_was_trained_on_data_in_memory_works_in_any_folder(tmp_path, monkeypatch):
    dataset, before, after = _of_ones_own(), tmp_path / "before.png", tmp_path / "after.png"
    overrides = {f"stages.{stage}.steps": 1 for stage in ("flow", "images")}
    monkeypatch.chdir(tmp_path)
    trained = cdis.train("cauf_vae/pendulum_cpu:smoke", "run", overrides=overrides, dataset=dataset)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = cdis.load("../run")
    assert run.info == trained.info == dataset.info and run.config.data.name == "own"
    assert run.config.model.autoencoder.patch == 1
    x = dataset.images[0]
    Image.fromarray(x[:, :, 0]).save(before)
    for name, value in (("tall", 1), ("left", 7.5)):
        changed = run.do(x, **{name: value})
        assert changed.shape == x.shape
        arguments = [str(before), "--workdir", "../run", "--out", str(after), "--overwrite"]
        assert main(["intervene", *arguments, "--do", f"{name}={value}"]) == 0
        np.testing.assert_array_equal(np.asarray(Image.open(after))[..., None], changed)
    with pytest.raises(UserError, match=r"tall = 1.5 is out of range.* from 0 to 1, between"):
        run.do(x, tall=1.5)


def test_what_is_no_data_set_is_refused(tmp_path, workdir):
    arrays: Any = (np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 1)))
    with pytest.raises(UserError, match=r"must be a cdis.data.Dataset, .*, not tuple"):
        cdis.train(TINY, tmp_path / "run", dataset=arrays)
    with pytest.raises(UserError, match=r"must be a cdis.data.Dataset, .*, not tuple"):
        cdis.evaluate(workdir, dataset=arrays)


# Compiled programs

PROGRAM = """
import sys
import cdis
sys.path.insert(0, "tests")
from shade_method import images
import jax
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.split("/")[-1]))
import cdis.compiled
cdis.compiled._MIN_SECONDS = 0
run = cdis.load(sys.argv[1])
print(run.encode(images(1, 2))["vectors"].tolist(), events.count("cache_hits"))
"""


def _encode(workdir, cache):
    environment = os.environ | {"CDIS_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, workdir],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    vectors, _, hits = done.stdout.strip().rpartition(" ")
    return json.loads(vectors), int(hits)


def test_programs_are_kept_for_the_next_process(workdir, tmp_path):
    expected = [[2, 0], [4, 0]]
    cache = tmp_path / "cache"
    assert _encode(workdir, cache) == (expected, 0)
    (folder,) = cache.iterdir()
    assert folder.stat().st_mode & 0o077 == 0 and list(folder.iterdir())
    vectors, hits = _encode(workdir, cache)
    assert vectors == expected and hits > 0
    for path in folder.iterdir():  # as a full disk would leave it
        path.write_bytes(path.read_bytes()[:20])
    assert _encode(workdir, cache) == (expected, 0)


def test_a_cache_that_cannot_be_used_is_done_without(workdir, tmp_path):
    (tmp_path / "file").write_text("")
    assert _encode(workdir, tmp_path / "file") == ([[2, 0], [4, 0]], 0)


def test_a_cache_that_fills_up_is_cut_down(tmp_path, monkeypatch):
    from cdis import compiled

    monkeypatch.setattr(compiled, "_MAX_BYTES", 250)
    for age, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(b"-" * 100)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    compiled._cut_down(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
