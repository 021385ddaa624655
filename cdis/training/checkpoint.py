"""Checkpoints, with a clear error for every way in which one can be unusable.

A checkpoint holds the variables, the optimiser's state and a JSON object (step, position in the
data, seconds trained, config, and digests of everything). Orbax writes each one into a temporary
directory and renames it once complete, so a killed or failed save leaves earlier ones intact. Only
the first process writes; all of them read.
"""

import contextlib
import errno
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

from cdis import files
from cdis.config import from_json
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods.base import Variables
from cdis.training import parallel
from cdis.training.state import Flat, State, by_path
from cdis.training.workdir import CONFIG, read_config, read_info, unlike

CHECKPOINTS = "checkpoints"
KEPT = 3
#: Groups of arrays in a checkpoint, and fields of `State`.
ITEMS = ("variables", "optimizer")
#: Bytes that Orbax writes beside the arrays. Measured: 100 KiB, and 2 KiB per array; doubled here,
#: since it also writes temporary files.
_OVERHEAD, _OVERHEAD_PER_ARRAY = 200 * 1024, 4 * 1024
#: The disk is full, the user's quota is used up, or the file size limit is reached.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Saved(NamedTuple):
    """A checkpoint in memory: NumPy arrays by path, and the JSON object."""

    path: Path
    variables: Flat
    optimizer: Flat  #: empty if it was not read
    facts: dict[str, Any]

    def nested_variables(self) -> Variables:
        return unflatten_dict(self.variables, sep="/")


class Checkpoints:
    """The checkpoints of a workdir; the last three are kept, and those of the steps `keep`.

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
                # No process waits for another: one writes, the others only read.
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
        """Write a checkpoint; `facts` is a JSON object with "step".

        Raises `UserError` if the disk is full or an array is not finite; earlier ones are kept.
        """
        if not parallel.is_primary():
            return
        arrays = {
            item: {path: np.asarray(leaf) for path, leaf in by_path(getattr(state, item)).items()}
            for item in ITEMS
        }
        _check_finite(arrays["variables"] | arrays["optimizer"], facts["step"])
        facts = facts | {
            "arrays": {item: _shapes(flat) for item, flat in arrays.items()},
            "digests": {item: _digest(flat) for item, flat in arrays.items()},
        }
        facts["digest"] = _digest_of_facts(facts)
        # Checked first, because Orbax's threads print tracebacks when they fail.
        if shutil.disk_usage(self._directory).free < _bytes_needed(*arrays.values()):
            raise _disk_full(self._directory)
        try:
            self._manager.save(
                facts["step"],
                args=ocp.args.Composite(
                    facts=ocp.args.JsonSave(facts),
                    **{item: ocp.args.StandardSave(flat) for item, flat in arrays.items()},
                ),
            )
        except Exception as error:
            _remove_leftovers(self._directory)
            if _is_disk_full(error):
                raise _disk_full(self._directory) from error
            raise

    def load(self, step: int, items: tuple[str, ...] = ITEMS) -> Saved:
        """Read a checkpoint, or some `items` of it, and check them against their digests.

        Raises `UserError` if it is missing, damaged, not written by cdis or of another config.
        """
        path = self._directory / str(step)
        if step not in self._manager.all_steps():
            later = [
                str(self._directory / str(other))
                for other in self._manager.all_steps()
                if other > step
            ]
            raise UserError(
                f"The checkpoint {path} is gone. The current stage of training began with it and "
                f"cannot be resumed without it. Delete the later ones too ({', '.join(later)}) and "
                "run `cdis train` again to resume from an earlier one. Nothing was changed."
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
                for item in items
            }
            arrays = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    **{item: ocp.args.StandardRestore(tree) for item, tree in empty.items()}
                ),
            )
            whole = facts["digest"] == _digest_of_facts(facts) and all(
                facts["digests"][item] == _digest(arrays[item]) for item in items
            )
        except Exception as error:  # damaged files make the readers raise all kinds of errors
            raise _damaged(path, str(error)) from error
        if not whole:
            raise _damaged(path, "its contents do not match their digest")
        changed = unlike(from_json(json.dumps(facts["config"])), self._config)
        if changed:
            raise UserError(
                f"The checkpoint {path} is foreign: its config differs from "
                f"{self._directory.parent / CONFIG} ({'; '.join(changed)}). Delete that "
                "directory and run `cdis train` again to resume from the previous checkpoint."
            )
        flat = {item: arrays[item] if item in items else {} for item in ITEMS}
        return Saved(path, **flat, facts=facts)


class Restored(NamedTuple):
    """A workdir's newest checkpoint."""

    config: ConfigDict
    info: Info  #: of the data set that was trained on
    variables: Variables  #: NumPy arrays
    step: int  #: counted over all stages
    train_seconds: float  #: summed over all resumptions, with compilation


def restore(workdir: str | os.PathLike) -> Restored:
    """Read the newest checkpoint of a workdir, its config and the facts about its data set.

    The optimiser's state is not read. Raises `UserError` if the directory is not a workdir, has no
    checkpoint, or has a damaged one.
    """
    config, info, saved = read_config(workdir), read_info(workdir), _newest(workdir)
    facts = saved.facts
    return Restored(
        config, info, saved.nested_variables(), facts["step"], float(facts["train_seconds"])
    )


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[None]:
    """Keep other processes from training in `workdir`; the lock ends with the process.

    Removes what a killed save left behind. Raises `UserError` if another process holds the lock.
    """
    if not parallel.is_primary():
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(Path(workdir) / ".lock", wait=False))
        except BlockingIOError:
            raise UserError(
                f"Another process is training in {workdir}. Wait until it has ended, or use "
                "another --workdir."
            ) from None
        _remove_leftovers(Path(workdir) / CHECKPOINTS)
        yield


def match(saved: Saved, template: State) -> State:
    """The state of `saved`, as a tree like `template` (of arrays or `jax.ShapeDtypeStruct`).

    Raises `UserError` if the arrays of the checkpoint do not have the template's shapes.
    """
    trees = {}
    for item in ITEMS:
        found, tree = getattr(saved, item), getattr(template, item)
        wanted, there = _shapes(by_path(tree)), _shapes(found)
        for name in wanted | there:
            if wanted.get(name) != there.get(name):
                raise UserError(
                    f"The checkpoint {saved.path} does not belong to this method: {name!r} of its "
                    f"{item} is {_spell(there.get(name))} there, but {_spell(wanted.get(name))} is "
                    "needed. Use the version of the program that trained it, or train again "
                    "into another --workdir. Nothing was changed."
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
                return checkpoints.load(step, ("variables",))
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
    """An upper bound on the size of a checkpoint on the disk."""
    return _OVERHEAD + sum(
        leaf.nbytes + _OVERHEAD_PER_ARRAY for flat in trees for leaf in flat.values()
    )


def _spell(shape: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if shape is None else f"{shape[0]}{list(shape[1])}"


def _digest(flat: Flat) -> str:
    """SHA-256 over the names and values of arrays."""
    total = hashlib.sha256()
    for name in sorted(flat):
        total.update(name.encode())
        total.update(np.ascontiguousarray(flat[name]).tobytes())
    return total.hexdigest()


def _digest_of_facts(facts: dict[str, Any]) -> str:
    """SHA-256 over all facts, with the digests of the arrays, but without the digest itself."""
    others = {name: value for name, value in facts.items() if name != "digest"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _check_finite(arrays: Flat, step: int) -> None:
    for name, array in arrays.items():
        floating = jax.numpy.issubdtype(array.dtype, jax.numpy.floating)
        if floating and not np.isfinite(array.astype(np.float32)).all():
            raise UserError(
                f"After step {step} {name!r} is no longer finite, so the state was not saved; "
                "earlier checkpoints are kept. Lower the learning rate or set clip_norm, and train "
                "into another --workdir."
            )


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"The checkpoint {path} is damaged, or was not written by cdis "
        f"({' '.join(why.split())[:200]}). Delete that directory and run `cdis train` again: "
        "training resumes from the previous checkpoint, or starts again if there is none. Nothing "
        "was changed."
    )


def _is_disk_full(error: BaseException | None) -> bool:
    """Orbax wraps the operating system's error, but its text survives."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(os.strerror(code).lower() in str(error).lower() for code in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _disk_full(place: str | os.PathLike) -> UserError:
    return UserError(
        f"The disk that holds {place} is full. The last checkpoint is kept; free some space and "
        "run the same command again to resume from it."
    )
