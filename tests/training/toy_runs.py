"""Shared by the tests of the loop."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

SCRIPT = Path(__file__).with_name("run_toy.py")


def environment(**others: str) -> dict[str, str]:
    """The environment variables of a process with one CPU device, updated by `others`."""
    here = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(SCRIPT.parents[2])}
    return os.environ | here | others


def start(workdir: Path, *fields: str, **others: str) -> subprocess.Popen:
    """Start run_toy.py in another process, with `others` in its environment."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(workdir), *fields],
        env=environment(**others),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for the end; returns the output."""
    return process.communicate(timeout=240)[0]


def assert_same(state, other) -> None:
    """Bit for bit."""
    assert jax.tree.structure(state) == jax.tree.structure(other)
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(one, two, strict=True)


def contents(directory: Path) -> dict[Path, bytes]:
    """The contents of all files in a directory, except for the lock file."""
    return {
        path: path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
