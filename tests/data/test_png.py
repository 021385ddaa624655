"""PNGs without filters: Pillow reads them, and PNGs of Pillow are read."""

import io

import numpy as np
import pytest
from PIL import Image

from cdis.data import png

RANDOM = np.random.default_rng(0)
SHAPES = [(5, 7, 1), (64, 64, 3), (3, 1, 3), (1, 9, 1)]


def _by_pillow(image, **options):
    with io.BytesIO() as buffer:
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
            buffer, "PNG", **options
        )
        return buffer.getvalue()


@pytest.mark.parametrize("shape", SHAPES)
def test_pillow_reads_what_is_encoded(shape):
    image = RANDOM.integers(0, 256, shape, np.uint8)
    content = png.encode(image)
    with Image.open(io.BytesIO(content)) as opened:
        opened.verify()  # checksums of all chunks
    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.format, opened.mode) == ("PNG", "L" if shape[2] == 1 else "RGB")
        np.testing.assert_array_equal(np.asarray(opened).reshape(shape), image)
    np.testing.assert_array_equal(png.decode(content, shape), image, strict=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_pillow_encodes_is_read(shape):
    smooth = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))[..., None] * np.ones(shape[2])
    for image in (RANDOM.integers(0, 256, shape), smooth):  # unfiltered and filtered rows
        pixels = image.astype(np.uint8)
        found = png.decode(_by_pillow(pixels), shape)
        np.testing.assert_array_equal(found, pixels, strict=True)


def test_pixels_in_several_chunks_are_read():
    image = RANDOM.integers(0, 256, (200, 200, 3), np.uint8)
    content = _by_pillow(image, compress_level=0)
    assert content.count(b"IDAT") > 1
    np.testing.assert_array_equal(png.decode(content, image.shape), image)


def test_damage_and_other_shapes_are_errors():
    image = RANDOM.integers(0, 256, (8, 8, 3), np.uint8)
    content = png.encode(image)
    middle = len(content) // 2
    damaged = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for broken in (damaged, content[:middle], content[:20], b""):
        with pytest.raises(Exception, match=r"."):
            png.decode(broken, image.shape)
    for shape in ((8, 8, 1), (4, 16, 3), (8, 7, 3)):
        with pytest.raises(ValueError, match="shape"):
            png.decode(content, shape)
