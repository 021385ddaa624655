"""Configs: complete, locked, and the same after a round trip through JSON."""

from pathlib import Path

import pytest

from cdis.config import common, differences, from_json, load_config, override, stage, to_json
from cdis.errors import UserError

FILE = """
from cdis.config import common, stage

def get_config(variant=""):
    if variant not in ("", "smoke"):
        raise ValueError("only smoke")
    config = common()
    config.stages.only = stage(steps=2 if variant == "smoke" else 9, batch_size=4, learning_rate=.1)
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
    assert load_config(path + ":smoke").stages.only.steps == 2
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


def test_loaded_configs_are_locked(path):
    with pytest.raises(AttributeError):
        load_config(path).sead = 1


def test_an_unknown_field_names_the_near_miss(path):
    with pytest.raises(UserError, match=r"did you mean 'stages.only.batch_size'\?"):
        load_config(path, {"stages.only.batchsize": "3"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", "1.5"), ("seed", "x"), ("model.deep", "1"), ("model.sizes", "4"), ("seed", True)],
)
def test_a_value_of_another_type(path, name, value):
    with pytest.raises(UserError, match=f"'{name}' holds"):
        load_config(path, {name: value})


def test_files_that_are_no_experiments(tmp_path, path):
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    for name, message in (
        ("missing.py", "no config file"),
        (f"{path}:smok", "cannot give its variant 'smok': only smoke"),
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
    with pytest.raises(UserError, match="cannot give its variant 'smok'"):
        load_config(f"{tmp_path}/other.py:smok")


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
