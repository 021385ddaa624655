"""Files in the format in which data sets are published, with a few random images."""

import gzip
import io
import itertools
import math
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from cdis.data.builder import Chunk
from cdis.data.cars3d import Cars3d
from cdis.data.downloaded import DownloadedBuilder
from cdis.data.dsprites import Dsprites
from cdis.data.mpi3d import Mpi3d
from cdis.data.shapes3d import Shapes3d
from cdis.data.smallnorb import Smallnorb
from cdis.data.sprites import LAYERS, PARTS, Sprites


class Original(NamedTuple):
    """A data set with fewer values per factor, and how to write its files."""

    builder: type[DownloadedBuilder]
    variant: str
    sizes: tuple[int, ...]
    write: Callable[[Path, tuple[int, ...]], Chunk]  # returns the images expected, by number

    @property
    def config(self) -> Any:
        (config,) = (c for c in self.builder.BUILDER_CONFIGS if c.name == self.variant)
        return config


def originals() -> Path:
    """The folder of original files of others; skips the test where there is none."""
    folder = os.environ.get("CDIS_ORIGINAL_DATA")
    if not folder:
        pytest.skip("CDIS_ORIGINAL_DATA does not name a folder of original files")
    return Path(folder)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def rows(sizes: tuple[int, ...], shuffled: bool) -> np.ndarray:
    """All combinations: int32 [n, F]."""
    factors = np.array(list(itertools.product(*map(range, sizes))), np.int32)
    return np.random.default_rng(1).permutation(factors) if shuffled else factors


def _chunk(images: np.ndarray, factors: np.ndarray, values: np.ndarray) -> Chunk:
    return Chunk(np.arange(len(images)), images, factors, values.astype(np.float32))


def write_shapes3d(folder: Path, sizes: tuple[int, ...], *, shuffled: bool = True) -> Chunk:
    """In random order, so that rows must be looked up, or in the order of the authors."""
    factors = rows(sizes, shuffled)
    images = noise(len(factors), 64, 64, 3)
    values = factors * [0.1, 0.1, 0.1, 0.07, 1, 4.3] + [0, 0, 0, 0.75, 0, -30]
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(50, 32, 16, 1), compression="gzip")
        file.create_dataset("labels", data=values)
    return _chunk(images, factors, values)


def write_dsprites(folder: Path, sizes: tuple[int, ...]) -> Chunk:
    factors = rows(sizes, shuffled=True)
    pixels = noise(len(factors), 64, 64) % 2
    values = factors * [1, 0.1, 0.16, 0.03, 0.03] + [1, 0.5, 0, 0, 0]
    white = np.zeros((len(factors), 1))
    (name,) = (file.name for file in Dsprites.FILES)
    with h5py.File(folder / name, "w") as file:
        file.create_dataset("imgs", data=pixels)
        file.create_dataset("latents/classes", data=np.hstack([white, factors]).astype(np.int64))
        file.create_dataset("latents/values", data=np.hstack([white + 1, values]))
    return _chunk(255 * pixels[..., None], factors, values)


def write_cars3d(folder: Path, sizes: tuple[int, ...]) -> Chunk:
    """With files that are not read; members are not in the order of their names."""
    elevations, azimuths, types = sizes
    images = noise(types, azimuths, elevations, 128, 128, 3)
    (name,) = (file.name for file in Cars3d.FILES)
    with tarfile.open(folder / name, "w:gz", compresslevel=1) as archive:
        for kind in reversed(range(types)):
            mesh = io.BytesIO()
            scipy.io.savemat(mesh, {"im": images[kind].transpose(2, 3, 4, 0, 1), "mask": 0})
            for path, content in (
                (f"data/cars/car_{kind + 1:03}_mesh.mat", mesh.getvalue()),
                (f"data/cars/._car_{kind + 1:03}_mesh.mat", b"no mesh"),
                (f"data/sprites/{kind}.mat", b"no car"),
            ):
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    factors = np.array(
        [(e, a, t) for t in range(types) for a in range(azimuths) for e in range(elevations)],
        np.int32,
    )
    flat = images.reshape(-1, 128, 128, 3)
    return _chunk(flat, factors, factors * [1, 360 / azimuths, 1])


def norb_matrix(array: np.ndarray) -> bytes:
    magic = {np.dtype("u1"): 0x1E3D4C55, np.dtype("<i4"): 0x1E3D4C54}[array.dtype]
    sizes = [*array.shape, 1, 1, 1][: max(3, array.ndim)]
    return struct.pack(f"<{2 + len(sizes)}i", magic, array.ndim, *sizes) + array.tobytes()


def write_smallnorb(folder: Path, sizes: tuple[int, ...]) -> Chunk:
    """Even instances are for training, odd ones for testing."""
    factors = rows(sizes, shuffled=True)
    factors = np.concatenate([factors[factors[:, 1] % 2 == part] for part in (0, 1)])
    images = noise(len(factors), 2, 96, 96)
    for part, (name, odd) in enumerate((("training", 0), ("testing", 1))):
        here = factors[:, 1] % 2 == odd
        columns = {
            "dat": images[here],
            "cat": factors[here, 0].astype("<i4"),
            "info": (factors[here, 1:] * [1, 1, 2, 1]).astype("<i4"),
        }
        for number, (kind, array) in enumerate(columns.items()):
            file = Smallnorb.FILES[3 * part + number].name
            assert name in file and kind in file
            with gzip.open(folder / file, "wb", compresslevel=1) as matrix:
                matrix.write(norb_matrix(array))
    values = factors * [1, 1, 5, 20, 1] + [0, 0, 30, 0, 0]
    return _chunk(images[:, 0, ..., None], factors, values)


def write_mpi3d(folder: Path, sizes: tuple[int, ...]) -> Chunk:
    factors = rows(sizes, shuffled=False)
    images = noise(len(factors), 64, 64, 3)
    np.savez(folder / "mpi3d_toy.npz", images=images)
    return _chunk(images, factors, factors)


def write_sprites(folder: Path, sizes: tuple[int, ...]) -> Chunk:
    """Sheets of uniform 8 x 8 squares, some of them partly transparent."""
    sheets: dict[tuple[str, int], Image.Image] = {}
    (name,) = (file.name for file in Sprites.FILES)
    root = name.removesuffix(".zip")
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(f"{root}/README.md", "no sheet")
        for number, part in enumerate(PARTS):
            for value in range(sizes[number]):
                squares = noise(21 * 8, 13 * 8, 4, seed=100 * number + value)
                picture = Image.fromarray(squares.repeat(8, axis=0).repeat(8, axis=1))
                with io.BytesIO() as file:
                    picture.save(file, "PNG", compress_level=1)
                    archive.writestr(f"{root}/{part}/{value}.png", file.getvalue())
                sheets[part, value] = picture
    factors = rows(sizes, shuffled=False)
    images = [paste_character(sheets, row) for row in factors.tolist()]
    return _chunk(np.stack(images), factors, factors)


def paste_character(sheets: dict[tuple[str, int], Image.Image], row: list[int]) -> np.ndarray:
    """Layer upon layer, with Pillow."""
    action, rotation, frame = row[6:]
    left, top = 64 * frame, 64 * (4 * action + 1 + rotation)
    character = Image.new("RGB", (64, 64))
    for part in LAYERS:
        sheet = sheets[part, row[PARTS.index(part)]]
        tile = sheet.crop((left, top, left + 64, top + 64))
        covers = tile.getchannel("A").point([255 * (alpha > 128) for alpha in range(256)])
        character.paste(tile.convert("RGB"), mask=covers)
    return np.asarray(character)


ORIGINALS = {
    "shapes3d": Original(Shapes3d, "default", (3, 3, 3, 2, 2, 2), write_shapes3d),
    "dsprites": Original(Dsprites, "default", (3, 2, 4, 3, 3), write_dsprites),
    "smallnorb": Original(Smallnorb, "default", (2, 4, 3, 3, 2), write_smallnorb),
    "smallnorb/96": Original(Smallnorb, "96", (2, 4, 3, 3, 2), write_smallnorb),
    "cars3d": Original(Cars3d, "default", (2, 3, 4), write_cars3d),
    "cars3d/128": Original(Cars3d, "128", (2, 3, 4), write_cars3d),
    "sprites": Original(Sprites, "default", (2, 2, 2, 2, 2, 2, 2, 2, 2), write_sprites),
    "mpi3d/toy": Original(Mpi3d, "toy", (2, 2, 2, 3, 3, 2, 2), write_mpi3d),
}
assert all(math.prod(original.sizes) < 600 for original in ORIGINALS.values())
