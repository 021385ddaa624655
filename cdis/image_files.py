"""The user's image files: read as a data set's images are, and written without overwriting."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cdis.data.decoding import read
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.files import write_bytes

_SPELLED = {1: "greyscale (mode L)", 3: "colour (mode RGB)"}


def read_image(path: str, info: Info) -> UInt8[np.ndarray, "h w c"]:
    """An image file, converted as own data are (`cdis.data.decoding`), but for its size and colour.

    Raises `UserError` if it cannot be read, or has another size than the data set's images, or is
    in colour and they are not, or the reverse.
    """
    height, width, channels = info.image_shape
    wanted = f"{width} x {height} pixels, {_SPELLED[channels]}"
    try:
        pixels = read(Path(path))
    except ValueError as error:
        raise UserError(f"{error}. Give a PNG of {wanted}.") from error
    if pixels.shape != info.image_shape:
        height, width, channels = pixels.shape
        raise UserError(
            f"{path} is {width} x {height} pixels, {_SPELLED[channels]}; the method was trained on "
            f"the images of {info.name}, which are {wanted}. Convert it, or give another image."
        )
    return pixels


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
