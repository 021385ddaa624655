"""Stand-in."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cdis.files import atomic


class Decoding(NamedTuple):
    shape: tuple[int, int, int]
    notes: tuple[str, ...]


def survey(files: Sequence[Path], resize: tuple[int, int] | None) -> Decoding:
    sizes, modes = {}, {}
    for file in files:
        try:
            with Image.open(file) as image:
                sizes.setdefault((image.height, image.width), file)
                modes.setdefault(image.mode, []).append(file)
        except OSError as error:
            raise ValueError(f"the image {file} cannot be read ({error}). Replace it.") from error
    if len(sizes) > 1 and resize is None:
        raise ValueError(f"images have several sizes, {list(sizes.items())}. Use @.")
    notes = [
        f"{len(f):,} images of mode {m} were converted"
        for m, f in modes.items()
        if m not in ("L", "RGB")
    ]
    height, width = resize or next(iter(sizes))
    return Decoding((height, width, 1 if set(modes) == {"L"} else 3), tuple(notes))


def decode(
    name: str,
    files: Sequence[Path],
    decoding: Decoding,
    resize: tuple[int, int] | None,
    target: Path,
) -> None:
    h, w, c = decoding.shape
    images = []
    for file in files:
        with Image.open(file) as image:
            image = image.convert("L" if c == 1 else "RGB")
            images.append(np.asarray(image.resize((w, h)) if resize else image).reshape(h, w, c))
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as out:
        np.save(out, np.stack(images))
