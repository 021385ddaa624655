"""What a trained method makes, as files: sheets and arrays of samples, arrays of representations.

Images are encoded a batch at a time; only their representations are kept.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from cdis import data
from cdis.data.combinations import as_configured
from cdis.data.decoding import FORMATS
from cdis.data.info import Dataset, Info
from cdis.data.progress import Progress
from cdis.data.summary import shortened
from cdis.errors import UserError, near_miss
from cdis.files import atomic, write_bytes
from cdis.image_files import read_image
from cdis.run import Run, Samples
from cdis.trained import BATCH

#: On a sheet, which would take long to draw and could not be read with more.
MOST_ON_A_SHEET = 256
#: Of the images of one file of samples.
MOST_BYTES = 2**32
_THREADS = 4
# Inches.
_CELL, _LINE, _GAP = 1.4, 0.11, 0.1
_NAME_WIDTH = 16


# Samples


def write_sheet(
    path: Path, run: Run, count: int, seed: int, factors: Mapping[str, float | str]
) -> None:
    """Draw samples and write a PNG: a grid of them, each below the values of its factors.

    Raises `UserError` for more samples than fit, and as `Run.sample` does.
    """
    if count > MOST_ON_A_SHEET:
        raise UserError(
            f"A picture holds at most {MOST_ON_A_SHEET} samples, not {count:,}. Lower --count, or "
            "give --out a name that ends in .npz."
        )
    write_bytes(path, _sheet(run.info, run.sample(count, seed=seed, **factors), set(factors)))


def write_samples(
    path: Path, run: Run, count: int, seed: int, factors: Mapping[str, float | str]
) -> None:
    """Draw samples and write an .npz with the arrays of `Samples` and "factor_names".

    Raises `UserError` for more samples than fit into memory, and as `Run.sample` does.
    """
    if count * math.prod(run.info.image_shape) > MOST_BYTES:
        raise UserError(
            f"{count:,} images take more than {MOST_BYTES / 2**30:.0f} GB of memory. Lower "
            "--count, and draw several files with different --seed."
        )
    samples = run.sample(count, seed=seed, **factors)._asdict()
    _write_npz(path, samples | {"factor_names": np.array(run.info.factor_names)})


def _sheet(info: Info, samples: Samples, fixed: set[str]) -> bytes:
    from cdis.measure import figures  # imports Matplotlib

    count = len(samples.images)
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    height, width, _ = info.image_shape
    picture, text = _CELL * height / width, _LINE * (info.num_factors + 1)
    across, down = columns * (_CELL + _GAP), rows * (picture + text)
    figure = figures.fixed_figure(across, down)
    for place, (image, values) in enumerate(zip(samples.images, samples.values, strict=True)):
        row, column = divmod(place, columns)
        left, bottom = column * (_CELL + _GAP), down - (row + 1) * (picture + text)
        axes = figure.add_axes((left / across, bottom / down, _CELL / across, picture / down))
        figures.show(axes, image)
        title = "\n".join(_described(info, f, values[f], fixed) for f in range(len(values)))
        axes.set_title(title, loc="left", fontsize=6, pad=2, linespacing=1.1, parse_math=False)
    return figures.png(figure)


def _described(info: Info, factor: int, value: float, fixed: set[str]) -> str:
    """A factor and its value, by its name if it has one: "colour: red, set"."""
    name, names = info.factor_names[factor], info.names_of(factor)
    shown = names[min(max(round(value), 0), len(names) - 1)] if names else f"{value:.3g}"
    mark = ", set" if name in fixed else ""
    return f"{shortened(name, _NAME_WIDTH)}: {shortened(shown, _NAME_WIDTH)}{mark}"


# Representations


def dataset_for(run: Run, name: str | None, data_dir: str | None) -> Dataset:
    """The data set `name`, by default the one that was trained on.

    It is split as for training (`cdis.data.combinations`), unless its factors are others.

    Raises `UserError` if it cannot be had, or has images of another shape than those trained on.
    """
    wanted = name or run.config.data.name
    try:
        info = data.info(wanted)  # before the data set is prepared
    except UserError as error:
        if name:
            raise
        raise UserError(
            f"The data that were trained on cannot be had. {error} If they are elsewhere now, name "
            "them (--data), or give image files."
        ) from error
    shape, trained = info.image_shape, run.info.image_shape
    if shape != trained:
        raise UserError(
            f"The images of {info.name} are {_by(shape)}, but the method was trained on images of "
            f"{_by(trained)}. Give other --data."
        )
    dataset = data.load(wanted, data_dir)
    other = (info.factor_names, info.factor_sizes) != (run.info.factor_names, run.info.factor_sizes)
    return dataset if name and other else as_configured(dataset, run.config.data)


def write_encoded(path: Path, run: Run, dataset: Dataset, split: str) -> int:
    """Encode a split of a data set, or "all" of it, and write an .npz; returns how many images.

    It has `Run.encode`'s arrays; "latent_names", the factors that the first latents stand for;
    "index" into the data set; "values", physical; "factors", which are indices, or the values if
    any factor is continuous; and "factor_names".

    Raises `UserError` for an unknown split, and as `Run.encode` does.
    """
    splits = dataset.splits | {"all": np.arange(len(dataset.images))}
    if split not in splits:
        raise UserError(
            f"There is no split {split!r}{near_miss(split, splits)}. --split is one of "
            f"{', '.join(splits)}."
        )
    index, info = splits[split], dataset.info
    if not len(index):
        raise UserError(f"{info.name} has no images in the split {split}. Choose another --split.")
    batches = (dataset.images[index[at : at + BATCH]] for at in range(0, len(index), BATCH))
    continuous = 0 in info.factor_sizes
    arrays = _encoded(run, batches, len(index)) | {
        "index": index,
        "values": dataset.values[index],
        "factors": (dataset.values if continuous else dataset.factors)[index],
        "factor_names": np.array(info.factor_names),
    }
    _write_npz(path, arrays)
    return len(index)


def write_encoded_files(path: Path, run: Run, paths: Sequence[str]) -> int:
    """Encode image files, and those in folders, and write an .npz; returns how many images.

    It has `Run.encode`'s arrays; "latent_names", as `write_encoded` has; and "paths".

    Raises `UserError` for a file that is missing or no image like those trained on, a folder
    without image files, and as `Run.encode` does.
    """
    files = [file for given in paths for file in _image_files(given)]
    arrays = _encoded(run, _read(files, run.info), len(files))
    _write_npz(path, arrays | {"paths": np.array(files)})
    return len(files)


def _image_files(path: str) -> list[str]:
    """The file itself, or the image files of a folder, sorted by name."""
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise UserError(f"There is no {path}. Give image files, or a folder of them.")
    kinds = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
    found = [name for name in names if Path(name).suffix.lower() in kinds and name[0] != "."]
    if not found:
        raise UserError(f"{path} has no image files in it, such as X.png. Give another folder.")
    return [os.path.join(path, name) for name in found]


def _read(files: list[str], info: Info) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
    """Batches of images, decoded by threads."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for at in range(0, len(files), BATCH):
            batch = files[at : at + BATCH]
            yield np.stack(list(pool.map(lambda file: read_image(file, info), batch)))


def _encoded(
    run: Run, batches: Iterator[UInt8[np.ndarray, "b h w c"]], count: int
) -> dict[str, Float[np.ndarray, "n d"] | np.ndarray]:
    progress = Progress("cdis encode", count, "encoded")
    parts: list[dict[str, np.ndarray]] = []
    for images in batches:
        parts.append(run.encode(images))
        progress.advance(len(images))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return joined | {"latent_names": np.array(run.latent_names, str)}


def _write_npz(path: Path, arrays: dict[str, Any]) -> None:
    with atomic(path) as file:
        np.savez(file, **arrays)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
