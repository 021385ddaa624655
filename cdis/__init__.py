"""cdis: causal disentanglement in JAX and Flax, as pure functions.

    import cdis

    run = cdis.load("runs/quickstart")       # a trained workdir: a `cdis.run.Run`
    codes = run.encode(images)["codes"]      # images: uint8 [B, H, W, C]
    probabilities = run.retrieve(x, y)       # [B, A]; run.actions names the columns

`train` trains an experiment, `evaluate` measures a workdir, `score` scores any representation.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdis.metrics import score
    from cdis.run import evaluate, load, train

__version__ = "0.4.0"
__all__ = ["evaluate", "load", "score", "train"]

# Imported when asked for, so that `import cdis` imports no JAX.
_HOMES = {
    "evaluate": "cdis.run",
    "load": "cdis.run",
    "score": "cdis.metrics",
    "train": "cdis.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cdis' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
