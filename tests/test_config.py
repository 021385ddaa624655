"""Configs: complete, locked, and the same after a round trip through JSON."""

from pathlib import Path

import pytest

from cdis.config import (
    common,
    differences,
    from_json,
    load_config,
    names,
    override,
    stage,
    to_json,
)
from cdis.errors import UserError

FILE = """
from cdis.config import common, stage

def get_config(variant=""):
    if variant not in ("", "short"):
        raise ValueError("only short")
    config = common()
    config.method = "smoking_method"
    config.stages.only = stage(
        steps=3 if variant == "short" else 9, batch_size=40, learning_rate=0.1, warmup_steps=5
    )
    config.model.sizes = (8, 16)
    config.model.deep = True
    return config
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "experiment.py").write_text(FILE)
    return str(tmp_path / "experiment.py")


def test_variants_and_overrides(path):
    assert load_config(path).stages.only.steps == 9
    assert load_config(path + ":short").stages.only.steps == 3
    changes = {
        "stages.only.steps": "12",
        "stages.only.learning_rate": "1",
        "stages.only.schedule": "cosine",
        "model.sizes": "(4, 4, 4)",
        "model.deep": "false",
        "seed": 7,
    }
    config = load_config(path, changes)
    assert config.stages.only.steps == 12
    assert repr(config.stages.only.learning_rate) == "1.0"
    assert config.stages.only.schedule == "cosine"
    assert config.model.sizes == (4, 4, 4)
    assert config.model.deep is False
    assert config.seed == 7


@pytest.mark.parametrize(
    "given", ["shape,hue", "shape, hue", "('shape', 'hue')", ("shape", "hue"), ["shape", "hue"]]
)
def test_a_tuple_of_names_needs_no_quotes(path, given):
    config = load_config(path, {"data.unseen": given})
    assert config.data.unseen == ("shape", "hue")
    assert from_json(to_json(config)) == config
    override(config, {"data.unseen": "shape"})
    assert config.data.unseen == ("shape",)
    override(config, {"data.unseen": "()"})
    assert config.data.unseen == ()


@pytest.mark.parametrize("variant", ["", "short"])
def test_the_smoke_variant_is_derived(path, tmp_path, monkeypatch, variant):
    """Two steps per stage, small batches and the method's own tiny settings; the rest stays."""
    (tmp_path / "smoking_method.py").write_text("make, SMOKE = None, {'model.sizes': (2,)}")
    monkeypatch.syspath_prepend(tmp_path)
    smoke = load_config(f"{path}:{variant}+smoke" if variant else f"{path}:smoke", {"seed": 7})
    expected = load_config(f"{path}:{variant}" if variant else path)
    tiny = {"steps": 2, "batch_size": 8, "warmup_steps": 1}
    changes = {f"stages.only.{field}": value for field, value in tiny.items()}
    override(expected, changes | {"model.sizes": (2,), "validation_batches": 1, "seed": 7})
    assert differences(smoke, expected) == []


def test_the_experiments_of_cdis_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "ct_vae/quickstart" in names() and "cauf_vae/pendulum" in names()
    by_name = load_config("ct_vae/quickstart")
    file = Path(__file__).parents[1] / "experiments" / "ct_vae" / "quickstart.py"
    assert by_name == load_config(str(file))
    # From another folder the path in the README still names the same experiment.
    assert by_name == load_config("experiments/ct_vae/quickstart.py")
    assert load_config("ct_vae/quickstart:oriented").data.name == "sprites2d/oriented"
    smoke = load_config("ct_vae/quickstart:oriented+smoke")
    assert {settings.steps for settings in smoke.stages.values()} == {2}


@pytest.mark.parametrize("name", ["ct_vae/quickstrt", "ct_vae/quikstart:smoke"])
def test_an_unknown_name_gets_the_nearest(name):
    with pytest.raises(UserError, match=r"did you mean 'ct_vae/quickstart'\?") as error:
        load_config(name)
    assert all(known in str(error.value) for known in names())


def test_loaded_configs_are_locked(path):
    with pytest.raises(AttributeError):
        load_config(path).sead = 1


def test_an_unknown_field_names_the_near_miss(path):
    with pytest.raises(UserError, match=r"did you mean 'stages.only.batch_size'\?"):
        load_config(path, {"stages.only.batchsize": "3"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "1.5"),
        ("seed", "x"),
        ("model.deep", "1"),
        ("model.sizes", "4"),
        ("seed", True),
        ("model.sizes", "four,5"),
        ("data.unseen", "4"),
    ],
)
def test_a_value_of_another_type(path, name, value):
    with pytest.raises(UserError, match=f"'{name}' holds"):
        load_config(path, {name: value})


def test_files_that_are_no_experiments(tmp_path, path):
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    for name, message in (
        ("missing.py", "no config file"),
        (f"{path}:shrt", "has no variant 'shrt': only short"),
        (f"{path}:shrt+smoke", "has no variant 'shrt': only short"),
        (f"{path}:short+smok", r"has no variant 'short\+smok': only short"),
        ("empty.py", "get_config"),
        ("notes.txt", "not a Python file"),
    ):
        with pytest.raises(UserError, match=message):
            load_config(str(tmp_path / name))


def test_an_experiment_that_starts_from_another(path, tmp_path):
    (tmp_path / "other.py").write_text(
        "from cdis.config import beside, override\n"
        f"base = beside(__file__, {Path(path).stem!r})\n"
        "def get_config(variant=''):\n"
        "    config = base(variant)\n"
        "    override(config, {'seed': 9})\n"
        "    return config\n"
    )
    first, other = (load_config(str(file)) for file in (path, tmp_path / "other.py"))
    assert differences(first, other) == [f"seed: {first.seed} there, 9 here"]
    with pytest.raises(UserError, match="has no variant 'shrt'"):
        load_config(f"{tmp_path}/other.py:shrt")


def test_json_gives_the_config_back(path):
    config = load_config(path)
    again = from_json(to_json(config))
    assert again == config and again.is_locked
    assert again.model.sizes == (8, 16)
    assert differences(config, again) == []
    with pytest.raises(ValueError):
        from_json("[1]")


def test_differences_name_each_field():
    first, second = common(), common()
    second.seed = 3
    second.stages.only = stage(steps=1, batch_size=2, learning_rate=0.1)
    lines = differences(first, second)
    assert "seed: 0 there, 3 here" in lines
    assert "stages.only.steps: '(no such field)' there, 1 here" in lines
    override(first, {"seed": 3})
    assert "seed: 0 there, 3 here" not in differences(first, second)
