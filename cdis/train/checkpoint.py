"""Workdirs and checkpoints: what is kept of a run, and every way in which it can be unusable.

A checkpoint holds the variables, the optimiser's state and a JSON object (step, position in the
data, seconds trained, config, and a digest of all of it). Orbax writes each into a temporary
directory and renames it when whole, so that a killed or failed save leaves the ones before it as
they were. Only the first process writes; all of them read.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from cdis.config import differences, from_json, to_json
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.files import write_bytes
from cdis.methods.base import Variables
from cdis.train import parallel
from cdis.train.state import Flat, State, by_path

CONFIG = "config.json"
INFO = "info.json"
CHECKPOINTS = "checkpoints"
KEPT = 3
#: What Orbax writes beside the arrays, measured: 100 KiB of files of its own and 2 KiB per array;
#: twice that, for what it writes meanwhile and removes again.
_OVERHEAD, _OVERHEAD_PER_ARRAY = 200 * 1024, 4 * 1024
#: The disk is full, or the user's share of it, or a file may grow no more.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Saved(NamedTuple):
    """A checkpoint as read: NumPy arrays by path, and the JSON object beside them."""

    path: Path
    variables: Flat
    optimizer: Flat
    facts: dict[str, Any]

    def nested_variables(self) -> Variables:
        return unflatten_dict(self.variables, sep="/")


class Checkpoints:
    """The checkpoints of a workdir; the last three and those of `keep` stay.

    A context manager. Raises `UserError` if `workdir` has no config: see `claim`.
    """

    def __init__(self, workdir: str | os.PathLike, keep: tuple[int, ...] = ()):
        self._config = read_config(workdir)
        self._directory = Path(workdir).absolute() / CHECKPOINTS
        self._directory.mkdir(parents=True, exist_ok=True)
        me = jax.process_index()
        self._manager = ocp.CheckpointManager(
            self._directory,
            item_handlers={
                "variables": ocp.StandardCheckpointHandler(),
                "optimizer": ocp.StandardCheckpointHandler(),
                "facts": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                create=False,
                enable_async_checkpointing=False,
                save_root_metadata=False,
                preservation_policy=preservation_policy.AnyPreservationPolicy(
                    [
                        preservation_policy.LatestN(KEPT),
                        preservation_policy.CustomSteps(list(keep)),
                    ]
                ),
                # Every process for itself: one writes, the others only read.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
                ),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """Step of the newest checkpoint, damaged or not."""
        return self._manager.latest_step()

    def save(self, state: State, facts: dict[str, Any]) -> None:
        """Write a checkpoint; `facts` must hold "step" and be JSON.

        Raises `UserError` if the disk is full or an array is not finite; what was there stays.
        """
        if not parallel.is_primary():
            return
        variables, optimizer = (
            {path: np.asarray(leaf) for path, leaf in by_path(tree).items()}
            for tree in (state.variables, state.optimizer)
        )
        _check_finite(variables | optimizer, facts["step"])
        facts = facts | {
            "arrays": {"variables": _shapes(variables), "optimizer": _shapes(optimizer)}
        }
        facts["digest"] = _digest(variables, optimizer, facts)
        # Looked at beforehand because Orbax's threads print tracebacks of their own when they fail.
        if shutil.disk_usage(self._directory).free < _bytes_needed(variables, optimizer):
            raise _disk_full(self._directory)
        try:
            self._manager.save(
                facts["step"],
                args=ocp.args.Composite(
                    variables=ocp.args.StandardSave(variables),
                    optimizer=ocp.args.StandardSave(optimizer),
                    facts=ocp.args.JsonSave(facts),
                ),
            )
        except Exception as error:
            _remove_leftovers(self._directory)
            if _is_disk_full(error):
                raise _disk_full(self._directory) from error
            raise

    def load(self, step: int) -> Saved:
        """Read a checkpoint and check it against its digest.

        Raises `UserError` if it is missing, truncated, corrupted, not of cdis or of another config.
        """
        path = self._directory / str(step)
        if step not in self._manager.all_steps():
            later = [
                str(self._directory / str(other))
                for other in self._manager.all_steps()
                if other > step
            ]
            raise UserError(
                f"The checkpoint {path} is gone, and with it what the present stage of training "
                f"began with. Delete the later ones too ({', '.join(later)}) and run `cdis train` "
                "again, to resume from the last that is left before it. Nothing was changed."
            )
        try:
            facts = self._manager.restore(
                step, args=ocp.args.Composite(facts=ocp.args.JsonRestore())
            )["facts"]
            empty = {
                item: {
                    name: np.empty(shape, jax.numpy.dtype(dtype))
                    for name, (dtype, shape) in facts["arrays"][item].items()
                }
                for item in ("variables", "optimizer")
            }
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    **{item: ocp.args.StandardRestore(tree) for item, tree in empty.items()}
                ),
            )
            variables, optimizer = restored["variables"], restored["optimizer"]
            whole = facts["digest"] == _digest(variables, optimizer, facts)
        except Exception as error:  # whatever the bytes on the disk make the readers stumble over
            raise _damaged(path, str(error)) from error
        if not whole:
            raise _damaged(path, "its contents do not match their digest")
        changed = differences(from_json(json.dumps(facts["config"])), self._config)
        if changed:
            raise UserError(
                f"The checkpoint {path} is foreign: it was trained with another config than "
                f"{self._directory.parent / CONFIG} says ({'; '.join(changed)}). Delete that "
                "directory and run `cdis train` again to resume from the checkpoint before it."
            )
        return Saved(path, variables, optimizer, facts)


class Restored(NamedTuple):
    """What a workdir's newest checkpoint holds."""

    config: ConfigDict
    info: Info  #: of the data set that was trained on
    variables: Variables  #: NumPy arrays
    step: int  #: over all stages
    train_seconds: float  #: over all resumptions, compilation included


def restore(workdir: str | os.PathLike) -> Restored:
    """The newest checkpoint of a workdir and what it was trained on; read and checked once.

    Raises `UserError` if the directory is no workdir, has no checkpoint yet or a damaged one.
    """
    config, info, saved = read_config(workdir), read_info(workdir), _newest(workdir)
    facts = saved.facts
    return Restored(
        config, info, saved.nested_variables(), facts["step"], float(facts["train_seconds"])
    )


def claim(workdir: str | os.PathLike, config: ConfigDict, info: Info) -> None:
    """Make `workdir` the workdir of `config`, on the data of `info`, or see that it is so already.

    Raises `UserError` if it belongs to another config or holds something else.
    """
    workdir = Path(workdir)
    if (workdir / CONFIG).exists():
        changed = differences(read_config(workdir), config)
        if changed:
            raise UserError(
                f"{workdir} was trained with another config, which differs in:\n  "
                + "\n  ".join(changed)
                + "\nUse another --workdir for this config, or the old config to go on here. "
                "Nothing was changed."
            )
        return
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file; give --workdir a directory, which may be new.")
    if workdir.is_dir() and any(not entry.name.startswith(".") for entry in workdir.iterdir()):
        raise UserError(
            f"{workdir} is not empty and is not a workdir of cdis (it has no {CONFIG}). "
            "Use another --workdir, new or empty. Nothing was changed."
        )
    if parallel.is_primary():
        # The config comes last: a directory that has one is a workdir.
        write_bytes(workdir / INFO, (info.to_json() + "\n").encode())
        write_bytes(workdir / CONFIG, (to_json(config) + "\n").encode())


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[None]:
    """Let nobody else train in `workdir` meanwhile; a killed process holds no lock.

    Removes what a save that was killed left behind. Raises `UserError` if it is locked already.
    """
    if not parallel.is_primary():
        yield
        return
    with open(Path(workdir) / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another process is training in {workdir}. Wait until it has ended, or use "
                "another --workdir."
            ) from None
        _remove_leftovers(Path(workdir) / CHECKPOINTS)
        yield


def read_config(workdir: str | os.PathLike) -> ConfigDict:
    """The config that a workdir was trained with. Raises `UserError` if there is none."""
    path = Path(workdir) / CONFIG
    if not path.is_file():
        raise UserError(
            f"{workdir} is not a workdir of cdis: it has no {CONFIG}. Give the --workdir of an "
            "earlier `cdis train`, or train one first."
        )
    try:
        return from_json(path.read_text())
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}), so it cannot be told what was trained here. Restore it "
            "from a copy, or train again into another --workdir."
        ) from error


def read_info(workdir: str | os.PathLike) -> Info:
    """What the data set that a workdir was trained on is; the data set itself may be gone.

    Raises `UserError` if the directory is no workdir, or info.json is missing or damaged.
    """
    read_config(workdir)
    path = Path(workdir) / INFO
    try:
        return Info.from_json(path.read_text())
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}), so what was trained on is not known. Workdirs of "
            "cdis 0.1 have no such file: use that version for them, or train again."
        ) from error


def match(saved: Saved, template: State) -> State:
    """The state of `saved`, in the shape of `template` (arrays or `jax.ShapeDtypeStruct`).

    Raises `UserError` if the checkpoint holds other arrays than the template: it is foreign.
    """
    trees = {}
    for item in ("variables", "optimizer"):
        found, tree = getattr(saved, item), getattr(template, item)
        wanted, there = _shapes(by_path(tree)), _shapes(found)
        for name in wanted | there:
            if wanted.get(name) != there.get(name):
                raise UserError(
                    f"The checkpoint {saved.path} does not belong to this method: {name!r} of its "
                    f"{item} is {_spell(there.get(name))} there, but {_spell(wanted.get(name))} is "
                    "needed. Go on with the version of the program that trained it, or train "
                    "again into another --workdir. Nothing was changed."
                )
        leaves = [found[name] for name in by_path(tree)]
        trees[item] = jax.tree.unflatten(jax.tree.structure(tree), leaves)
    return State(trees["variables"], trees["optimizer"], np.int32(saved.facts["step"]))


@contextlib.contextmanager
def full_disk_is_the_users(workdir: str | os.PathLike) -> Iterator[None]:
    """Turn "no space left on device" into a `UserError`."""
    try:
        yield
    except OSError as error:
        if _is_disk_full(error):
            raise _disk_full(workdir) from error
        raise


def _newest(workdir: str | os.PathLike) -> Saved:
    if (Path(workdir) / CHECKPOINTS).is_dir():
        with Checkpoints(workdir) as checkpoints:
            step = checkpoints.latest()
            if step is not None:
                return checkpoints.load(step)
    raise UserError(
        f"{workdir} has no checkpoint yet: training stopped before the first one was written. Run "
        "`cdis train` with the same config and --workdir again."
    )


def _remove_leftovers(directory: Path) -> None:
    for leftover in directory.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _shapes(flat: Flat) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(leaf.dtype), tuple(leaf.shape)) for name, leaf in flat.items()}


def _bytes_needed(*trees: Flat) -> int:
    """What a checkpoint takes on the disk at most."""
    return _OVERHEAD + sum(
        leaf.nbytes + _OVERHEAD_PER_ARRAY for flat in trees for leaf in flat.values()
    )


def _spell(shape: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if shape is None else f"{shape[0]}{list(shape[1])}"


def _digest(variables: Flat, optimizer: Flat, facts: dict[str, Any]) -> str:
    """SHA-256 over all arrays and facts but the digest itself."""
    total = hashlib.sha256()
    others = {name: value for name, value in facts.items() if name != "digest"}
    total.update(json.dumps(others, sort_keys=True).encode())
    for flat in (variables, optimizer):
        for name in sorted(flat):
            total.update(name.encode())
            total.update(np.ascontiguousarray(flat[name]).tobytes())
    return total.hexdigest()


def _check_finite(arrays: Flat, step: int) -> None:
    for name, array in arrays.items():
        floating = jax.numpy.issubdtype(array.dtype, jax.numpy.floating)
        if floating and not np.isfinite(array.astype(np.float32)).all():
            raise UserError(
                f"After step {step} {name!r} is no longer finite, so the state was not saved; the "
                "checkpoint before it is kept. Lower the learning rate or set clip_norm, and train "
                "into another --workdir."
            )


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"The checkpoint {path} is damaged, or not of cdis ({' '.join(why.split())[:200]}). Delete "
        "that directory and run `cdis train` again: training resumes from the checkpoint before "
        "it, or from the beginning if there is none. Nothing was changed."
    )


def _is_disk_full(error: BaseException) -> bool:
    """Orbax's writers wrap the operating system's error; its text survives."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(os.strerror(code).lower() in str(error).lower() for code in _FULL):
            return True
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # None ends it
    return False


def _disk_full(place: str | os.PathLike) -> UserError:
    return UserError(
        f"The disk that holds {place} is full. The last checkpoint there is kept; free some space "
        "and run the same command again to go on from it."
    )
