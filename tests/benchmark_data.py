"""Two ways of reading images, and PyTorch's DataLoader for comparison (tools/benchmark_data).

The measured worker processes import this file, so it imports at the top only what they need.
"""

import argparse
import importlib.util
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FAR = 10**6  # steps into training
CHECKED = 4  # batches to compare
BEGINNING = 100  # batches before the measurement, during start-up

# First step -> images of endless batches.
Batches = Callable[[int], Generator[np.ndarray, None, None]]


class Files:
    """PNG files as a PyTorch data set."""

    def __init__(self, folder: Path, count: int) -> None:
        self._paths = [str(folder / f"{index}.png") for index in range(count)]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        with Image.open(self._paths[index]) as image:
            pixels = np.array(image)  # writable, as PyTorch requires
        return pixels[..., None] if pixels.ndim == 2 else pixels


def write_files(images: Any, folder: Path) -> None:
    """Write every image as a PNG file with the same bytes as in record files."""
    from cdis.data import png

    for index in range(len(images)):
        (folder / f"{index}.png").write_bytes(png.encode(images[index]))


def from_arrays(images: Any, index: np.ndarray, *, batch: int, **options: int) -> Batches:
    """The batches that training reads."""
    from cdis.data.examples import of_images
    from cdis.data.pipeline import batches

    def begin(start: int) -> Generator[np.ndarray, None, None]:
        settings: dict[str, Any] = {"batch_size": batch, "seed": 0, "num_batches": 10**12}
        stream = batches({"image": images}, of_images(index), start=start, **settings, **options)
        for each in stream:
            yield each["x"]["image"]

    return begin


def from_torch(files: Any, *, batch: int, workers: int) -> Batches:
    """Batches of a DataLoader in random order; it cannot start at a given step."""
    import torch.utils.data as torch_data  # type: ignore[import-not-found]  # an extra

    def begin(start: int) -> Generator[np.ndarray, None, None]:
        del start
        endless = torch_data.RandomSampler(files, replacement=True, num_samples=10**9)
        # Spawned: forking a process that runs threads of JAX may hang.
        loader = torch_data.DataLoader(
            files,
            batch_size=batch,
            sampler=endless,
            num_workers=workers,
            multiprocessing_context="spawn",
        )
        for each in loader:
            yield each.numpy()

    return begin


def measure(begin: Batches, seconds: float) -> tuple[float, float]:
    """Images a second after start-up, and seconds until the first batch."""
    start = time.perf_counter()
    with closing(begin(FAR)) as stream:
        next(stream)
        first = time.perf_counter() - start
        for _ in range(BEGINNING):
            next(stream)
        images, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            images += len(next(stream))
    return images / passed, first


def check(decoded: Batches, records: Batches) -> None:
    """Raise AssertionError unless both give the same batches."""
    with (
        closing(decoded(FAR)) as one,
        closing(records(FAR)) as other,
    ):
        for a, b in itertools.islice(zip(one, other, strict=False), CHECKED):
            np.testing.assert_array_equal(a, b, strict=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", default="rooms3d/small")
    parser.add_argument("--data_dir")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.seconds = options.seconds or (1.0 if options.quick else 10.0)
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def main() -> None:
    """Measure, print a table and write it as JSON if requested."""
    from cdis import data

    options = _arguments()
    datasets = {
        feed: data.load(options.data, options.data_dir, feed) for feed in ("decoded", "records")
    }
    info, index = datasets["decoded"].info, datasets["decoded"].splits["train"]
    count = len(datasets["decoded"].images)
    make = partial(from_arrays, index=index, batch=options.batch)
    feeds = {
        "decoded": make(datasets["decoded"].images, threads=options.threads),
        "records": make(datasets["records"].images, workers=options.workers),
    }
    with ExitStack() as stack:
        if importlib.util.find_spec("torch") is None:
            print("PyTorch is not installed, so it is not measured.")
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_files(datasets["decoded"].images, folder)
            files = Files(folder, count)
            for i in range(0, count, count // CHECKED):
                np.testing.assert_array_equal(files[i], datasets["decoded"].images[i])
            feeds["torch"] = from_torch(files, batch=options.batch, workers=options.workers)
        check(feeds["decoded"], feeds["records"])
        shape = " x ".join(map(str, info.image_shape))
        print(
            f"{info.name}: {count:,} images, {shape}; batches of {options.batch}; "
            f"{options.threads} threads, {options.workers} workers; median of {options.rounds}\n\n"
            f"{'':10}{'images/s':>12}{'least':>12}{'most':>12}{'first, s':>10}"
        )
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in feeds}
        for _ in range(options.rounds):
            for name, begin in feeds.items():
                rounds[name].append(measure(begin, options.seconds))
    results = {}
    for name, found in rounds.items():
        rates, firsts = zip(*found, strict=True)
        results[name] = {
            "images_per_second": statistics.median(rates),
            "least": min(rates),
            "most": max(rates),
            "first_seconds": statistics.median(firsts),
        }
        print(
            "{:10}{images_per_second:12,.0f}{least:12,.0f}{most:12,.0f}"
            "{first_seconds:10.2f}".format(name, **results[name])
        )
    if options.json:
        settings = {k: v for k, v in vars(options).items() if k not in ("json", "quick")}
        content = {"settings": settings, "num_images": count, "results": results}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
