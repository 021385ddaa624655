"""Data sets by name. `load` prepares what is missing and knows nothing of methods.

A name is one of `names()`, or own:FOLDER for the user's own images; see `cdis.data.own`.
"""

import os
from pathlib import Path
from typing import Any

from cdis.data.builder import ImageBuilder
from cdis.data.cars3d import Cars3d
from cdis.data.celeb_a import CelebA
from cdis.data.dsprites import Dsprites
from cdis.data.flow import Flow
from cdis.data.info import Dataset, Info
from cdis.data.mechanism import Mechanism
from cdis.data.mpi3d import Mpi3d
from cdis.data.own import PREFIX, Own
from cdis.data.pendulum import Pendulum
from cdis.data.rooms3d import Rooms3d
from cdis.data.selection import Selection
from cdis.data.shapes3d import Shapes3d
from cdis.data.smallnorb import Smallnorb
from cdis.data.sprites import Sprites
from cdis.data.sprites2d import Sprites2d
from cdis.data.store import FEEDS, Store
from cdis.errors import UserError, near_miss

__all__ = [
    "Dataset",
    "Info",
    "Mechanism",
    "directory",
    "info",
    "load",
    "mechanism",
    "names",
    "prepare",
    "prepared",
]


def _variants(*builders: type[ImageBuilder]) -> dict[str, tuple[type[ImageBuilder], Any]]:
    return {
        builder.facts(config).name: (builder, config)
        for builder in builders
        for config in builder.BUILDER_CONFIGS
    }


# A new data set is a module of its own and a word here.
_BY_NAME = _variants(
    Sprites2d,
    Rooms3d,
    Pendulum,
    Flow,
    Shapes3d,
    Dsprites,
    Smallnorb,
    Cars3d,
    Sprites,
    Mpi3d,
    CelebA,
)


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(_BY_NAME)


def info(name: str) -> Info:
    """What a data set is, prepared or not."""
    return _store(name, None).info


def prepared(name: str, data_dir: str | None = None) -> Dataset | None:
    """A data set if it is ready to load; None if `load` would have to prepare it."""
    return _store(name, data_dir).prepared()


def mechanism(name: str) -> Mechanism | None:
    """How the images of a data set come about; None if its factors do not cause one another."""
    if name.startswith(PREFIX):
        return None
    builder, config = _find(name)
    return builder.mechanism(config)


def prepare(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> None:
    """Makes a data set ready to load: nothing is done if it is.

    Args:
      name: one of `names()`, or own:FOLDER.
      data_dir: where data sets are kept; by default $CDIS_DATA_DIR, else $TFDS_DATA_DIR, else
        ~/tensorflow_datasets.
      manual_dir: a folder with the files of a downloaded data set, fetched by hand. Without it,
        those in data_dir/downloads/manual are taken, and others downloaded.

    Raises:
      UserError: an unknown name, a file that cannot be had or is not what it should be, damaged
        files, or a directory that cannot be written to.
    """
    _store(name, data_dir, manual_dir).prepare()


def load(name: str, data_dir: str | None = None, feed: str = "auto") -> Dataset:
    """A data set, prepared first if need be; see `prepare`.

    `feed` says where images come from: "decoded", a copy that is mapped into memory; "records",
    the record files, decoded at every access; or "auto", the former if it is there or would fit.
    Raises `UserError` as `prepare` does, and for a `feed` that is none of these.
    """
    if feed not in FEEDS:
        raise UserError(f"The feed {feed!r} is none of {', '.join(FEEDS)}.")
    return _store(name, data_dir).load(feed)


def directory(data_dir: str | None = None) -> Path:
    """Where data sets are kept: `data_dir`, or else the default that `prepare` names."""
    chosen = data_dir or os.environ.get("CDIS_DATA_DIR") or os.environ.get("TFDS_DATA_DIR")
    return Path(chosen or "~/tensorflow_datasets").expanduser()


def _store(
    name: str, data_dir: str | None, manual_dir: str | None = None
) -> Store | Selection | Own:
    by_hand = None if manual_dir is None else Path(manual_dir).expanduser()
    if name.startswith(PREFIX):
        if by_hand is not None:
            raise UserError(f"{name} names its folder itself: leave --manual_dir out.")
        return Own(name, directory(data_dir))
    builder, config = _find(name)
    stored = builder.stored(config)
    store = Store(builder, stored, directory(data_dir), by_hand)
    return store if stored is config else Selection(store, builder.facts(config))


def _find(name: str) -> tuple[type[ImageBuilder], Any]:
    """Builder and variant; "flow" alone is "flow/default"."""
    full = name if name in _BY_NAME else f"{name}/default"
    if full not in _BY_NAME:
        raise UserError(
            f"There is no data set {name!r}{near_miss(name, names())}. "
            f"The data sets are {', '.join(names())}, and {PREFIX}FOLDER for your own."
        )
    return _BY_NAME[full]
