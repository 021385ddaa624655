"""Sprites: characters of a video game, composed from the published sprite sheets."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cdis.data.builder import Chunk
from cdis.data.download import File
from cdis.data.downloaded import CHUNK, DownloadedBuilder, expect
from cdis.data.info import Info

# The folders of the archive in the order of the factors.
PARTS = ("bottomwear", "topwear", "hair", "eyes", "shoes", "body")
NAMES = (*PARTS, "action", "rotation", "frame")
# From the bottom layer to the top one.
LAYERS = ("body", "shoes", "bottomwear", "topwear", "eyes", "hair")

_COMMIT = "3ce4048c5227802bd8f1888e293fd3afdba91c0c"
_SIDE = 64
_COLUMNS, _ROWS = 13, 21  # of a sheet, in tiles
_DIRECTIONS = 4  # rows of a sheet per action: view from behind, the left, the front, the right
_OPAQUE = 128  # a layer covers those below it where its alpha is larger


class Sprites(DownloadedBuilder):
    """A character; factors are clothes, hair, eyes, body, action, rotation and frame of the action.

    The archive has a folder per part, with a sheet NUMBER.png for each of its values: 21 rows of 13
    tiles of 64 x 64 pixels. An action (spellcast, thrust, walk, slash, shoot) takes four rows, one
    per direction; the first six tiles of a row are its frames. A character is a stack of one tile
    per part, body first and hair last, on black. Rows seen from behind, where the eyes are hidden,
    are left out, as in the literature. Values are indices.

    What the sheets lack: number 5 of bottomwear and of topwear is not drawn for thrust and shoot,
    so the character wears none; eyes are closed, and thus alike, in two frames of spellcast, and
    hidden in one of shoot. In frame 0 of spellcast, walk and slash the body is the same, and
    clothes are almost. Some images of the whole set are therefore equal. In sprites/small all
    differ: it leaves out eyes and shoes, which are a few pixels, frame 0, and clothes, hair and
    bodies that look much like others or hide others (chain mail covers trousers).

    The archive is the repository's tree at one commit, packed by GitHub, which does not guarantee
    identical bytes: no hash of it is published. Hashes of "Sprites" in other libraries are of files
    that those libraries generate on the user's machine.
    """

    name = "sprites"
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="default"),
        tfds.core.BuilderConfig(name="small"),
    ]
    PARTS: ClassVar = {
        "small": {
            "bottomwear": (0, 2, 4, 6),
            "topwear": (0, 1, 2, 4),
            "hair": (0, 1, 2, 3, 5, 7),
            "eyes": (0,),
            "shoes": (0,),
            "body": (0, 2, 5, 6),
            "action": (0, 1, 3, 4),
            "frame": (1, 2, 3, 4),
        }
    }
    SIZES: ClassVar = (7, 7, 10, 5, 3, 7, 5, 3, 6)
    FILES = (
        File(
            name=f"Sprites-{_COMMIT}.zip",
            urls=(
                f"https://github.com/YingzhenLi/Sprites/archive/{_COMMIT}.zip",
                f"https://codeload.github.com/YingzhenLi/Sprites/zip/{_COMMIT}",
            ),
        ),
    )

    @classmethod
    def whole(cls, config: Any) -> Info:
        del config
        return Info(
            name=cls.name,
            factor_names=NAMES,
            factor_sizes=cls.SIZES,
            circular=(False,) * 9,
            image_shape=(_SIDE, _SIDE, 3),
            licence="CC-BY-SA-3.0 and GPL-3.0 (art of the Liberated Pixel Cup)",
            citation=(
                "Li and Mandt, Disentangled Sequential Autoencoder, ICML 2018, "
                "https://github.com/YingzhenLi/Sprites; art: Liberated Pixel Cup, "
                "http://lpc.opengameart.org"
            ),
            description=("Characters of a video game; every combination of the factors once."),
            unordered=(*PARTS, "action"),
        )

    @classmethod
    def read(cls, config: Any, paths: tuple[Path, ...], index: np.ndarray) -> Iterator[Chunk]:
        del config
        with zipfile.ZipFile(paths[0]) as archive:
            tiles = {
                part: np.stack([cls._tiles(archive, part, value) for value in range(size)])
                for part, size in zip(PARTS, cls.SIZES, strict=False)
            }
        for start in range(0, len(index), CHUNK):
            rows = index[start : start + CHUNK]
            factors = np.stack(np.unravel_index(rows, cls.SIZES), axis=1).astype(np.int32)
            place = np.ravel_multi_index(tuple(factors.T[6:]), cls.SIZES[6:])
            images = np.zeros((len(rows), _SIDE, _SIDE, 3), np.uint8)
            for part in LAYERS:
                layer = tiles[part][factors[:, PARTS.index(part)], place]
                covers = layer[..., 3] > _OPAQUE
                images[covers] = layer[covers, :3]
            yield Chunk(rows, images, factors, factors.astype(np.float32))

    @classmethod
    def _tiles(cls, archive: zipfile.ZipFile, part: str, value: int) -> np.ndarray:
        """The tiles of a sheet, by (action, rotation, frame): uint8 [places, 64, 64, 4]."""
        names = [n for n in archive.namelist() if n.split("/")[1:] == [part, f"{value}.png"]]
        expect(f"the number of files {part}/{value}.png", len(names), 1)
        (name,) = names
        with Image.open(io.BytesIO(archive.read(name))) as picture:
            sheet = np.asarray(picture.convert("RGBA"))
        expect(f"the shape of {name}", sheet.shape, (_ROWS * _SIDE, _COLUMNS * _SIDE, 4))
        grid = sheet.reshape(_ROWS, _SIDE, _COLUMNS, _SIDE, 4).swapaxes(1, 2)
        actions, rotations, frames = cls.SIZES[6:]
        action = np.arange(actions)[:, None, None] * _DIRECTIONS
        rotation = 1 + np.arange(rotations)[:, None]
        return grid[action + rotation, np.arange(frames)].reshape(-1, _SIDE, _SIDE, 4)
