"""What checkpoints survive, and the messages for damage that they do not."""

import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import toy_method
from toy_runs import SCRIPT, assert_same, contents, environment

from cdis.config import to_json
from cdis.errors import UserError
from cdis.training.checkpoint import Checkpoints, restore
from cdis.training.state import State
from cdis.training.workdir import CONFIG, INFO, claim, read_config


def state(value=0.0):
    array = np.full((64, 64), value, np.float32)
    return State({"params": {"a": {"b": array}}}, {"m": array}, np.int32(0))


def facts(step, **others):
    config = toy_method.get_config().to_dict()
    return {"step": step, "train_seconds": 1.5, "config": config} | others


@pytest.fixture
def workdir(tmp_path):
    """With checkpoints 1 and 2."""
    claim(tmp_path / "run", toy_method.get_config(), toy_method.INFO)
    with Checkpoints(tmp_path / "run") as checkpoints:
        for step in (1, 2):
            checkpoints.save(state(step), facts(step))
    return tmp_path / "run"


def test_every_damaged_file_is_noticed_or_does_not_matter(workdir, tmp_path):
    """Each file is cut short, emptied, removed or has one byte changed."""
    good = restore(workdir).variables
    with Checkpoints(workdir) as checkpoints:
        trained = checkpoints.load(2)
    latest = workdir / "checkpoints" / "2"
    whole = tmp_path / "whole"
    shutil.copytree(latest, whole)
    noticed, noticed_in_training = set(), set()
    for path in sorted(path for path in whole.rglob("*") if path.is_file()):
        content = path.read_bytes()
        middle = len(content) // 2
        flipped = bytearray(content or b"\0")
        flipped[middle] ^= 0xFF
        for damaged in (content[:middle], b"", None, bytes(flipped)):
            shutil.rmtree(latest)
            shutil.copytree(whole, latest)
            target = latest / path.relative_to(whole)
            if damaged is None:
                target.unlink()
            else:
                target.write_bytes(damaged)
            try:
                restored = restore(workdir)
            except UserError as error:
                noticed.add(path.relative_to(whole).parts[0])
                assert f"{latest} is damaged" in str(error)
                assert "Delete that directory" in str(error)
            else:
                assert restored.step == 2
                assert_same(restored.variables, good)
            try:
                with Checkpoints(workdir) as checkpoints:
                    loaded = checkpoints.load(2)
            except UserError:
                noticed_in_training.add(path.relative_to(whole).parts[0])
            else:
                assert_same(loaded, trained)
    assert {"facts", "variables"} <= noticed and "optimizer" not in noticed
    assert {"facts", "variables", "optimizer"} <= noticed_in_training


def test_a_checkpoint_with_a_missing_part(workdir):
    shutil.rmtree(workdir / "checkpoints" / "2" / "variables")
    with pytest.raises(UserError, match="checkpoints/2 is damaged"):
        restore(workdir)


def test_a_checkpoint_of_another_config(workdir):
    other = toy_method.get_config()
    other.seed = 5
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(state(), facts(3, config=other.to_dict()))
    with pytest.raises(UserError, match=r"foreign.*seed: 5 there, 0 here"):
        restore(workdir)


def test_no_checkpoint_yet(tmp_path):
    claim(tmp_path, toy_method.get_config(), toy_method.INFO)
    with pytest.raises(UserError, match="no checkpoint yet"):
        restore(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [CONFIG, INFO]


def test_a_config_cut_short(tmp_path):
    (tmp_path / CONFIG).write_text(to_json(toy_method.get_config())[:100])
    with pytest.raises(UserError, match="is damaged"):
        read_config(tmp_path)


def test_a_state_that_is_not_finite_is_not_saved(workdir):
    with Checkpoints(workdir) as checkpoints:
        with pytest.raises(UserError, match="'params/a/b' is no longer finite"):
            checkpoints.save(state(np.inf), facts(3))
        assert checkpoints.latest() == 2


def test_a_full_disk_keeps_the_last_checkpoint(workdir):
    """Simulated by a limit on file sizes, at which writers fail in the same way."""
    before = contents(workdir)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    with Checkpoints(workdir) as checkpoints:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            with pytest.raises(UserError, match="is full"):
                checkpoints.save(state()._replace(variables={"params": noise}), facts(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert contents(workdir) == before
        assert checkpoints.latest() == 2


def _can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not _can_mount(), reason="needs a user namespace to mount a small disk")
def test_a_disk_that_is_really_full(tmp_path):
    """Training stops on a disk of 500 KiB, and finishes once the disk is larger."""
    run = f"{sys.executable} {SCRIPT} {tmp_path}/disk/run"
    script = f"""
        mkdir {tmp_path}/disk && mount -t tmpfs -o size=500k none {tmp_path}/disk
        {run}; echo "status $?"
        ls {tmp_path}/disk/run/checkpoints
        mount -o remount,size=8m {tmp_path}/disk
        {run}; echo "status $?"
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.split("status 1")
    assert "steps/s" in first
    assert "UserError: The disk that holds" in done.stderr and "is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Resuming from step" in second and "status 0" in second
