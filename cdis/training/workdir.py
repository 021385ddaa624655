"""Workdirs: the folder of a run, which belongs to one config and one data set."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from cdis.config import differences, from_json, to_json
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.files import write_bytes
from cdis.training import parallel

CONFIG = "config.json"
INFO = "info.json"
METRICS = "metrics.json"  # written by evaluation
_TEXTS = ("licence", "citation", "description")  # may be worded better
_FLOATS = ("value_mean", "value_std")


def read_config(workdir: str | os.PathLike) -> ConfigDict:
    """The config that a workdir was trained with.

    Raises `UserError` if the directory is not a workdir, the file is damaged, or the workdir was
    written by cdis 0.1.
    """
    path = Path(workdir) / CONFIG
    if not path.is_file():
        raise UserError(
            f"{workdir} is not a workdir of cdis: it has no {CONFIG}. Give the --workdir of an "
            "earlier `cdis train`, or train one first."
        )
    try:
        config = from_json(path.read_text())
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}), so it is unknown what was trained here. Restore it "
            "from a copy, or train again into another --workdir."
        ) from error
    if not (Path(workdir) / INFO).exists():
        raise UserError(
            f"{workdir} was trained by cdis 0.1 (it has no {INFO}), whose workdirs this version "
            "cannot use; use that version, or train again into another --workdir."
        )
    return config


def read_info(workdir: str | os.PathLike) -> Info:
    """Facts about the data set that a workdir was trained on, which need not exist any more.

    Raises `UserError` if the directory is not a workdir or the file is damaged.
    """
    read_config(workdir)
    path = Path(workdir) / INFO
    try:
        return Info.from_json(path.read_text())
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}), so it is unknown what data the method was trained on. "
            "Restore it from a copy, or train again into another --workdir."
        ) from error


def claim(workdir: str | os.PathLike, config: ConfigDict, info: Info) -> None:
    """Make `workdir` the workdir of `config`, trained on the data of `info`, or check that it is.

    A config whose stages have more steps is accepted: see `extend`, which then records it.

    Raises `UserError` if the directory belongs to another config or to other data, or holds
    something else.
    """
    workdir = Path(workdir)
    if (workdir / CONFIG).exists():
        changed = unlike(read_config(workdir), config)
        if changed:
            raise UserError(
                f"{workdir} was trained with another config. They differ in:\n  "
                + "\n  ".join(changed)
                + "\nUse another --workdir for this config, or the old config to resume training "
                "here. Only a stage's steps may change, and only grow. Nothing was changed."
            )
        differing = _other_facts(read_info(workdir), info)
        if differing:
            raise UserError(
                f"{workdir} was trained on other data named {info.name}: they differ in "
                f"{', '.join(differing)}. Use another --workdir for these. Nothing was changed."
            )
        return
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file; --workdir must name a directory, which may be new.")
    if workdir.is_dir() and any(not entry.name.startswith(".") for entry in workdir.iterdir()):
        raise UserError(
            f"{workdir} is not empty and is not a workdir of cdis (it has no {CONFIG}). "
            "Use another --workdir, new or empty. Nothing was changed."
        )
    if parallel.is_primary():
        # The config comes last: a directory that has one is a workdir.
        write_bytes(workdir / INFO, (info.to_json() + "\n").encode())
        write_bytes(workdir / CONFIG, (to_json(config) + "\n").encode())


def extend(
    workdir: str | os.PathLike, config: ConfigDict, ended: Sequence[str]
) -> list[tuple[str, int]]:
    """Record the config of a claimed workdir, if it makes stages longer.

    Args:
      workdir: claimed for `config` and locked.
      config: as in `claim`.
      ended: names of the stages that a later one has followed already; they must stay as they are,
        because the later one began with what they had learnt.

    Returns:
      Name and former steps of each stage that is longer now.

    Raises:
      UserError: a stage of `ended` is longer.
    """
    before = read_config(workdir)
    longer = [(name, before.stages[name].steps) for name in _longer(before, config)]
    for name, steps in longer:
        if name in ended:
            raise UserError(
                f"The stage {name!r} in {workdir} ended after {steps} steps, and the next stage "
                f"began from there, so it cannot be extended to {config.stages[name].steps} steps. "
                f"Set config.stages.{name}.steps to {steps} again (only the last stage that has "
                "begun may grow), or train into another --workdir. Nothing was changed."
            )
    if longer and parallel.is_primary():
        write_bytes(Path(workdir) / CONFIG, (to_json(config) + "\n").encode())
    return longer


def unlike(before: ConfigDict, after: ConfigDict) -> list[str]:
    """The differences between two configs, apart from longer stages."""
    fields = {f"stages.{name}.steps" for name in _longer(before, after)}
    return [line for line in differences(before, after) if line.split(":")[0] not in fields]


def _other_facts(before: Info, after: Info) -> list[str]:
    """Names of the facts in which two data sets differ, apart from texts and rounding."""
    one, other = (dataclasses.asdict(info) for info in (before, after))
    one["count"], other["count"] = before.num_images, after.num_images
    return [
        name
        for name in one
        if name not in _TEXTS
        and one[name] != other[name]
        and not (name in _FLOATS and _close(one[name], other[name]))
    ]


def _close(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return bool(one and other and len(one) == len(other) and np.allclose(one, other, rtol=1e-5))


def _longer(before: ConfigDict, after: ConfigDict) -> list[str]:
    """Names of the stages that have more steps in `after`."""
    common = [name for name in before.stages if name in after.stages]
    return [name for name in common if after.stages[name].steps > before.stages[name].steps]
