"""The user's image files: read as a data set's images are, and written without overwriting."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cdis.data.info import Info
from cdis.errors import UserError
from cdis.files import write_bytes

_MODES = {1: "L", 3: "RGB"}
_SPELLED = {"L": "greyscale (mode L)", "RGB": "colour (mode RGB)"}


def read_image(path: str, info: Info) -> UInt8[np.ndarray, "h w c"]:
    """An image file, which must have the size and the mode of the data set's images.

    Raises `UserError` if it cannot be read, or has another size or mode.
    """
    height, width, channels = info.image_shape
    wanted = _MODES[channels]
    try:
        with Image.open(path) as file:
            mode, size = file.mode, file.size
            pixels = np.asarray(file)
    # A damaged file is any of these to Pillow.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as an image: {error}. Give a PNG of {width} x {height} pixels, "
            f"{_SPELLED[wanted]}."
        ) from error
    if mode != wanted or size != (width, height):
        raise UserError(
            f"{path} is {size[0]} x {size[1]} pixels, {_SPELLED.get(mode, f'mode {mode}')}; the "
            f"method was trained on the images of {info.name}, which are {width} x {height} "
            f"pixels, {_SPELLED[wanted]}. Convert it, or give another image."
        )
    return pixels.reshape(info.image_shape)


def write_image(path: str, pixels: UInt8[np.ndarray, "h w c"]) -> None:
    """Write a PNG atomically. Raises `UserError` if it cannot be written."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    try:
        write_bytes(Path(path), content.getvalue())
    except OSError as error:
        raise UserError(
            f"{path} could not be written: {error.strerror}. Free space there or allow writing, or "
            "choose another --out."
        ) from error
