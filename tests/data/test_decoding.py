"""Image files of every kind become one array, as plain loops make it; hostile ones are refused."""

import io
import multiprocessing
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cdis.data import decoding, workers
from cdis.data.decoding import decode, read, survey
from cdis.data.info import Info
from cdis.data.progress import Progress
from cdis.errors import UserError
from cdis.image_files import read_image

HEIGHT, WIDTH = 7, 5
_RNG = np.random.default_rng(0)
GREY = _RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
RGB, RGBA = (_RNG.integers(0, 256, (HEIGHT, WIDTH, n), np.uint8) for n in (3, 4))
DEEP = _RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
FEW = GREY % 4
COLOURS = np.arange(12, dtype=np.uint8).reshape(4, 3)


# Files of every kind


def _saved(image: Image.Image, file_format: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def _png(width: int, height: int, rows: bytes, bits: int = 8) -> bytes:
    """A PNG in colour, with what Pillow would not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        ends = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + ends

    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


def _palette() -> Image.Image:
    image = Image.fromarray(FEW).convert("P")
    image.putpalette(COLOURS.tobytes())
    return image


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _plot() -> bytes:
    figure = Figure((1.0, 0.7), dpi=40)
    figure.subplots().plot([0, 1, 0.5])
    content = io.BytesIO()
    figure.savefig(content)
    return content.getvalue()


def _over_white(levels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha / 255
    return np.rint((levels * share + 255 * (1 - share)).round(9)).astype(np.uint8)


def _as_rgb(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


class Kind(NamedTuple):
    content: bytes
    pixels: np.ndarray
    notes: tuple[str, ...] = ()


WHITE, DEEP_GREY = decoding._TRANSPARENT, decoding._DEEP_GREY
PALETTE, TURNED = decoding._PALETTE, decoding._TURNED
_GREY, _RGB, _RGBA = (Image.fromarray(pixels) for pixels in (GREY, RGB, RGBA))
_LA = Image.merge("LA", (_GREY, _RGBA.getchannel("A")))
_CMYK = Image.merge("CMYK", [_RGBA.getchannel(band) for band in range(4)])
_JPEG, _CMYK_JPEG = _saved(_RGB, "JPEG"), _saved(_CMYK, "JPEG")
_PHOTO = _saved(_RGB, "JPEG", exif=_exif(6))
_PREVIEWED = _saved(_RGB, "MPO", save_all=True, append_images=[_GREY.convert("RGB")])
_DEEP_GREY_IMAGE = Image.fromarray(DEEP[..., 0])
_BITS = GREY > 127
_SIXTEEN = np.rint(DEEP / 257).astype(np.uint8)
_ALPHA = RGBA[..., 3:]
_FEW_CLEAR = np.where(FEW[..., None] == 2, np.uint8(255), COLOURS[FEW])
KINDS = {
    "grey.png": Kind(_saved(_GREY, "PNG"), GREY),
    "grey.jpg": Kind(
        _saved(_GREY, "JPEG", quality=100),
        np.asarray(Image.open(io.BytesIO(_saved(_GREY, "JPEG", quality=100)))),
    ),
    "bits.png": Kind(
        _saved(Image.fromarray(_BITS), "PNG"), _BITS * np.uint8(255), (decoding._ONE_BIT,)
    ),
    "grey_alpha.png": Kind(_saved(_LA, "PNG"), _over_white(GREY, _ALPHA[..., 0]), (WHITE,)),
    "grey_clear.png": Kind(
        _saved(Image.fromarray(FEW), "PNG", transparency=1),
        np.where(FEW == 1, np.uint8(255), FEW),
        (WHITE,),
    ),
    "deep.png": Kind(_saved(_DEEP_GREY_IMAGE, "PNG"), _SIXTEEN[..., 0], (DEEP_GREY,)),
    "deep.pgm": Kind(
        f"P5 {WIDTH} {HEIGHT} 65535\n".encode() + DEEP[..., 0].astype(">u2").tobytes(),
        _SIXTEEN[..., 0],
        (DEEP_GREY,),
    ),
    "deep.tif": Kind(
        _saved(
            Image.frombytes("I;16B", (WIDTH, HEIGHT), DEEP[..., 0].astype(">u2").tobytes()), "TIFF"
        ),
        _SIXTEEN[..., 0],
        (DEEP_GREY,),
    ),
    "rgb.png": Kind(_saved(_RGB, "PNG"), RGB),
    "rgb.bmp": Kind(_saved(_RGB, "BMP"), RGB),
    "rgb.tif": Kind(_saved(_RGB, "TIFF", compression="tiff_lzw"), RGB),
    "rgb.webp": Kind(_saved(_RGB, "WEBP", lossless=True), RGB),
    "rgb.ppm": Kind(_saved(_RGB, "PPM"), RGB),
    "rgb.jpg": Kind(_JPEG, _as_rgb(_JPEG)),
    "previewed.jpg": Kind(_PREVIEWED, _as_rgb(_PREVIEWED)),
    "turned.jpg": Kind(_PHOTO, np.rot90(_as_rgb(_PHOTO), -1), (TURNED,)),
    "turned.png": Kind(_saved(_RGB, "PNG", exif=_exif(6)), np.rot90(RGB, -1), (TURNED,)),
    "upside_down.tif": Kind(_saved(_RGB, "TIFF", exif=_exif(3)), np.rot90(RGB, 2), (TURNED,)),
    "turned.tif": Kind(_saved(_RGB, "TIFF", exif=_exif(8)), np.rot90(RGB), (TURNED,)),
    "cmyk.jpg": Kind(_CMYK_JPEG, _as_rgb(_CMYK_JPEG), (decoding._CMYK,)),
    "deep_colour.png": Kind(
        _png(WIDTH, HEIGHT, b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP), 16),
        (DEEP >> 8).astype(np.uint8),
        (decoding._DEEP_COLOUR,),
    ),
    "deep_colour.ppm": Kind(
        f"P6 {WIDTH} {HEIGHT} 65535\n".encode() + DEEP.astype(">u2").tobytes(),
        _SIXTEEN,
        (decoding._DEEP_COLOUR,),
    ),
    "alpha.png": Kind(_saved(_RGBA, "PNG"), _over_white(RGBA[..., :3], _ALPHA), (WHITE,)),
    "clear.png": Kind(
        _saved(_RGB, "PNG", transparency=tuple(RGB[2, 3].tolist())),
        np.where((RGB[2, 3] == RGB).all(-1, keepdims=True), np.uint8(255), RGB),
        (WHITE,),
    ),
    "opaque.png": Kind(_saved(_RGB.convert("RGBA"), "PNG"), RGB, (WHITE,)),
    "plot.png": Kind(_plot(), _as_rgb(_plot()), (WHITE,)),
    "palette.png": Kind(_saved(_palette(), "PNG"), COLOURS[FEW], (PALETTE,)),
    "clear_palette.png": Kind(
        _saved(_palette(), "PNG", transparency=2), _FEW_CLEAR, (PALETTE, WHITE)
    ),
}


def _write(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(KINDS[name].content)
    return [folder / name for name in names]


def _decoded(
    files: list[Path], folder: Path, resize: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    found = survey(files, resize)
    decode("own:pictures", files, found, resize, folder / "images.npy")
    images = np.load(folder / "images.npy")
    assert images.dtype == np.uint8 and images.shape == (len(files), *found.shape)
    assert not list(folder.glob("*.incomplete"))
    return images, found.notes


@pytest.mark.parametrize("name", KINDS)
def test_every_kind(name, tmp_path):
    files = _write(tmp_path, name)
    kind = KINDS[name]
    pixels = kind.pixels.reshape(*kind.pixels.shape[:2], -1)
    images, notes = _decoded(files, tmp_path)
    np.testing.assert_array_equal(images[0], pixels, strict=True)
    assert notes == tuple(f"1 of 1 images {note}" for note in kind.notes)
    np.testing.assert_array_equal(read(files[0]), pixels, strict=True)


def test_all_levels_over_white(tmp_path):
    level, alpha = np.indices((256, 256), np.uint8)
    (tmp_path / "a.png").write_bytes(_saved(Image.fromarray(np.stack([level, alpha], -1)), "PNG"))
    np.testing.assert_array_equal(read(tmp_path / "a.png")[..., 0], _over_white(level, alpha))


def test_a_mixture_on_many_cores(tmp_path, monkeypatch):
    """Equals a plain loop, in order, with one line for each conversion."""
    monkeypatch.setattr(workers, "cpu_count", lambda: 3)
    files = _write(tmp_path, *KINDS) * 8
    images, notes = _decoded(files, tmp_path, (6, 9))
    assert len(files) >= 3 * workers._FEWEST
    for i, kind in enumerate(KINDS.values()):
        image = Image.fromarray(np.ascontiguousarray(kind.pixels.squeeze()))
        image = image.resize((9, 6), Image.Resampling.BILINEAR).convert("RGB")
        for image_found in images[i :: len(KINDS)]:
            np.testing.assert_array_equal(image_found, np.asarray(image))
    total = f"of {len(files)} images"
    assert notes == (
        f"64 {total} in greyscale become RGB, since others are in colour",
        f"{len(files)} {total} are resized to 6 x 9 (height x width)",
        f"8 {total} {decoding._ONE_BIT}",
        f"56 {total} {WHITE}",
        f"24 {total} {DEEP_GREY}",
        f"32 {total} {TURNED}",
        f"8 {total} {decoding._CMYK}",
        f"16 {total} {decoding._DEEP_COLOUR}",
        f"16 {total} {PALETTE}",
    )


def test_greyscale_stays_greyscale(tmp_path):
    images, notes = _decoded(_write(tmp_path, "grey.png", "bits.png", "deep.png"), tmp_path)
    assert images.shape == (3, HEIGHT, WIDTH, 1) and len(notes) == 2
    images, _ = _decoded(_write(tmp_path, "grey.png"), tmp_path, (28, 28))
    assert images.shape == (1, 28, 28, 1)


def test_an_image_already_of_the_size_asked_for_is_not_resized(tmp_path):
    images, notes = _decoded(_write(tmp_path, "rgb.png"), tmp_path, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(images[0], RGB)
    assert notes == ()


@pytest.mark.parametrize("size", [(99_999, 99_999), (0, 10), (-1, 10)])
def test_impossible_sizes(size, tmp_path):
    with pytest.raises(ValueError, match=f"cannot be resized to {size[0]} x {size[1]}: "):
        survey(_write(tmp_path, "rgb.png"), size)


def test_mixed_sizes_need_resize(tmp_path):
    files = _write(tmp_path, "rgb.png", "grey.png", "turned.png")
    with pytest.raises(ValueError) as raised:
        survey(files, None)
    assert str(raised.value) == (
        f"{files[0]} is 7 x 5 pixels (height x width), but {files[2]} is 5 x 7: give --resize, or "
        "name the data set own:FOLDER@HxW"
    )


@pytest.mark.parametrize("content", [KINDS["turned.png"], KINDS["rgb.png"], Kind(b"", RGB)])
def test_a_file_that_changes_after_the_survey(content, tmp_path):
    files = _write(tmp_path, "grey.png", "bits.png")
    found = survey(files, None)
    files[1].write_bytes(content.content)
    with pytest.raises(ValueError, match=r"^[^ ]*/bits\.png cannot be read as an image: "):
        decode("own:pictures", files, found, None, tmp_path / "images.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bits.png", "grey.png"]


# Processes


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "cpu_count", lambda: 2)
    files = _write(tmp_path, "grey.png") * 300
    found = survey(files, None)
    (tmp_path / "damaged.png").write_bytes(KINDS["grey.png"].content[:60])
    files[120] = tmp_path / "damaged.png"
    with pytest.raises(ValueError, match=r"damaged\.png cannot be read as an image: "):
        decode("own:pictures", files, found, None, tmp_path / "images.npy")
    assert {path.suffix for path in tmp_path.iterdir()} == {".png"}
    assert not multiprocessing.active_children()


def test_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "cpu_count", lambda: 2)
    files = _write(tmp_path, "grey.png") * 300
    found = survey(files, None)

    def interrupt(self: Progress, amount: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode("own:pictures", files, found, None, tmp_path / "images.npy")
    assert {path.suffix for path in tmp_path.iterdir()} == {".png"}
    assert not multiprocessing.active_children()


def test_a_killed_process(monkeypatch):
    monkeypatch.setattr(workers, "cpu_count", lambda: 2)

    def kill(start: int, items: Sequence[int]) -> None:
        os.kill(os.getpid(), 9)

    with pytest.raises(ChildProcessError, match="a process was killed, perhaps"):
        workers.each(kill, list(range(200)), print)
    assert not multiprocessing.active_children()


def test_a_script_without_a_guard(tmp_path):
    _write(tmp_path, "rgb.png")
    (tmp_path / "script.py").write_text("""
from pathlib import Path
from cdis.data import decoding, workers
print("begun")
workers.cpu_count = lambda: 2
files = [Path("rgb.png")] * 200
decoding.decode("own:x", files, decoding.survey(files, None), None, Path("images.npy"))
""")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\n", "")
    assert (np.load(tmp_path / "images.npy") == RGB).all()


# What is refused


def _frames(file_format: str) -> bytes:
    return _saved(_RGB, file_format, save_all=True, append_images=[_RGBA.convert("RGB")])


_HUGE = f"more than {2**26:,} pixels"
_UNKNOWN = "it is not a PNG, JPEG, BMP, TIFF, WebP, PGM or PPM file, or its header is damaged"
_EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
HOSTILE = {
    "20,000 x 20,000": (_png(20_000, 20_000, b""), _HUGE),
    "2^31": (_png(2**31 - 1, 2**31 - 1, b""), _HUGE),
    "pixels of which Pillow does not warn": (_png(9_000, 9_000, b""), _HUGE),
    "pixels of which Pillow warns": (_png(10_000, 10_000, b""), _HUGE),
    "many rows": (_png(1, 2**31 - 1, b""), _HUGE),
    "large bitmap": (b"P6 30000 30000 255\n", _HUGE),
    "no width": (_png(0, 10, b""), _UNKNOWN),
    "no height": (b"P5 10 0 255\n", _UNKNOWN),
    "nothing": (b"", _UNKNOWN),
    "text": (b"no image", _UNKNOWN),
    "EPS": (_EPS.encode(), _UNKNOWN),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', _UNKNOWN),
    "GIF": (_frames("GIF"), _UNKNOWN),
    "animated PNG": (_frames("PNG"), "it has several frames"),
    "animated WebP": (_frames("WEBP"), "it has several frames"),
    "pages": (_frames("TIFF"), "it has several frames"),
    "floats": (_saved(Image.new("F", (2, 2)), "TIFF"), r"\(mode F\)"),
    "below zero": (_saved(Image.new("I", (2, 2), -1), "TIFF"), "levels are from -1 to -1"),
    "32 bits": (_saved(Image.new("I", (2, 2), 70_000), "TIFF"), "from 70,000 to 70,000"),
    "deep with a transparent colour": (
        _saved(_DEEP_GREY_IMAGE, "PNG", transparency=3),
        "16 bits and a transparent colour",
    ),
    "half a PNG": (KINDS["rgb.png"].content[:100], "truncated"),
    "half a JPEG": (_JPEG[:-50], "truncated"),
    "few pixels": (_png(WIDTH, HEIGHT, bytes(3)), "truncated"),
    "checksum": (KINDS["rgb.png"].content.replace(b"IDAT", b"IDBT"), "."),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files(kind, tmp_path):
    content, why = HOSTILE[kind]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} cannot be read as an image: .*{why}") as raised:
        decode("own:x", [path], survey([path], None), None, tmp_path / "images.npy")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "images.npy").exists()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "it is a folder"),
        (os.mkfifo, "it is not a file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
)
def test_what_is_no_file(make, why, tmp_path):
    make(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"/a.png cannot be read as an image: .*{why}"):
        survey([tmp_path / "a.png"], None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a" * 5000, "a{140}[.]{3}a{140} cannot be read as an image: File name too long"),
        ("\ud800.png", r"^\\ud800\.png cannot be read as an image: "),
        ("a\0.png", "cannot be read as an image: embedded null"),
    ],
)
def test_impossible_names(name, said):
    with pytest.raises(ValueError, match=said) as raised:
        survey([Path(name)], None)
    assert len(str(raised.value).encode()) < 700


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    (path,) = _write(tmp_path, "rgb.png")
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything
        monkeypatch.setattr(Image, "open", _denied)
    with pytest.raises(ValueError, match=r"rgb\.png cannot be read as an image: Permission denied"):
        survey([path], None)


def _denied(path: str, formats: tuple[str, ...]) -> None:
    raise PermissionError(13, "Permission denied", path)


# Single images


def _facts(channels: int) -> Info:
    return Info("toy", ("a",), (2,), (False,), (HEIGHT, WIDTH, channels), "", "", "")


def test_single_images_are_converted_alike(tmp_path):
    for name, kind in KINDS.items():
        (path,) = _write(tmp_path, name)
        pixels = kind.pixels.reshape(*kind.pixels.shape[:2], -1)
        if pixels.shape[:2] == (HEIGHT, WIDTH):
            np.testing.assert_array_equal(read_image(str(path), _facts(pixels.shape[2])), pixels)


@pytest.mark.parametrize(
    ("name", "channels", "said"),
    [
        ("grey.png", 3, "is 5 x 7 pixels, greyscale .* toy, which are 5 x 7 pixels, colour"),
        ("rgb.png", 1, "is 5 x 7 pixels, colour .* toy, which are 5 x 7 pixels, greyscale"),
        ("turned.png", 3, "is 7 x 5 pixels, colour .* toy, which are 5 x 7 pixels, colour"),
        ("nothing", 3, "cannot be read as an image: .* Give a PNG of 5 x 7 pixels, colour"),
    ],
)
def test_single_images_that_do_not_fit(name, channels, said, tmp_path):
    path = _write(tmp_path, name)[0] if name in KINDS else tmp_path / name
    with pytest.raises(UserError, match=f"^{path} {said}"):
        read_image(str(path), _facts(channels))
