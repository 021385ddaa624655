"""A stand-in for the files of CelebA, of any size: synthetic images in the original format."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cdis.data import celeb_a

COUNT = 240

# The share of images with each attribute; the remaining attributes never occur.
_CHANCES = {
    "Attractive": 0.5,
    "Bags_Under_Eyes": 0.3,
    "Bangs": 0.4,
    "Black_Hair": 0.4,
    "Chubby": 0.2,
    "Heavy_Makeup": 0.4,
    "Male": 0.4,
    "Narrow_Eyes": 0.3,
    "Receding_Hairline": 0.3,
    "Smiling": 0.5,
    "Young": 0.7,
}


def attributes(count: int = COUNT, seed: int = 0) -> np.ndarray:
    """0 or 1, int8 [count, 40]; high cheekbones and an open mouth mostly follow smiling."""
    rng = np.random.default_rng(seed)
    chances = np.array([_CHANCES.get(name, 0.0) for name in celeb_a.ATTRIBUTES])
    table = (rng.random((count, 40)) < chances).astype(np.int8)
    smiling = table[:, celeb_a.ATTRIBUTES.index("Smiling")]
    for effect in ("High_Cheekbones", "Mouth_Slightly_Open"):
        follows = rng.random(count) < 0.75
        table[:, celeb_a.ATTRIBUTES.index(effect)] = np.where(follows, smiling, 1 - smiling)
    return table


def split(count: int = COUNT) -> np.ndarray:
    """The first 70 % are for training, the last 15 % for testing."""
    return np.searchsorted([0.7 * count, 0.85 * count], np.arange(count), side="right")


def names(count: int = COUNT) -> list[str]:
    """000001.jpg and so on."""
    return [f"{number + 1:06}.jpg" for number in range(count)]


def face(row: np.ndarray) -> Image.Image:
    """A grey image, 178 x 218, with a coloured disc in the middle square for each attribute."""
    image = Image.new("RGB", (178, 218), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    for number, there in enumerate(row):
        x, y = 20 + 20 * (number % 7), 45 + 20 * (number // 7)
        colour = (230, 200, 40) if there else (40, 60, 160)
        draw.ellipse((x, y, x + 16, y + 16), colour)
    return image


def write(folder: Path, *, packed: bool, count: int = COUNT) -> None:
    """The two lists, and the images as an archive or as a folder."""
    table, files = attributes(count), names(count)
    images = folder / "img_align_celeba"
    images.mkdir(parents=True)
    for file, row in zip(files, table, strict=True):
        face(row).save(images / file, quality=95)
    lines = [str(count), " ".join(celeb_a.ATTRIBUTES) + " "]
    for file, row in zip(files, 2 * table - 1, strict=True):
        lines.append(f"{file} " + " ".join(f"{cell:2}" for cell in row))
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{file} {number}" for file, number in zip(files, split(count), strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    if packed:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for file in files:
                archive.write(images / file, f"img_align_celeba/{file}")
        for file in files:
            (images / file).unlink()
        images.rmdir()
