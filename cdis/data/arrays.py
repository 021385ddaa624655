"""Stand-in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def read_npy(path: Path, what: str) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path.name} cannot be read as {what} ({error})") from error


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except Exception as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error
