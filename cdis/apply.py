"""A trained method at work on the user's own images: which action, and what if."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cdis.data import Info
from cdis.errors import UserError, near_miss
from cdis.files import write_bytes
from cdis.methods.base import Method, Variables
from cdis.ops.images import to_uint8
from cdis.train.checkpoint import read_info, restore
from cdis.train.loop import make_method

_MODES = {1: "L", 3: "RGB"}
_SPELLED = {"L": "greyscale (mode L)", "RGB": "colour (mode RGB)"}

#: How many standard deviations from its mean a factor can be set to; within 2 lies a uniform one.
_WIDE = 3.0


class Trained(NamedTuple):
    """A method with what it has learnt, and the data set it has learnt from."""

    method: Method
    variables: Variables
    info: Info


def retrieve(workdir: str, x: str, y: str) -> dict[str, float]:
    """Probability of each action to be the one that leads from image `x` to image `y`.

    Args:
      workdir: of a trained method.
      x: path of an image.
      y: path of another, one action away.

    Returns:
      action name -> probability, the likeliest first.

    Raises:
      UserError: no usable workdir or image, or a method that cannot tell actions.
    """
    info = _info(workdir)
    before, after = read_image(x, info), read_image(y, info)
    trained = _load(workdir)
    score = _ability(trained.method.actions.retrieve, workdir, "tell actions")
    probabilities = np.asarray(jax.jit(score)(trained.variables, before[None], after[None])[0])
    order = np.argsort(-probabilities, kind="stable")
    return {info.action_names[action]: float(probabilities[action]) for action in order}


def intervene(workdir: str, x: str, action: str, out: str, *, overwrite: bool = False) -> None:
    """Writes to `out` what image `x` would be like after `action`, as a PNG.

    The file is written whole or not at all.

    Raises:
      UserError: no usable workdir or image, an unknown action, a method that cannot intervene, or
        an `out` that exists (unless `overwrite`) or cannot be written.
    """
    info = _info(workdir)
    index = info.action_index(action)
    image = read_image(x, info)
    check_free(out, overwrite)
    trained = _load(workdir)
    change = _ability(trained.method.actions.intervene, workdir, "intervene")
    changed = jax.jit(change)(trained.variables, image[None], jnp.array([index], jnp.int32))[0]
    write_image(out, to_uint8(np.asarray(changed)))


def intervene_value(workdir: str, x: str, do: str, out: str, *, overwrite: bool = False) -> None:
    """Writes to `out` what image `x` would be like under `do`, such as "light_position=12.5".

    The factor is set, its effects follow, and all else stays (`Method.intervene_value`). The file
    is written whole or not at all.

    Raises:
      UserError: no usable workdir or image, a `do` that cannot be read, an unknown factor, a value
        out of range, a method that cannot set values, or an `out` that exists (unless `overwrite`)
        or cannot be written.
    """
    info = _info(workdir)
    factor, value = read_do(do, info)
    image = read_image(x, info)
    check_free(out, overwrite)
    trained = _load(workdir)
    change = _ability(trained.method.factors.do, workdir, "set values", "CauF-VAE")
    values = jnp.full(1, value, jnp.float32)
    changed = jax.jit(change)(trained.variables, image[None], jnp.int32(factor), values)[0]
    write_image(out, to_uint8(np.asarray(changed)))


def read_do(text: str, info: Info) -> tuple[int, float]:
    """The factor's number and the value of "NAME=VALUE".

    Raises `UserError` for a factor that there is not, and for what is not a number or farther from
    the factor's mean than its values spread.
    """
    name, equals, number = text.partition("=")
    if not equals:
        raise UserError(f"--do {text} cannot be read: write NAME=VALUE, such as --do light=12.5.")
    if name not in info.factor_names:
        raise UserError(
            f"{info.name} has no factor {name!r}{near_miss(name, info.factor_names)}. "
            f"Its factors are {', '.join(info.factor_names)}."
        )
    factor = info.factor_names.index(name)
    if info.value_mean is None or info.value_std is None:
        raise UserError(
            f"The factors of {info.name} have no values to set, only steps to take: use --action, "
            f"one of {', '.join(info.action_names)}."
        )
    mean, std = info.value_mean[factor], info.value_std[factor]
    low, high = mean - _WIDE * std, mean + _WIDE * std
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise UserError(
            f"--do {text}: {number or 'nothing'} is out of range. Give {name} a number from "
            f"{low:.4g} to {high:.4g}, {_WIDE:g} standard deviations about its mean, {mean:.4g}."
        )
    return factor, value


def read_image(path: str, info: Info) -> UInt8[np.ndarray, "h w c"]:
    """An image file as the data set's images are; `UserError` if its size or mode is another's."""
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
            f"images of {info.name}, on which this was trained, are {width} x {height} pixels, "
            f"{_SPELLED[wanted]}. Convert it, or give another image."
        )
    return pixels.reshape(info.image_shape)


def write_image(path: str, pixels: UInt8[np.ndarray, "h w c"]) -> None:
    """Writes a PNG, whole or not at all; `UserError` if it cannot be written."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    try:
        write_bytes(Path(path), content.getvalue())
    except OSError as error:
        raise UserError(
            f"{path} could not be written: {error.strerror}. Make room there or allow writing, or "
            "choose another --out."
        ) from error


def check_free(path: str, overwrite: bool) -> None:
    """`UserError` unless a PNG may be written to `path`."""
    out = Path(path)
    if out.suffix.lower() != ".png":
        raise UserError(f"{out} does not end in .png, and PNG is what is written. Rename --out.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} to. Make it first.")
    if out.is_dir():
        raise UserError(f"{out} is a folder. Give --out the name of a file.")
    if out.exists() and not overwrite:
        raise UserError(
            f"{out} exists and was left as it is. Choose another --out, or add --overwrite."
        )


def _info(workdir: str) -> Info:
    return read_info(workdir)


def _load(workdir: str) -> Trained:
    restored = restore(workdir)
    method = make_method(restored.config, restored.info)
    return Trained(method, restored.variables, restored.info)


def _ability(
    function: Callable[..., Any] | None, workdir: str, what: str, example: str = "CT-VAE"
) -> Callable[..., Any]:
    if function is None:
        raise UserError(
            f"The method that was trained in {workdir} cannot {what}. Give the --workdir of one "
            f"that can, such as {example}."
        )
    return function
