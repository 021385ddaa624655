"""The library's face: train, evaluate, and a trained method at work on arrays of images."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict

from cdis import data, methods
from cdis.chunks import in_chunks
from cdis.compiled import keep_compiled_programs
from cdis.config import load_config, override
from cdis.data.combinations import as_configured
from cdis.data.info import Dataset, Info
from cdis.data.mechanism import Mechanism
from cdis.errors import UserError, near_miss
from cdis.ops.images import to_uint8
from cdis.ops.retrieve import Steps
from cdis.trained import BATCH, WIDTH, Trained
from cdis.training.checkpoint import restore
from cdis.training.workdir import METRICS

#: A factor can be set to values so many standard deviations from its mean.
_RANGE = 3.0

Representation = dict[str, np.ndarray]


class Samples(NamedTuple):
    """New images that a method has drawn."""

    images: UInt8[np.ndarray, "b h w c"]
    #: of the factors (``info.factor_names``), as the latents say: in the units of the data set; of
    #: a binary factor, the probability of 1
    values: Float[np.ndarray, "b f"]
    vectors: Float[np.ndarray, "b l"]  #: the latents, as `Run.decode` takes them


def load(workdir: str | os.PathLike) -> "Run":
    """The trained method of a workdir, from its newest checkpoint.

    Raises `UserError` if the directory is no workdir, or has no checkpoint or a damaged one.
    """
    return Run(workdir)


def train(
    config: str | os.PathLike | ConfigDict,
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    feed: str = "auto",
    dataset: Dataset | None = None,
) -> "Run":
    """Train an experiment, from where `workdir` left off, and load the result.

    Args:
      config: name of an experiment, such as "ct_vae/quickstart" or "ct_vae/quickstart:smoke"; path
        of an experiment file; or a config.
      workdir: gets config, checkpoints and logs. It may be new, or the one of a stopped run of the
        same config.
      data_dir: where data sets are kept; see `cdis.data.prepare`.
      overrides: fields of the config to change, by dotted name: {"stages.joint.steps": 100}.
      feed: where images come from; see `cdis.data.load`.
      dataset: data in memory, used in place of the data set that the config names.

    Returns:
      What was trained. After Ctrl-C or SIGTERM, that is the step that was saved.

    Raises:
      UserError: the config, workdir or data cannot be used; see `cdis.training.loop.train`.
    """
    from cdis.training import loop, parallel  # import the input pipeline, which only training needs

    _check_dataset(dataset)
    keep_compiled_programs()
    loop.train(_config(config, overrides), workdir, data_dir, feed=feed, dataset=dataset)
    parallel.barrier("trained")  # the first process has written the last checkpoint
    return load(workdir)


def evaluate(
    run: "str | os.PathLike | Run",
    data_dir: str | None = None,
    *,
    dataset: Dataset | None = None,
    mechanism: Mechanism | None = None,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure a trained method on held-out images and write metrics.json into its workdir.

    Args:
      run: a workdir, or what `load` or `train` returned.
      data_dir: where data sets are kept; see `cdis.data.prepare`.
      dataset: data in memory to measure on, in place of those that were trained on.
      mechanism: the causal mechanism behind `dataset`, if it is known.
      progress: called with a line of text for each part that is measured.

    Returns:
      The contents of metrics.json.

    Raises:
      UserError: the workdir has no usable checkpoint, or its data set cannot be had.
    """
    from cdis.measure import evaluate as measure  # imports the metrics and their libraries

    _check_dataset(dataset)
    keep_compiled_programs()
    workdir = run.workdir if isinstance(run, Run) else run
    return measure(workdir, data_dir, dataset=dataset, mechanism=mechanism, progress=progress)


class Run:
    """A trained method at work on NumPy arrays.

    Images are uint8 ``[B, H, W, C]``, from 0 to 255, of the size that was trained on
    (``info.image_shape``). B is any number; one image may come without its batch axis, as
    ``[H, W, C]``, and then the result has no batch axis either. The rows of a batch are
    independent. The first call of a function compiles it, once for single images and once for
    batches; compiled programs are kept for later processes (`cdis.compiled`).

    Each function raises `UserError` if the method lacks the ability, or if an array has another
    shape or type than expected.

    Attributes:
      workdir: where it was trained.
      config: what it was trained with; locked.
      info: the data set that it was trained on: factor names, image shape and more.
      step: training steps behind it, over all stages.
    """

    workdir: Path
    config: ConfigDict
    info: Info
    step: int

    def __init__(self, workdir: str | os.PathLike):
        keep_compiled_programs()
        restored = restore(workdir)
        self.workdir = Path(workdir)
        self.config, self.info, self.step = restored.config, restored.info, restored.step
        method = methods.make(self.config, self.info)
        self._trained = Trained(method, restored.variables, self.info)
        self._shapes = jax.eval_shape(lambda: restored.variables)

    def __repr__(self) -> str:
        return (
            f"<cdis.run.Run {str(self.workdir)!r}: {self.config.method} on {self.info.name}, "
            f"step {self.step}>"
        )

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions by index, such as "hue+1"; none if factors are continuous.

        They name the columns of what `retrieve` returns.
        """
        return () if 0 in self.info.factor_sizes else self.info.action_names

    @property
    def latent_names(self) -> tuple[str, ...]:
        """Names of the factors that the first entries of "vectors" stand for; () if none do."""
        return self.info.factor_names[: self._trained.method.factors.num_labelled]

    @property
    def metrics(self) -> dict[str, Any]:
        """The contents of metrics.json. Raises `UserError` if the run has not been evaluated."""
        path = self.workdir / METRICS
        try:
            return json.loads(path.read_text())
        except FileNotFoundError as error:
            raise UserError(
                f"{self.workdir} has not been evaluated: it has no {METRICS}. Call "
                f"cdis.evaluate(run), or run `cdis evaluate --workdir {self.workdir}`."
            ) from error
        except ValueError as error:
            raise UserError(
                f"{path} is damaged ({error}). Run `cdis evaluate --workdir {self.workdir}` again."
            ) from error

    def dataset(self, data_dir: str | None = None) -> Dataset:
        """The data set that ``config.data`` names, split as for training.

        Args:
          data_dir: where data sets are kept; see `cdis.data.prepare`.

        Raises:
          UserError: it cannot be had; see `cdis.data.load`.
        """
        return as_configured(data.load(self.config.data.name, data_dir), self.config.data)

    def encode(
        self,
        images: UInt8[np.ndarray, "*b h w c"],
        values: Float[np.ndarray, "*b f"] | None = None,
    ) -> Representation:
        """The representation of images.

        Args:
          images: uint8 ``[B, H, W, C]`` or ``[H, W, C]``.
          values: the labels of the images, float ``[B, F]`` or ``[F]``, in the units of the data
            set, for an encoder that reads them.

        Returns:
          ``{"vectors": float32 [B, d]}`` and, of a method with discrete codes, ``"codes"``: int32
          ``[B, N]``, an index into the codebook for each of the N nodes.
        """
        batch, single = self._images(images, "images")
        labels = None if values is None else self._labels(values, len(batch), single)
        found = self._trained.encode(batch, labels)
        return {name: part[0] for name, part in found.items()} if single else found

    def decode(self, representation: Representation) -> UInt8[np.ndarray, "*b h w c"]:
        """Images of a representation, as `encode` returns it.

        Args:
          representation: ``{"vectors": float [B, d]}``, or ``[d]`` for one image; further entries
            of `encode`'s result may be left out if the method does without them.

        Returns:
          uint8 ``[B, H, W, C]``, or ``[H, W, C]`` for one image.
        """
        parts, single = {}, False
        for name, like in self._representation().items():
            if name in representation:
                part = np.asarray(representation[name])
                kind = np.floating if like.dtype == np.float32 else np.integer
                fits = part.ndim in (1, 2) and part.shape[-1:] == like.shape
                if not fits or not np.issubdtype(part.dtype, kind):
                    raise _wrong_array(f"representation[{name!r}]", part, like)
                single = part.ndim == 1
                parts[name] = np.atleast_2d(part).astype(like.dtype)
        lengths = {name: len(part) for name, part in parts.items()}
        if "vectors" not in parts or len(set(lengths.values())) > 1 or not lengths["vectors"]:
            raise UserError(
                'A representation is a dict as encode returns it, with at least "vectors", and '
                f"one row in each part for each image; given: {lengths or list(representation)}."
            )
        return self._pixels(self._trained.decode(parts), single)

    def retrieve(
        self, x: UInt8[np.ndarray, "*b h w c"], y: UInt8[np.ndarray, "*b h w c"]
    ) -> Float[np.ndarray, "*b a"]:
        """Probability of each action to be the one that leads from image x to image y.

        Args:
          x: uint8 ``[B, H, W, C]`` or ``[H, W, C]``, before the action.
          y: of the same shape, after it.

        Returns:
          float32 ``[B, A]``, or ``[A]`` for one pair; rows sum to 1, `actions` names the columns.
        """
        before, after, single = self._pairs(x, y)
        found = self._trained.retrieve(before, after)
        return found[0] if single else found

    def retrieve_steps(
        self,
        x: UInt8[np.ndarray, "*b h w c"],
        y: UInt8[np.ndarray, "*b h w c"],
        max_steps: int = 3,
        *,
        width: int = WIDTH,
    ) -> Steps:
        """The steps of each factor that lead from image x to image y: several actions, or none.

        A beam search through the codes (`cdis.ops.retrieve.search_steps`), by a method that has
        learnt single actions.

        Args:
          x: uint8 ``[B, H, W, C]`` or ``[H, W, C]``, before the actions.
          y: of the same shape, after them.
          max_steps: the most steps in all, over all factors; 1 or more.
          width: answers of each number of steps that the search goes on from; 1 or more.

        Returns:
          ``steps``: int32 ``[B, F]``, or ``[F]`` for one pair, signed: +2 is two steps up. Of a
          circular factor, the shorter way round. ``probability``: float32 ``[B]``, relative to all
          answers that the search has scored.
        """
        for name, number in (("max_steps", max_steps), ("width", width)):
            if not _is_whole(number, 1, None):
                raise UserError(f"{name} must be a whole number above 0, not {number!r}.")
        before, after, single = self._pairs(x, y)
        found = self._trained.retrieve_steps(before, after, max_steps=max_steps, width=width)
        return Steps(*(part[0] for part in found)) if single else found

    def intervene(
        self,
        images: UInt8[np.ndarray, "*b h w c"],
        action: str | int | Sequence[Any] | Int[np.ndarray, "..."],
        *further: str | int | Sequence[Any] | Int[np.ndarray, "..."],
    ) -> UInt8[np.ndarray, "*b h w c"]:
        """What images would look like after an action, or after several, one after another.

        Several actions move through the representation; no image is drawn and encoded between.

        Args:
          images: uint8 ``[B, H, W, C]`` or ``[H, W, C]``.
          action: a name of `actions`, such as "hue+1", or its index; or one for each image,
            ``[B]``; or several for each, ``[B, k]``. For one image without a batch axis, a list
            holds several.
          further: actions to apply after it: ``run.intervene(images, "hue+1", "x-1")``.

        Returns:
          uint8, of the shape of `images`.
        """
        batch, single = self._images(images, "images")
        given = [self._action_indices(one, len(batch), single) for one in (action, *further)]
        index = np.concatenate(given, axis=1)
        return self._pixels(
            self._trained.intervene(batch, index[:, 0] if index.shape[1] == 1 else index), single
        )

    def do(
        self,
        images: UInt8[np.ndarray, "*b h w c"],
        /,
        **factor: float | str | Sequence[float] | Sequence[str] | Float[np.ndarray, " b"],
    ) -> UInt8[np.ndarray, "*b h w c"]:
        """Counterfactual images: factors set to values, their effects following.

        What neither is set nor depends on what is set stays as it is in each image. A factor that
        is set keeps its value, even if one of its causes is set as well.

        Args:
          images: uint8 ``[B, H, W, C]`` or ``[H, W, C]``.
          factor: one or several, by name: ``run.do(images, light_position=12.5)``. The value is in
            the units of the data set, within three standard deviations of the factor's mean
            (``info.value_mean``, ``info.value_std``) or, of a binary factor, from 0 to 1. A value
            that has a name may be given by it: ``run.do(images, colour="red")``. Or one value for
            each image.

        Returns:
          uint8, of the shape of `images`.
        """
        if not factor:
            raise UserError("do needs a factor and its value, such as do(images, light=12.5).")
        batch, single = self._images(images, "images")
        return self._pixels(self._trained.do(batch, self._values(factor, len(batch))), single)

    def sample(
        self,
        count: int,
        /,
        *,
        seed: int = 0,
        **factor: float | str | Sequence[float] | Sequence[str] | Float[np.ndarray, " b"],
    ) -> Samples:
        """New images: new noise through the causal flow, decoded.

        They follow the distribution that the model has learnt or, with factors set, the
        interventional one: what is set keeps its value, and its effects follow.

        Args:
          count: how many, at least 1. Fewer samples of the same seed are the first of more.
          seed: of the noise, from 0 to 2^32 - 1.
          factor: factors to set, as for `do`: ``run.sample(16, light_position=12.5)``.
        """
        if not _is_whole(count, 1, None):
            raise UserError(f"The count of samples must be a whole number above 0, not {count!r}.")
        if not _is_whole(seed, 0, 2**32):
            raise UserError(f"seed must be a whole number from 0 to 2^32 - 1, not {seed!r}.")
        self._trained.need("sample", self._trained.method.factors.sample)
        vectors = self._trained.sample(count, seed, self._values(factor, count))["vectors"]
        images = in_chunks(
            lambda rows: to_uint8(self._trained.decode({"vectors": vectors[rows]})),
            count,
            size=BATCH,
        )
        return Samples(images, _physical(self.info, vectors), vectors)

    def _values(self, factors: Mapping[str, Any], count: int) -> dict[int, Float[np.ndarray, " b"]]:
        """The values of factors by index, one for each of `count` images."""
        found = {}
        for name, value in factors.items():
            factor = _factor(self.info, name)
            numbers = _value_indices(self.info, name, np.asarray(value))
            if not np.issubdtype(numbers.dtype, np.number):
                raise UserError(f"{name} must be a number, or one for each image, not {value!r}.")
            found[factor] = _one_each(name, numbers, count).astype(np.float32)
            _check_values(self.info, factor, found[factor])
        return found

    def _images(self, images: Any, name: str) -> tuple[UInt8[np.ndarray, "b h w c"], bool]:
        """A batch, and whether it was one image without a batch axis."""
        array, like = np.asarray(images), jax.ShapeDtypeStruct(self.info.image_shape, np.uint8)
        if array.dtype != np.uint8 or array.shape[-3:] != like.shape or array.ndim > 4:
            raise _wrong_array(name, array, like)
        if array.ndim == 4 and not len(array):
            raise UserError(f"{name} holds no images: its shape is {list(array.shape)}.")
        single = array.ndim == 3
        return (array[None] if single else array), single

    def _pairs(
        self, x: Any, y: Any
    ) -> tuple[UInt8[np.ndarray, "b h w c"], UInt8[np.ndarray, "b h w c"], bool]:
        """Two batches of as many images, and whether they were single images."""
        before, single = self._images(x, "x")
        after, _ = self._images(y, "y")
        if np.shape(x) != np.shape(y):
            raise UserError(
                f"x and y must be as many images, but have the shapes {list(np.shape(x))} and "
                f"{list(np.shape(y))}."
            )
        return before, after, single

    def _labels(self, values: Any, count: int, single: bool) -> Float[np.ndarray, "b f"]:
        array, factors = np.asarray(values), self.info.num_factors
        wanted = (factors,) if single else (count, factors)
        if array.shape != wanted or not np.issubdtype(array.dtype, np.number):
            raise UserError(
                f"values must be numbers of the shape {list(wanted)}, one for each factor "
                f"({', '.join(self.info.factor_names)}), not {array.dtype}{list(array.shape)}."
            )
        return array.reshape(count, factors).astype(np.float32)

    def _action_indices(self, action: Any, count: int, single: bool) -> Int[np.ndarray, "b k"]:
        """The actions of each image, in the order in which to apply them."""
        try:
            chosen = np.asarray(action)
        except ValueError as error:
            raise UserError(
                "Each image must have as many actions as any other: give an action, one for each "
                "image, or k for each."
            ) from error
        if chosen.dtype.kind == "U":
            chosen = np.vectorize(self.info.action_index, otypes=[np.int64])(chosen)
        if not np.issubdtype(chosen.dtype, np.integer):
            raise UserError(
                f"action must be a name or an index of run.actions, or one for each image, not "
                f"{chosen.dtype}{list(chosen.shape)}."
            )
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < self.info.num_actions:
            raise UserError(
                f"Actions are numbered from 0 to {self.info.num_actions - 1} "
                f"({', '.join(self.info.action_names)}); {chosen.min()} to {chosen.max()} is out "
                "of range."
            )
        chosen = chosen[None] if single and chosen.ndim == 1 else chosen
        if chosen.ndim < 2:
            chosen = _one_each("action", chosen, count)[:, None]
        if chosen.ndim > 2 or len(chosen) != count:
            raise UserError(
                f"action must be one for all images, one for each of the {count}, or k for each, "
                f"not an array of the shape {list(np.shape(action))}."
            )
        return chosen.astype(np.int32)

    def _representation(self) -> dict[str, jax.ShapeDtypeStruct]:
        """What `encode` returns for one image, as shapes and types."""
        encode = self._trained.method.encode
        if encode is None:
            raise UserError(f"{self.config.method} cannot encode images, nor decode them.")
        image = jax.ShapeDtypeStruct((1, *self.info.image_shape), np.uint8)
        values = jax.ShapeDtypeStruct((1, self.info.num_factors), np.float32)
        found = jax.eval_shape(encode, self._shapes, image, values)
        return {
            name: jax.ShapeDtypeStruct(part.shape[1:], part.dtype) for name, part in found.items()
        }

    def _pixels(self, images: Float[np.ndarray, "b h w c"], single: bool) -> np.ndarray:
        stored = to_uint8(images)
        return stored[0] if single else stored


def _factor(info: Info, name: str) -> int:
    """The index of a factor; raises `UserError` for an unknown name."""
    if name not in info.factor_names:
        raise UserError(
            f"{info.name} has no factor {name!r}{near_miss(name, info.factor_names)}. "
            f"Its factors are {', '.join(info.factor_names)}."
        )
    return info.factor_names.index(name)


def _check_values(info: Info, factor: int, values: Float[np.ndarray, " b"]) -> None:
    """Raises `UserError` for values that are no numbers or out of the range of `Run.do`."""
    name = info.factor_names[factor]
    if info.value_mean is None or info.value_std is None:
        raise UserError(
            f"The factors of {info.name} have no values to set, only steps to take: use an action "
            f"(--action), one of {', '.join(info.action_names)}."
        )
    mean, std = info.value_mean[factor], info.value_std[factor]
    low, high = mean - _RANGE * std, mean + _RANGE * std
    about = f", {_RANGE:g} standard deviations about its mean, {mean:.4g}"
    if info.binary[factor]:
        low, high, about = 0.0, 1.0, ", between its two values"
    outside = values[~((low <= values) & (values <= high))]  # and what is not a number
    if len(outside):
        raise UserError(
            f"{name} = {outside[0]:g} is out of range. Give {name} a number from {low:.4g} to "
            f"{high:.4g}{about}."
        )


def _physical(info: Info, vectors: Float[np.ndarray, "b l"]) -> Float[np.ndarray, "b f"]:
    """The values for which labelled latents stand; see `Samples.values`."""
    latents = vectors[:, : info.num_factors]
    probability = (1 + np.tanh(latents / 2)) / 2  # the logistic function, without overflow
    values = latents * np.array(info.value_std) + np.array(info.value_mean)
    return np.where(info.binary, probability, values).astype(np.float32)


def _is_whole(number: Any, least: int, below: int | None) -> bool:
    """Is it a whole number in this range?"""
    if not isinstance(number, int | np.integer) or isinstance(number, bool):
        return False
    return least <= int(number) and (below is None or int(number) < below)


def _value_indices(info: Info, name: str, given: np.ndarray) -> np.ndarray:
    """Indices of values that are given by their names; other arrays as they are."""
    names = info.names_of(info.factor_names.index(name))
    if given.dtype.kind != "U" or not names:
        return given
    unknown = [one for one in given.ravel().tolist() if one not in names]
    if unknown:
        raise UserError(
            f"{name} has no value {unknown[0]!r}{near_miss(unknown[0], names)}. Its values are "
            f"{', '.join(names)}."
        )
    return np.vectorize(names.index, otypes=[np.int64])(given)


def _config(
    config: str | os.PathLike | ConfigDict, overrides: Mapping[str, Any] | None
) -> ConfigDict:
    if not isinstance(config, ConfigDict):
        return load_config(str(config), overrides)
    copy = config.copy_and_resolve_references()
    override(copy, overrides or {})
    return copy.lock()


def _check_dataset(dataset: Any) -> None:
    if not isinstance(dataset, Dataset | None):
        raise UserError(
            "dataset must be a cdis.data.Dataset, such as cdis.data.from_arrays makes, not "
            f"{type(dataset).__name__}."
        )


def _one_each(name: str, given: np.ndarray, count: int) -> np.ndarray:
    """One entry for each of `count` images, from one for all or one for each."""
    if given.shape not in ((), (count,)):
        raise UserError(
            f"{name} must be one for all images or one for each of the {count}, not an array of "
            f"the shape {list(given.shape)}."
        )
    return np.broadcast_to(given, count)


def _wrong_array(name: str, array: np.ndarray, like: jax.ShapeDtypeStruct) -> UserError:
    """`like` is one row of what was expected."""
    row = ", ".join(map(str, like.shape))
    values = " from 0 to 255" if like.dtype == np.uint8 else ""
    return UserError(
        f"{name} must be {like.dtype}{values} of the shape [B, {row}], or [{row}] for one image; "
        f"it is {array.dtype} of the shape {list(array.shape)}."
    )
