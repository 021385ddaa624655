"""Compiled programs that outlive the process: the second start of a command compiles nothing.

JAX keeps compiled programs in a folder, each under a hash of its source, the compiler and its
options. A program from there is the one that would be compiled, so results do not depend on it.
"""

import functools
import hashlib
import os
import platform
import warnings
from pathlib import Path

#: Programs that compile faster than this are not kept.
_MIN_SECONDS = 0.1
#: Size to which a folder is cut down, oldest programs first, before new ones are added.
_MAX_BYTES = 2**30


def folder() -> Path | None:
    """Where compiled programs are kept, one folder for each kind of processor.

    It is in ``$CDIS_CACHE_DIR``, else in ``$XDG_CACHE_HOME/cdis``, else in ``~/.cache/cdis``. None
    if ``CDIS_CACHE_DIR`` is empty, which turns the cache off, or if there is no home directory.
    """
    chosen = os.environ.get("CDIS_CACHE_DIR")
    if chosen is None:
        shared = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        chosen = os.path.join(shared, "cdis")
    path = Path(chosen).expanduser() if chosen else None
    return path / f"compiled-{_processor()}" if path is not None and path.is_absolute() else None


@functools.cache
def keep_compiled_programs() -> None:
    """Let JAX keep the programs that it compiles from now on in `folder()`.

    Does nothing if the user has given JAX a folder (``JAX_COMPILATION_CACHE_DIR``). A folder that
    cannot be read or written never stops a run: programs are compiled as if there were none.
    """
    import jax

    path = folder()
    if path is None or jax.config.values.get("jax_compilation_cache_dir"):
        return
    try:
        # Nobody else may write here: programs are run as they are found.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _cut_down(path)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_SECONDS)
    # XLA's own caches, unlike JAX's, can fail a run when their folder cannot be written.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def _processor() -> str:
    """A hash of what the processor can do: programs for one may crash on another."""
    features = platform.machine() + platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:  # not Linux
        pass
    return hashlib.sha256(features.encode()).hexdigest()[:12]


def _cut_down(path: Path) -> None:
    """Delete the oldest programs until the folder is no larger than `_MAX_BYTES`."""
    found = [(entry, entry.stat()) for entry in os.scandir(path) if entry.is_file()]
    total = sum(stat.st_size for _, stat in found)
    for entry, stat in sorted(found, key=lambda pair: pair[1].st_mtime):
        if total <= _MAX_BYTES:
            return
        Path(entry).unlink(missing_ok=True)
        total -= stat.st_size
