"""PNG images in record files: unfiltered rows, lightly compressed.

Decoding dominates the cost of reading records. The rows of a PNG may be filtered, each byte
predicted from its neighbours, which must be undone byte by byte; rendered images have flat colours
and gain little from it (a tenth in size). Without filters, zlib alone unpacks an image in 38
microseconds (64x64x3), where Pillow takes 107 for an image that it has encoded itself. Pillow
decodes all other PNGs.
"""

import functools
import io
import struct
import zlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_COLOUR_TYPE = {1: 0, 3: 2}  # by the number of channels: grey, RGB
_END_BYTES = 4 + 12  # the checksum of the pixels, and an empty chunk


def encode(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """An image of one or three channels as PNG (ISO/IEC 15948)."""
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each starts with its filter: none
    rows[:, 1:] = image.reshape(height, -1)
    pixels = _chunk(b"IDAT", zlib.compress(rows.tobytes(), 1))
    return _head(height, width, channels) + pixels + _chunk(b"IEND", b"")


def decode(content: bytes, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """The pixels of a greyscale (c = 1) or RGB (c = 3) PNG.

    For damaged content or another shape, raises various errors of zlib, Pillow, struct or NumPy.
    """
    height, width, channels = shape
    head = _head(*shape)
    start = len(head) + 8
    (length,) = struct.unpack_from(">I", content, len(head))
    if content.startswith(head) and len(content) == start + length + _END_BYTES:
        size = height * (1 + width * channels)
        pixels = zlib.decompress(memoryview(content)[start : start + length], bufsize=size)
        rows = np.frombuffer(pixels, np.uint8).reshape(height, -1)
        if not rows[:, 0].any():
            return rows[:, 1:].reshape(shape)
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        if (found := (image.height, image.width, len(image.getbands()))) != shape:
            raise ValueError(f"an image has the shape {found}, not {shape}")
        return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)


@functools.lru_cache
def _head(height: int, width: int, channels: int) -> bytes:
    kind = (8, _COLOUR_TYPE[channels], 0, 0, 0)  # eight bits; no optional features
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">2I5B", width, height, *kind))


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
