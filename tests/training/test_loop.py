"""A whole run, interrupted in every way, resumed and extended."""

import dataclasses
import json
import multiprocessing
import random
import shutil

import numpy as np
import pytest
import toy_method
from toy_runs import assert_same, contents, finish, start

from cdis.config import override
from cdis.errors import UserError
from cdis.training import checkpoint
from cdis.training import workdir as workdirs
from cdis.training.checkpoint import Checkpoints
from cdis.training.log import FILE, read_log
from cdis.training.loop import train

TOTAL = 36  # 20 steps of the first stage, 16 of the second


def changed(**fields):
    config = toy_method.get_config()
    override(config, {name.replace("__", "."): value for name, value in fields.items()})
    return config


def numbers(workdir):
    """The log without times and rates."""
    return [
        {name: x for name, x in line.items() if name not in ("time", "steps_per_second")}
        for line in read_log(workdir)
    ]


def steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_the_loss_falls_and_each_function_compiles_once(uninterrupted):
    workdir, state = uninterrupted
    assert int(state.step) == TOTAL
    # Traced, and so compiled, once for training and once for validation.
    assert toy_method.traces == ["autoencoder"] * 2 + ["actions"] * 2
    for stage in ("autoencoder", "actions"):
        losses = [
            line["validation/loss"]
            for line in read_log(workdir)
            if line["stage"] == stage and "validation/loss" in line
        ]
        assert losses == sorted(losses, reverse=True) and len(losses) > 1


@pytest.mark.slow
def test_images_fed_from_records_by_processes_give_the_same_run(uninterrupted, tmp_path, capsys):
    found = train(toy_method.get_config(), tmp_path / "run", feed="records")
    assert_same(found, uninterrupted[1])
    assert numbers(tmp_path / "run") == numbers(uninterrupted[0])
    assert "Images of toy: records" in capsys.readouterr().out
    assert not multiprocessing.active_children()


def test_a_stage_is_given_the_values_that_it_asks_for(tmp_path, monkeypatch):
    make = toy_method.make

    def asking(config, info):
        method = make(config, info)
        first, *others = method.stages

        (objective,) = first.objectives

        def loss(variables, batch, context):
            x = batch["x"]
            scalar, aux = objective.loss(variables, batch, context)
            # The toy's values are its indices.
            seen = {"least": x["values"].min(), "apart": abs(x["values"] - x["factors"]).max()}
            return scalar, aux._replace(metrics=seen | {"most": x["values"].max()})

        columns = ("image", "factors", "values")
        return method._replace(
            stages=(
                first._replace(columns=columns, objectives=(objective._replace(loss=loss),)),
                *others,
            )
        )

    monkeypatch.setattr(toy_method, "make", asking)
    fields = {"stages__autoencoder__steps": 4, "stages__actions__steps": 1, "validate_every": 0}
    train(changed(**fields), tmp_path / "run")
    seen = next(line for line in read_log(tmp_path / "run") if line["stage"] == "autoencoder")
    assert (seen["least"], seen["apart"]) == (0, 0) and seen["most"] > 2


def test_the_log_has_every_cadence_once(uninterrupted):
    workdir, _ = uninterrupted
    training = [line["step"] for line in read_log(workdir) if "loss" in line]
    validation = [line["step"] for line in read_log(workdir) if "validation/loss" in line]
    assert training == list(range(4, TOTAL + 1, 4))
    assert validation == [8, 16, 20, 24, 32, TOTAL]
    assert list(workdir.glob("events.*"))


def test_the_last_three_checkpoints_and_the_beginnings_of_stages_are_kept(uninterrupted):
    workdir, _ = uninterrupted
    assert steps(workdir) == [20, 24, 30, TOTAL]


def test_only_the_stages_parameters_train(uninterrupted):
    workdir, state = uninterrupted
    with Checkpoints(workdir) as checkpoints:
        before = checkpoints.load(20).nested_variables()["params"]
    after = state.variables["params"]
    np.testing.assert_array_equal(after["decoder"]["kernel"], before["decoder"]["kernel"])
    assert (after["encoder"]["kernel"] != before["encoder"]["kernel"]).any()
    assert not any("decoder" in name for name in checkpoint.by_path(state.optimizer))


def test_the_moving_average_is_that_of_the_batches(uninterrupted):
    _, state = uninterrupted
    assert int(state.variables["average"]["count"]) == 20 * 8


def test_restore_gives_what_training_ended_with(uninterrupted):
    workdir, state = uninterrupted
    restored = checkpoint.restore(workdir)
    assert restored.config == toy_method.get_config() and restored.info == toy_method.INFO
    assert restored.step == TOTAL
    assert_same(state.variables, restored.variables)
    assert restored.train_seconds > 0


def test_a_finished_run_says_so_and_changes_nothing(uninterrupted, capsys):
    workdir, state = uninterrupted
    before = contents(workdir / "checkpoints") | {FILE: (workdir / FILE).read_bytes()}
    assert_same(train(toy_method.get_config(), workdir), state)
    assert "is finished" in capsys.readouterr().out
    assert contents(workdir / "checkpoints") | {FILE: (workdir / FILE).read_bytes()} == before


def kill_and_resume(workdir, uninterrupted, step):
    killed = start(workdir, f"kill={step}")
    output = finish(killed)
    assert killed.returncode == -9, output
    state = train(toy_method.get_config(), workdir)
    assert_same(state, uninterrupted[1])
    assert numbers(workdir) == numbers(uninterrupted[0])


def test_sigkill_within_a_stage_on_precomputed_columns(tmp_path, uninterrupted):
    """The stage trains the encoder of its columns, which must come from step 20, not from 24."""
    kill_and_resume(tmp_path / "run", uninterrupted, 27)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1])
def test_sigkill_at_a_random_step(tmp_path, uninterrupted, stage):
    step = random.randint(1 + 20 * stage, 19 + 16 * stage)
    print(f"killed at step {step}")
    kill_and_resume(tmp_path / "run", uninterrupted, step)


def test_sigterm_saves_and_exits_with_status_0(tmp_path, uninterrupted):
    workdir = tmp_path / "run"
    ended = start(workdir, "term=9")
    output = finish(ended)
    assert ended.returncode == 0, output
    assert f"SIGTERM received: saved step 9 in {workdir}" in output
    assert steps(workdir) == [6, 9]
    seconds = checkpoint.restore(workdir).train_seconds
    assert_same(train(toy_method.get_config(), workdir), uninterrupted[1])
    assert numbers(workdir) == numbers(uninterrupted[0])
    assert checkpoint.restore(workdir).train_seconds > seconds


def test_two_objectives_resume(tmp_path, adversarial):
    config, _ = adversarial
    with config.unlocked():
        config.update(log_every=1, validate_every=0, checkpoint_every=2)
        config.stages.only.steps = 6
    expected = train(config, tmp_path / "straight")
    line = read_log(tmp_path / "straight")[0]
    assert line["loss"] > line["error"] > 0  # the sum of both losses; a metric of one

    workdir = copy_of(tmp_path / "straight", tmp_path)
    for step in (6, 4):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    assert_same(train(config, workdir), expected)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    config = changed(model__nan_at=9)
    for _ in range(2):  # the second time from the checkpoint at step 6
        with pytest.raises(UserError, match="'loss' is nan at step 10"):
            train(config, tmp_path)
        assert steps(tmp_path) == [6]
        assert all(np.isfinite(list(line.values())[3:]).all() for line in numbers(tmp_path))


def copy_of(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_is_extended_and_an_extension_resumes(tmp_path, uninterrupted, capsys):
    """Ends like a run of the longer length, whose schedule does not depend on the length here."""
    workdir, longer = copy_of(uninterrupted[0], tmp_path), changed(stages__actions__steps=28)
    expected = train(longer, tmp_path / "straight")
    capsys.readouterr()
    ended = start(workdir, "stages.actions.steps=28", "term=43")
    output = finish(ended)
    assert ended.returncode == 0 and "saved step 43" in output, output
    assert "actions: extended from 16 to 28 steps; from here on the learning rate" in output
    assert workdirs.read_config(workdir) == checkpoint.restore(workdir).config == longer
    state = train(longer, workdir)
    assert "Resuming from step 43 of 48" in (said := capsys.readouterr().out)
    assert "extended" not in said
    assert_same(state, expected)
    lines = {line["step"]: line for line in numbers(workdir) if "loss" in line}
    assert lines == {
        line["step"]: line for line in numbers(tmp_path / "straight") if "loss" in line
    }


def test_an_interrupted_run_is_extended_before_a_checkpoint_has_the_new_length(
    tmp_path, uninterrupted
):
    """The config is recorded at once; the checkpoints keep those that they were trained with."""
    workdir, longer = copy_of(uninterrupted[0], tmp_path), changed(stages__actions__steps=17)
    assert workdirs.extend(workdir, longer, ["autoencoder"]) == [("actions", 16)]
    assert checkpoint.restore(workdir).step == TOTAL
    assert int(train(longer, workdir).step) == TOTAL + 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stages__autoencoder__steps": 24}, r"'autoencoder' in .* ended after 20 steps.*to 24"),
        ({"stages__actions__steps": 12}, "stages.actions.steps: 16 there, 12 here"),
        ({"stages__actions__steps": 28, "seed": 3}, "differ in:\n  seed: 0 there, 3 here\nUse"),
    ],
)
def test_only_the_last_stage_grows(uninterrupted, fields, message):
    workdir, _ = uninterrupted
    before = contents(workdir)
    with pytest.raises(UserError, match=message):
        train(changed(**fields), workdir)
    assert contents(workdir) == before


def test_a_stage_that_none_has_followed_may_grow(tmp_path, uninterrupted):
    workdir = copy_of(uninterrupted[0], tmp_path)
    for step in (24, 30, 36):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    fields = {"stages__autoencoder__steps": 22, "stages__actions__steps": 17}
    assert int(train(changed(**fields), workdir).step) == 22 + 17
    assert 22 in steps(workdir)


def test_compilation_is_announced_and_metrics_keep_the_order_of_the_loss(tmp_path, capsys):
    train(changed(stages__autoencoder__steps=4, stages__actions__steps=4), tmp_path / "run")
    said = capsys.readouterr().out
    for stage in ("autoencoder", "actions"):
        announced = said.index(f"{stage}: compiling (a minute or so at the first start)")
        assert announced < said.index(f"{stage}: compiled in") < said.index(f"{stage} 4/4")
    line = next(line for line in read_log(tmp_path / "run") if line["stage"] == "autoencoder")
    metrics = [name for name in line if name not in ("step", "stage", "time")]
    assert metrics == ["loss", "pixel", "brightness", "gradient_norm", "steps_per_second"]


def test_a_workdir_of_version_0_1_says_so(tmp_path, uninterrupted):
    workdir = copy_of(uninterrupted[0], tmp_path)
    (workdir / workdirs.INFO).unlink()
    for use in (
        lambda: train(changed(seed=1), workdir),
        lambda: checkpoint.restore(workdir),
        lambda: workdirs.read_info(workdir),
    ):
        with pytest.raises(UserError, match=r"was trained by cdis 0\.1 .*; use that version, or"):
            use()


def test_another_config_changes_nothing(uninterrupted):
    workdir, _ = uninterrupted
    before = contents(workdir)
    config = changed(seed=1, stages__actions__learning_rate=0.5)
    with pytest.raises(UserError, match="another --workdir") as error:
        train(config, workdir)
    assert "seed: 0 there, 1 here" in str(error.value)
    assert "stages.actions.learning_rate: 0.003 there, 0.5 here" in str(error.value)
    assert contents(workdir) == before


def test_data_in_memory_take_the_place_of_those_that_the_config_names(tmp_path, uninterrupted):
    of_mine = dataclasses.replace(toy_method.INFO, name="mine")
    dataset = dataclasses.replace(toy_method.load("toy"), info=of_mine)
    state = train(toy_method.get_config(), tmp_path / "run", dataset=dataset)
    assert_same(state, uninterrupted[1])
    restored = checkpoint.restore(tmp_path / "run")
    assert restored.config.data.name == "mine" and restored.info == of_mine


def test_other_data_of_the_same_name_are_refused(uninterrupted):
    workdir, _ = uninterrupted
    before, toy = contents(workdir), toy_method.load("toy")

    def resume(**facts):
        info = dataclasses.replace(toy.info, **facts)
        return train(toy_method.get_config(), workdir, dataset=dataclasses.replace(toy, info=info))

    with pytest.raises(
        UserError, match="was trained on other data named toy: they differ in facto"
    ):
        resume(factor_names=("row", "column", "shade"))
    with pytest.raises(UserError, match="differ in count, value_mean"):
        resume(count=47, value_mean=(1.5, 1.5, 1.0))
    assert contents(workdir) == before
    # Better words and another way to say how many images there are make no other data.
    assert int(resume(description="Random images.", count=48).step) == TOTAL


def test_warnings_are_said_at_the_start(tmp_path, monkeypatch, capsys):
    make = toy_method.make
    monkeypatch.setattr(
        toy_method, "make", lambda *given: make(*given)._replace(warnings=("Too few codes.",))
    )
    train(changed(stages__autoencoder__steps=1, stages__actions__steps=1), tmp_path / "run")
    assert capsys.readouterr().out.startswith("Warning: Too few codes.\n")


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not a workdir"):
        train(toy_method.get_config(), tmp_path)
    with pytest.raises(UserError, match="not a workdir"):
        checkpoint.restore(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        train(toy_method.get_config(), tmp_path / "thesis.tex")
    assert contents(tmp_path) == {tmp_path / "thesis.tex": b"x"}


def test_two_trainings_in_one_workdir(tmp_path):
    workdirs.claim(tmp_path, toy_method.get_config(), toy_method.INFO)
    with checkpoint.locked(tmp_path), pytest.raises(UserError, match="Another process"):
        train(toy_method.get_config(), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "cdis.methods.ct_vea"}, "does not exist"),
        ({"parallel": "pmapp"}, "pmapp"),
        ({"stages__actions__steps": 0}, "at least 1"),
        ({"stages__actions__schedule": "linear"}, "linear"),
    ],
)
def test_invalid_configs_fail_before_training(tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        train(changed(**fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stage_without_settings(tmp_path):
    config = toy_method.get_config()
    with config.unlocked():
        config.stages = {"autoencoder": config.stages.autoencoder}
    with pytest.raises(UserError, match="'actions'"):
        train(config, tmp_path / "run")


def test_a_damaged_checkpoint_is_named_and_without_it_training_resumes_from_the_previous_one(
    tmp_path, uninterrupted
):
    workdir = tmp_path / "run"
    shutil.copytree(uninterrupted[0], workdir)
    shutil.rmtree(workdir / "checkpoints" / "36")
    path = workdir / "checkpoints" / "30" / "facts" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train_seconds": 0.0}))
    before = contents(workdir)
    with pytest.raises(UserError, match=r"checkpoints/30 is damaged.* Delete that directory"):
        train(toy_method.get_config(), workdir)
    assert contents(workdir) == before

    shutil.rmtree(workdir / "checkpoints" / "30")
    assert_same(train(toy_method.get_config(), workdir), uninterrupted[1])
    assert numbers(workdir) == numbers(uninterrupted[0])


def test_the_beginning_of_a_stage_is_needed_to_resume_in_it(tmp_path, uninterrupted):
    workdir = tmp_path / "run"
    shutil.copytree(uninterrupted[0], workdir)
    for step in ("20", "36"):
        shutil.rmtree(workdir / "checkpoints" / step)
    with pytest.raises(UserError, match=r"checkpoints/20 is gone.*checkpoints/24.*checkpoints/30"):
        train(toy_method.get_config(), workdir)


def test_a_checkpoint_of_another_tree(tmp_path, uninterrupted, monkeypatch):
    workdir = tmp_path / "run"
    shutil.copytree(uninterrupted[0], workdir)
    make = toy_method.make
    wider = changed(model__width=6)
    monkeypatch.setattr(toy_method, "make", lambda config, info: make(wider, info))
    with pytest.raises(UserError, match=r"does not belong.*float32\[5, 12\] there.*\[6, 12\]"):
        train(toy_method.get_config(), workdir)
