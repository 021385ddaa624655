"""A stage that learns nothing is stopped, at the same step after any interruption."""

import functools
import shutil

import jax.numpy as jnp
import pytest
import toy_method

from cdis.config import override, stage
from cdis.data.examples import IMAGES
from cdis.errors import UserError
from cdis.methods import diagnose
from cdis.methods.base import Diagnosis, Stage
from cdis.training import watch
from cdis.training.log import read_log
from cdis.training.loop import train
from cdis.training.watch import Watch

DEAD, POOR = Diagnosis("it is dead", "x", "y"), Diagnosis("it is poor", "x", dead=False)


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    monkeypatch.setattr(watch, "GRACE", 8)


def judged(found, *, suspected=False, warmup=0):
    """What becomes of a stage from step 100 to 140, judged at these steps: lines and the error."""
    settings = stage(steps=40, batch_size=1, learning_rate=0.1, warmup_steps=warmup)
    one = Stage("only", IMAGES, (), (), diagnose=lambda metrics: found[metrics["step"]])
    watching = Watch(one, settings, 100, suspected=suspected)
    said = []
    for step in found:
        try:
            said.append(watching.judge(step, {"step": step}, saved=104))
        except UserError as error:
            return said, str(error)
    return said, None


@pytest.mark.parametrize(
    ("found", "options", "stopped_at"),
    [
        ({104: DEAD, 108: DEAD, 112: DEAD}, {}, 112),  # the first one comes too early to count
        ({104: DEAD, 108: DEAD}, {"suspected": True}, 108),
        ({108: DEAD, 112: DEAD, 116: DEAD}, {"warmup": 12}, 116),
        ({108: DEAD, 112: None, 116: DEAD, 120: POOR, 124: DEAD}, {}, None),
        ({140: DEAD}, {}, 140),  # a stage has no other chance after its end
        ({116: POOR, 120: POOR, 124: None}, {}, None),
        ({108: None, 140: None}, {}, None),
    ],
)
def test_the_rule(found, options, stopped_at):
    said, error = judged(found, **options)
    assert not any(said)
    if stopped_at is None:
        assert error is None and len(said) == len(found)
    else:
        assert error and f"'only' was stopped at step {stopped_at}, because it is dead." in error
        assert list(found).index(stopped_at) == len(said)


def test_what_is_poor_is_said_once_at_the_end():
    said, error = judged({120: POOR, 140: POOR})
    assert error is None
    assert said == [None, "only: it is poor. This tends to happen when x."]


def test_the_sentence_says_what_to_change():
    _, error = judged({140: DEAD})
    assert error == (
        "The stage 'only' was stopped at step 140, because it is dead. This tends to happen when "
        "x: lower config.stages.only.learning_rate (now 0.1), set config.stages.only.clip_norm "
        "(now 0, which clips nothing) or y, and train into another --workdir. The checkpoint of "
        "step 104 is kept."
    )


@pytest.fixture
def watched(monkeypatch):
    """The toy method, whose first stage reports the spread of its codes and is judged by it."""
    make = toy_method.make

    def watching(config, info):
        method = make(config, info)
        first, last = method.stages
        (objective,) = first.objectives
        encode = last.precompute
        assert encode is not None

        def loss(variables, batch, context):
            value, aux = objective.loss(variables, batch, context)
            codes = encode(variables, batch["x"]["image"])["code"]
            return value, aux._replace(metrics=aux.metrics | {"spread": jnp.std(codes, 0).max()})

        first = first._replace(
            objectives=(objective._replace(loss=loss),),
            diagnose=functools.partial(diagnose.latents, remedy="do something else"),
        )
        return method._replace(stages=(first, last))

    monkeypatch.setattr(toy_method, "make", watching)


def config_of(**fields):
    config = toy_method.get_config()
    override(config, {name.replace("__", "."): value for name, value in fields.items()})
    return config


#: Weights become zeros.
DECAY = {"stages__autoencoder__weight_decay": 100.0, "stages__autoencoder__schedule": "constant"}


def numbers(workdir):
    return [
        (line["step"], line.get("loss"), "validation/loss" in line) for line in read_log(workdir)
    ]


@pytest.mark.usefixtures("watched")
def test_constant_latents_stop_at_the_same_step_after_any_interruption(tmp_path):
    """Validated at steps 8 and 16; checkpoints at 6 and 12 hold what was found before them."""
    config, lines = config_of(**DECAY), []
    message = (
        "stage 'autoencoder' was stopped at step 16, because the latents are the same for all .*"
        "The checkpoint of step 12 is kept"
    )
    for lost in (None, None, 12):  # new, started again, killed before the second checkpoint
        if lost:
            shutil.rmtree(tmp_path / "checkpoints" / str(lost))
        with pytest.raises(UserError, match=message):
            train(config, tmp_path)
        assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [6, 12]
        lines.append(numbers(tmp_path))
    assert lines[0] == lines[1] == lines[2]
    assert lines[0][-1] == (16, None, True)


@pytest.mark.usefixtures("watched")
def test_without_validation_the_lines_of_the_log_serve(tmp_path):
    with pytest.raises(UserError, match=r"stopped at step 12, .*The checkpoint of step 6 is kept"):
        train(config_of(validate_every=0, **DECAY), tmp_path)


@pytest.mark.usefixtures("watched")
def test_a_healthy_run_goes_on(tmp_path, capsys):
    config = config_of(stages__actions__steps=1)
    assert int(train(config, tmp_path).step) == 21
    assert "Warning" not in capsys.readouterr().out
