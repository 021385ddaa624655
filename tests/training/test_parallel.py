"""The three layouts agree, and several processes equal one."""

import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from toy_runs import SCRIPT, environment, finish, start

from cdis.errors import UserError
from cdis.training import checkpoint, parallel
from cdis.training.log import read_log
from cdis.training.state import by_path


@pytest.mark.parametrize("method", ["toy_method", "adversarial"])
def test_jit_pmap_and_sharding_are_equal_on_two_devices(tmp_path, method):
    """In parameters, optimisers, other statistics (a mean and a count) and metrics."""
    out = tmp_path / "results.npz"
    subprocess.run(
        [sys.executable, str(SCRIPT.with_name("layouts.py")), str(out), method],
        env=environment(XLA_FLAGS="--xla_force_host_platform_device_count=2"),
        check=True,
        timeout=240,
    )
    results = dict(np.load(out))
    paths = [name.removeprefix("jit:") for name in results if name.startswith("jit:")]
    if method == "toy_method":
        assert "state/variables/average/count" in paths and "metrics/validation/pixel" in paths
        assert results["pmap:state/variables/average/count"] == 24
    else:  # two optimisers, each with the moments of its own parameters
        moments = {path.split("/")[2] for path in paths if path.startswith("state/optimizer/")}
        assert moments == {"0", "1"}
    for path in paths:
        for layout in ("pmap", "sharding"):
            np.testing.assert_allclose(
                results[f"{layout}:{path}"],
                results[f"jit:{path}"],
                rtol=1e-5,
                atol=1e-7,
                err_msg=f"{layout}: {path}",
                strict=True,
            )


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["pmap", "sharding"])
def test_two_processes_equal_one(tmp_path, uninterrupted, layout):
    """Two processes share a workdir; a signal to one of them stops both, and both resume."""
    workdir = tmp_path / "run"

    def run(*fields):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        processes = [
            start(
                workdir,
                f"parallel={layout}",
                *(fields if number == 1 else ()),
                JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
                JAX_NUM_PROCESSES="2",
                JAX_PROCESS_ID=str(number),
            )
            for number in range(2)
        ]
        outputs = [finish(process) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
        return outputs

    speaker, silent = run("term=9")
    assert "saved step 12" in speaker  # all stop together at the next line of the log
    assert "steps/s" not in silent
    run()
    restored = checkpoint.restore(workdir)
    variables, step = restored.variables, restored.step
    assert step == 36
    expected = by_path(uninterrupted[1].variables)
    for path, array in by_path(variables).items():
        np.testing.assert_allclose(array, expected[path], rtol=1e-4, atol=1e-6, err_msg=path)
    for line, other in zip(read_log(workdir), read_log(uninterrupted[0]), strict=True):
        kind = "loss" if "loss" in other else "validation/loss"
        assert line["step"] == other["step"]
        assert line[kind] == pytest.approx(other[kind], rel=1e-4)


def test_the_launchers_variables_must_be_complete(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="JAX_PROCESS_ID"):
        parallel.initialise()
    assert not jax.distributed.is_initialized()


def test_one_device_runs_under_jit():
    assert parallel.choose("auto").name == ("jit" if jax.device_count() == 1 else "pmap")
