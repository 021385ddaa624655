"""Data sets by name. `load` prepares a data set if need be; methods play no part here.

A name is one of

- `names()`, the data sets of cdis, such as "sprites2d/coloured";
- "own:FOLDER", a folder of your own images (`cdis.data.own`);
- "MODULE:NAME", a data set that your own Python module defines, such as
  "my_data:bars/small". The module is imported from the current folder, from PYTHONPATH or from an
  installed package, and defines subclasses of `cdis.data.generated.GeneratedBuilder`,
  `cdis.data.downloaded.DownloadedBuilder` or `cdis.data.builder.ImageBuilder`. NAME is the name in
  the `Info` of a variant; if there is only one variant, "my_data:" is enough. `own_data.md` has an
  example.

`from_arrays` and `from_table` make a data set of arrays and tables in memory.

Builders, and with them tfds, are imported when a data set is looked up, so that
`import cdis.data` is quick.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdis.data.info import Dataset, Info
from cdis.data.lookup import OWN, find, names
from cdis.data.mechanism import Mechanism
from cdis.errors import UserError

if TYPE_CHECKING:
    from cdis.data.own import Own, from_arrays, from_table
    from cdis.data.selection import Selection
    from cdis.data.store import Store

__all__ = [
    "Dataset",
    "Info",
    "Mechanism",
    "directory",
    "from_arrays",
    "from_table",
    "info",
    "load",
    "mechanism",
    "names",
    "prepare",
    "prepared",
]


def __getattr__(name: str) -> Any:
    if name in ("from_arrays", "from_table"):
        from cdis.data import own

        return getattr(own, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def info(name: str) -> Info:
    """Facts about a data set, whether it is prepared or not."""
    return _store(name, None).info


def prepared(name: str, data_dir: str | None = None) -> Dataset | None:
    """The data set if it is ready to load; None if `load` would have to prepare it."""
    return _store(name, data_dir).prepared()


def mechanism(name: str) -> Mechanism | None:
    """The causal mechanism behind a data set; None if its factors do not cause one another."""
    if name.startswith(OWN):
        return None
    builder, config = find(name)
    return builder.mechanism(config)


def prepare(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> None:
    """Make a data set ready to load; does nothing if it is.

    Args:
      name: see the top of this module.
      data_dir: where data sets are kept; by default $CDIS_DATA_DIR, else $TFDS_DATA_DIR, else
        ~/tensorflow_datasets.
      manual_dir: a folder with the data set's files, which you downloaded yourself, or a zip file
        that is or holds them. Without it,
        files in data_dir/downloads/manual are used, and missing ones are downloaded.

    Raises:
      UserError: the name is unknown, a file cannot be downloaded or has the wrong content, files
        are damaged, or a directory is not writable.
    """
    _store(name, data_dir, manual_dir).prepare()


def load(name: str, data_dir: str | None = None, feed: str = "auto") -> Dataset:
    """A data set, prepared first if need be; see `prepare`.

    `feed` chooses where images are read from: "decoded", a memory-mapped copy of the pixels;
    "records", the record files, decoded at every access; or "auto", the decoded copy if it exists
    or would fit. Raises `UserError` as `prepare` does, and for any other `feed`.
    """
    from cdis.data.store import FEEDS

    if feed not in FEEDS:
        raise UserError(f"The feed {feed!r} is none of {', '.join(FEEDS)}.")
    return _store(name, data_dir).load(feed)


def directory(data_dir: str | None = None) -> Path:
    """Where data sets are kept: `data_dir`, or the default that `prepare` describes."""
    chosen = data_dir or os.environ.get("CDIS_DATA_DIR") or os.environ.get("TFDS_DATA_DIR")
    return Path(chosen or "~/tensorflow_datasets").expanduser()


def _store(
    name: str, data_dir: str | None, manual_dir: str | None = None
) -> "Store | Selection | Own":
    from cdis.data.own import Own
    from cdis.data.selection import Selection
    from cdis.data.store import Store

    by_hand = None if manual_dir is None else Path(manual_dir).expanduser()
    if name.startswith(OWN):
        if by_hand is not None:
            raise UserError(f"{name} already names its folder: leave --manual_dir out.")
        return Own(name, directory(data_dir))
    builder, config = find(name)
    home = directory(data_dir)
    if ":" in name:
        # A folder of its own: a builder outside may have the name of one of ours.
        home = home / "modules" / builder.__module__
    stored = builder.stored(config)
    store = Store(builder, stored, home, by_hand)
    return store if stored is config else Selection(store, builder.info_of(config))
