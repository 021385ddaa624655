"""Light tunnel: a coloured light seen through two polarisers, simulated or photographed.

The light tunnel is one of the Causal Chambers (Gamella, Peters and Bühlmann, "Causal chambers as a
real-world physical testbed for AI methodology", Nature Machine Intelligence, 2025). A hexagonal
light source with brightnesses `red`, `green` and `blue` (0 to 255) shines through two polarisers,
turned by `pol_1` and `pol_2` degrees, into a camera.

In its published ground-truth graph (`causalchamber.ground_truth`) these five are roots, and the
image is their only effect that can be seen in it. What makes one cause another is how they are set:
by the linear structural causal model of the data set lt_crl_benchmark_v1 (Gamella, Bing and Runge,
"Sanity Checking Causal Representation Learning on a Simple Real-World System", ICML 2025), whose
weights and noise variances stand in that data set's params_buchholz_1.py: blue -> green;
blue, green -> pol_2; green, pol_1 -> red; Gaussian noise. There, every variable is standardised and
scaled to 25.5 around 127.5 for brightness, and to 18 degrees around 0 for angles.

light_tunnel/default is rendered by the simulator ModelF3 of the package causalchamber, with the
parameters of its tutorial: a hexagon of one colour. Three channels cannot tell five factors apart,
so two are held still, as by do(red = 127.5, pol_1 = 45). The other three have no causes but one
another and keep their published joint distribution, except that `pol_2` turns half as far, 9
degrees instead of 18: within 45 degrees of 0, brightness then falls steadily with the angle between
the polarisers. So each factor can be read off the colour. Values keep full precision, whereas the
real tunnel is set to whole brightnesses and tenths of a degree.

light_tunnel/real reads the photographs of lt_crl_benchmark_v1.
"""

import contextlib
import csv
import functools
import io
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Float, Num, UInt8
from PIL import Image

from cdis.data import download
from cdis.data.builder import Chunk, ImageBuilder
from cdis.data.generated import GeneratedBuilder
from cdis.data.info import Info
from cdis.data.mechanism import Mechanism
from cdis.data.rendering import brightness, gaussian, render_all, value_statistics
from cdis.errors import UserError

#: In topological order; the first three vary in light_tunnel/default.
NAMES = ("blue", "green", "pol_2", "pol_1", "red")
#: WEIGHTS[i][j]: how factor j acts on factor i, before both are standardised.
WEIGHTS = np.array(
    [
        [0, 0, 0, 0, 0],
        [0.89303215, 0, 0, 0, 0],
        [0.98534901, 0.67726298, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0.71943922, 0, 0.84868401, 0],
    ]
)
_VARIANCES = np.array([1.00502177, 1.16426732, 1.27482347, 1.95646855, 1.3855493])  # of the noise
GRAPH = tuple(tuple(int(weight != 0) for weight in row) for row in WEIGHTS)

_SIDE = 64
_CITATION = (
    "Gamella, Peters and Bühlmann, Causal chambers as a real-world physical testbed for AI "
    "methodology, Nature Machine Intelligence 2025; Gamella, Bing and Runge, Sanity Checking "
    "Causal Representation Learning on a Simple Real-World System, ICML 2025"
)

# The simulated tunnel. Its parameters are those of the tutorial on ModelF3.

_COUNT = 10_000
_VARYING = 3
_RED, _POL_1 = 127.5, 45.0
_CENTRES = np.array([127.5, 127.5, 0.0])
_SPREADS = np.array([25.5, 25.5, 9.0])
_RESPONSE = np.array(
    [
        [0.2995802, 0.06920322, 0.028159],
        [0.04017132, 0.9209918, 0.31265],
        [0.00217392, 0.2071558, 0.75763],
    ]
)  # of the camera's red, green and blue to the light's
_BALANCE = np.array([2.65625, 1.0, 1.77344])  # of the camera's white
_EXPOSURE = 2.0  # the tutorial's 2.5 would overexpose some
_ALIGNED = np.array([0.29, 0.35, 0.33])  # transmission of each colour by aligned polarisers,
_CROSSED = np.array([0.02, 0.08, 0.18])  # and by crossed ones
_RADIUS = 0.22  # of the hexagon, in sides of the image
_INNER = slice(24, 40)  # rows and columns of a square within the hexagon

_CAMERA = _EXPOSURE * _BALANCE[:, None] * _RESPONSE  # from light to picture, both 0 to 1


def _model() -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """The model of the factors that vary: slopes[i, j] of factor i in factor j, and the standard
    deviation of each one's own noise; in physical units.
    """
    weights, variances = WEIGHTS[:_VARYING, :_VARYING], _VARIANCES[:_VARYING]
    effect = np.linalg.inv(np.eye(_VARYING) - weights)
    units = _SPREADS / np.sqrt(np.square(effect) @ variances)
    return weights * units[:, None] / units, units * np.sqrt(variances)


_SLOPES, _NOISE = _model()


@functools.cache
def _table() -> Float[np.ndarray, "n 3"]:
    """The values of every image, float32."""
    noise = _NOISE * gaussian(0, _VARYING * _COUNT).reshape(_VARYING, -1).T
    values = noise @ np.linalg.inv(np.eye(_VARYING) - _SLOPES).T + _CENTRES
    return values.astype(np.float32)


@functools.partial(jax.jit, static_argnames="factor")
def _counterfactual(
    values: Float[Array, "b 3"], factor: int, value: Float[Array, " b"]
) -> Float[Array, "b 3"]:
    changed = values.at[:, factor].set(value)
    for effect in range(factor + 1, _VARYING):
        # In a linear model an effect keeps its noise if it moves as its causes make it.
        moved = (changed - values) @ jnp.asarray(_SLOPES[effect], jnp.float32)
        changed = changed.at[:, effect].add(moved)
    return changed


@functools.cache
def _simulator() -> Any:
    """The simulator. Raises `UserError` if the package is not installed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints whom to cite, and advice
            from causalchamber.simulators.lt import ModelF3
    except ImportError as error:
        raise UserError(
            "light_tunnel/default is rendered by the package causalchamber, which cannot be "
            f"imported ({error}). Install it: pip install 'cdis[chamber]'"
        ) from error
    return ModelF3(
        S=_RESPONSE,
        w_r=_BALANCE[0],
        w_g=_BALANCE[1],
        w_b=_BALANCE[2],
        exposure=_EXPOSURE,
        Tp=_ALIGNED[:, None],
        Tc=_CROSSED[:, None],
        center_x=0.5,
        center_y=0.5,
        radius=_RADIUS,
        offset=0,
        image_size=_SIDE,
    )


def _render(values: Float[np.ndarray, "b 3"]) -> UInt8[Array, "b 64 64 3"]:
    import pandas as pd

    simulator = _simulator()
    blue, green, pol_2 = np.asarray(values, np.float64).T
    inputs = pd.DataFrame({"green": green, "blue": blue, "pol_2": pol_2})
    inputs = inputs.assign(red=_RED, pol_1=_POL_1)
    with warnings.catch_warnings():
        # It computes cross products of plane vectors by a function that NumPy deprecates for them.
        warnings.simplefilter("ignore", DeprecationWarning)
        images = simulator.simulate_from_inputs(inputs)
    return jnp.asarray(np.round(255 * images).astype(np.uint8))


def _transmission(passing: Array) -> Float[Array, "... 3"]:
    """Of each colour, where `passing` [...] is the squared cosine of the polarisers' angle."""
    return jnp.asarray(_ALIGNED - _CROSSED) * passing[..., None] + jnp.asarray(_CROSSED)


def _seen(light: Float[Array, "b 3"], passing: Float[Array, " b"]) -> Float[Array, "b 3"]:
    """The colour of the hexagon, 0 to 1 unless overexposed, for lights from 0 to 1."""
    return light @ jnp.asarray(_CAMERA.T) * _transmission(passing)


@jax.jit
def _referee(images: Num[Array, "b 64 64 3"]) -> Float[Array, "b 3"]:
    """Reads the mean colour within the hexagon.

    Of all the angles that might lie between the polarisers, only one explains the colour by the
    brightness that red is known to have; the more light passes, the less red there must be.
    """
    seen = brightness(images)[:, _INNER, _INNER].mean((1, 2)) / 255

    def light(passing: Array) -> Array:
        return (seen / _transmission(passing)) @ jnp.asarray(np.linalg.inv(_CAMERA).T)

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        more = light(middle)[:, 0] > _RED / 255
        return jnp.where(more, middle, low), jnp.where(more, high, middle)

    low, high = jnp.zeros(len(images)), jnp.ones(len(images))
    low, high = jax.lax.fori_loop(0, 24, halve, (low, high))
    passing = (low + high) / 2
    _, green, blue = 255 * light(passing).T
    pol_2 = _POL_1 - jnp.rad2deg(jnp.arccos(jnp.sqrt(passing)))
    return jnp.stack([blue, green, pol_2], axis=-1)


@jax.jit
def _inside(values: Float[Array, "b 3"]) -> Array:
    """Can the tunnel be set so, is nothing overexposed, and is the angle the one that is read?"""
    blue, green, pol_2 = values.T
    lights = jnp.stack([jnp.full_like(blue, _RED), green, blue], axis=-1)
    seen = _seen(lights / 255, jnp.cos(jnp.deg2rad(_POL_1 - pol_2)) ** 2)
    settable = ((lights >= 0) & (lights <= 255)).all(1)
    return settable & (jnp.abs(pol_2) <= 45) & (seen <= 1).all(1)


class LightTunnel(GeneratedBuilder):
    """light_tunnel/default: simulated; factors blue, green (0 to 255) and pol_2 (degrees)."""

    name = "light_tunnel"
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="default")]

    @classmethod
    def facts(cls, config: Any) -> Info:
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=NAMES[:_VARYING],
            factor_sizes=(0,) * _VARYING,
            circular=(False,) * _VARYING,
            image_shape=(_SIDE, _SIDE, 3),
            licence="MIT (the simulator's)",
            citation=_CITATION,
            description=(
                "A hexagonal light seen through two polarisers, simulated. Brightnesses of blue "
                "and green and the angle of the second polariser; red and the first are fixed."
            ),
            count=_COUNT,
            graph=tuple(row[:_VARYING] for row in GRAPH[:_VARYING]),
            **value_statistics(_table()),
        )

    @classmethod
    def mechanism(cls, config: Any) -> Mechanism:
        del config
        return Mechanism(_counterfactual, _render, _referee, _inside)

    @classmethod
    def examples(cls, config: Any, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = _table()[index]
        return render_all(_render, values), np.zeros(values.shape, np.int32), values


# The photographs

_SET = "lt_crl_benchmark_v1"
# Experiments of the data set differ in how the tunnel was set. In this one, no factor was set apart
# from the structural causal model.
_EXPERIMENT = "buchholz_1_obs"
# The md5 is that of the data set's page. We did not have this file, so we could not check it.
ARCHIVE = download.File(
    f"{_SET}.zip",
    (f"https://causalchamber.s3.eu-central-1.amazonaws.com/downloadables/{_SET}.zip",),
    md5="8ec492afffd0142abd70b1fa7082b104",
)
PHOTOGRAPHS = 10_000


class Photographs(ImageBuilder):
    """light_tunnel/real: photographs of the tunnel; all five factors, in brightnesses and degrees.

    Reads the experiment buchholz_1_obs of lt_crl_benchmark_v1: EXPERIMENT/EXPERIMENT.csv with a
    column for each factor and one of file names, image_file, of images in EXPERIMENT/images_64. An
    image's number is its row. `value_mean` and `value_std` are those to which the published
    protocol scales the factors, where brightnesses are then rounded down.

    This layout is known from the data set's page and from the package's reader; it was tested on
    stand-ins only, since the original was not at hand.
    """

    name = "light_tunnel"
    DONE = "converted"
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="real")]

    @classmethod
    def facts(cls, config: Any) -> Info:
        angle = [name.startswith("pol") for name in NAMES]
        return Info(
            name=f"{cls.name}/{config.name}",
            factor_names=NAMES,
            factor_sizes=(0,) * len(NAMES),
            circular=(False,) * len(NAMES),
            image_shape=(_SIDE, _SIDE, 3),
            licence="CC BY 4.0",
            citation=_CITATION,
            description=(
                "Photographs of a hexagonal light seen through two polarisers: brightnesses of the "
                "light's colours and angles of the polarisers, set by a linear causal model."
            ),
            count=PHOTOGRAPHS,
            graph=GRAPH,
            value_mean=tuple(0.0 if is_angle else 127.0 for is_angle in angle),
            value_std=tuple(18.0 if is_angle else 25.5 for is_angle in angle),
        )

    def fetch(self, downloads: Path, manual_dir: Path | None) -> None:
        info = self.facts(self.builder_config)
        self._read = open_experiment(self._place(info.name, downloads, manual_dir))
        self._images, self._values = read_table(self._read)

    def _place(self, name: str, downloads: Path, manual_dir: Path | None) -> Path:
        """The unpacked data set, or its verified archive."""
        place = manual_dir or downloads / "manual"
        for unpacked in (place, place / _SET):
            if (unpacked / _EXPERIMENT).is_dir():
                return unpacked
        if place.is_file():
            if fault := ARCHIVE.fault(place):
                raise UserError(
                    f"{place} is not the published file of {name}: {fault}. Download it again from "
                    f"{ARCHIVE.urls[0]}."
                )
            return place
        home, by_hand = downloads / self.name, downloads / "manual"
        return download.fetch((ARCHIVE,), name, home, manual_dir, by_hand)[0]

    def chunks(self, index: np.ndarray) -> Iterator[Chunk]:
        for start in range(0, len(index), 1024):
            rows = index[start : start + 1024]
            images = np.stack([read_image(self._read, self._images[i]) for i in rows])
            values = self._values[rows]
            yield Chunk(rows, images, np.zeros(values.shape, np.int32), values)


#: From the name of a file of the experiment, such as "images_64/1.png", to its content.
Read = Callable[[str], bytes]


def open_experiment(place: Path) -> Read:
    """Reads files of the experiment, in the data set's archive or in the folder unpacked from it.

    Raises `UserError` if `place` is a file but no archive; the function does if a file is missing
    or unreadable.
    """
    archive = None
    if place.is_file():
        try:
            archive = zipfile.ZipFile(place)
        except (OSError, zipfile.BadZipFile) as error:
            raise _damaged(place.name, str(error)) from error

    def read(file: str) -> bytes:
        try:
            if archive is not None:
                return archive.read(f"{_SET}/{_EXPERIMENT}/{file}")
            return (place / _EXPERIMENT / file).read_bytes()
        except (OSError, KeyError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(file, str(error)) from error

    return read


def read_table(read: Read) -> tuple[list[str], Float[np.ndarray, "n 5"]]:
    """File names and factors of all photographs. Raises `UserError` for any other table."""
    table = f"{_EXPERIMENT}.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(read(table).decode())))
        files = [Path(row["image_file"]).name for row in rows]
        values = np.array([[float(row[name]) for name in NAMES] for row in rows], np.float32)
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        columns = ", ".join((*NAMES, "image_file"))
        why = f"it must have the columns {columns}, of numbers but for the last"
        raise _damaged(table, f"{why} ({type(error).__name__}: {error})") from error
    if len(rows) != PHOTOGRAPHS or not np.isfinite(values).all():
        raise _damaged(table, f"it must have {PHOTOGRAPHS:,} rows of numbers; it has {len(rows):,}")
    return files, values


def read_image(read: Read, file: str) -> UInt8[np.ndarray, "64 64 3"]:
    """One photograph. Raises `UserError` if it is damaged or has another size or mode."""
    content = io.BytesIO(read(f"images_{_SIDE}/{file}"))
    try:
        with Image.open(content) as image:
            if image.size != (_SIDE, _SIDE) or image.mode != "RGB":
                raise ValueError(f"it is {image.mode} {image.size}, not RGB {(_SIDE, _SIDE)}")
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: str, why: str) -> UserError:
    return UserError(
        f"{file} of {_SET}, experiment {_EXPERIMENT}, is missing, damaged or in another format: "
        f"{why}. Delete the old files, download {ARCHIVE.urls[0]} again, and run: cdis data "
        f"prepare {LightTunnel.name}/real"
    )
