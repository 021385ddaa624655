"""A trained method at work on arrays of any length: compiled once, padded inside."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray, UInt8

from cdis.chunks import in_chunks
from cdis.data.info import Info
from cdis.errors import UserError
from cdis.methods.base import ActionGraph, FactorGraph, Method, Variables
from cdis.ops.retrieve import Steps

#: Rows that a compiled function takes at a time; a single row has a function of its own.
BATCH = 128
#: Answers of each length that the search for several actions goes on from.
WIDTH = 16
#: How the function of a single row is compiled on a CPU, where compiling in full takes far longer
#: than it could ever save: without optimisation, and without a thread for each part.
_QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_parallel_codegen_split_count": 1}


class Trained:
    """The functions of a method with the variables it has learnt, from NumPy to NumPy.

    Images go in as uint8 ``[B, H, W, C]`` and come out as float32 in [-1, 1]; B is any number, and
    the rows of a batch are independent. Each function raises `UserError` if the method lacks it.

    Attributes:
      method: what was trained.
      info: the data set that it was trained on.
    """

    def __init__(self, method: Method, variables: Variables, info: Info):
        self.method, self.info = method, info
        self._variables = jax.device_put(variables)
        self._compiled: dict[str, Callable[..., Any]] = {}

    def encode(
        self, images: UInt8[np.ndarray, "b h w c"], values: Float[np.ndarray, "b f"] | None = None
    ) -> dict[str, np.ndarray]:
        """``{"vectors": float32 [B, d]}`` and, of a method with codes, ``"codes": int32 [B, N]``.

        `values` are the labels, physical, for an encoder that reads them.
        """
        return self._run("encode", self.method.encode, images, *_given(values))

    def decode(self, representation: dict[str, np.ndarray]) -> Float[np.ndarray, "b h w c"]:
        """Images of a representation, as `encode` gives it."""
        names = tuple(representation)

        def decode(variables: Variables, *parts: Any) -> Any:
            assert self.method.decode is not None
            return self.method.decode(variables, dict(zip(names, parts, strict=True)))

        arrays = (representation[name] for name in names)
        name = f"decode/{'+'.join(names)}"  # a function of its own for each order of the parts
        return self._run(name, decode if self.method.decode else None, *arrays)

    def reconstruct(
        self, images: UInt8[np.ndarray, "b h w c"], values: Float[np.ndarray, "b f"] | None = None
    ) -> Float[np.ndarray, "b h w c"]:
        """Images, encoded (with `values` as in `encode`) and decoded."""
        encode, decode = self.method.encode, self.method.decode

        def reconstruct(variables: Variables, images: Any, *values: Any) -> Any:
            assert encode is not None and decode is not None
            return decode(variables, encode(variables, images, *values))

        able = reconstruct if encode and decode else None
        return self._run("reconstruct", able, images, *_given(values))

    def retrieve(
        self, x: UInt8[np.ndarray, "b h w c"], y: UInt8[np.ndarray, "b h w c"]
    ) -> Float[np.ndarray, "b a"]:
        """Probability of each action to be the one that leads from x to y."""
        return self._run("retrieve", self.method.actions.retrieve, x, y)

    def retrieve_steps(
        self,
        x: UInt8[np.ndarray, "b h w c"],
        y: UInt8[np.ndarray, "b h w c"],
        *,
        max_steps: int,
        width: int = WIDTH,
    ) -> Steps:
        """The steps of each factor that lead from x to y, up to `max_steps` in all, as NumPy."""
        search = self.method.actions.retrieve_steps

        def as_dict(variables: Variables, x: Any, y: Any) -> dict[str, Any]:
            assert search is not None
            return search(variables, x, y, max_steps=max_steps, width=width)._asdict()

        name = f"retrieve_steps/{max_steps}/{width}"
        return Steps(**self._run(name, as_dict if search else None, x, y))

    def intervene(
        self, images: UInt8[np.ndarray, "b h w c"], action: Int[np.ndarray, "b *k"]
    ) -> Float[np.ndarray, "b h w c"]:
        """Images after an action on each, or after k actions on each, one after another."""
        return self._run("intervene", self.method.actions.intervene, images, action)

    def describe(
        self, images: UInt8[np.ndarray, "b h w c"], action: Int[np.ndarray, " b"]
    ) -> ActionGraph:
        """What an action on each image does to its graph, as NumPy arrays."""
        describe = self.method.actions.describe

        def as_dict(variables: Variables, images: Any, action: Any) -> dict[str, Any]:
            assert describe is not None
            return describe(variables, images, action)._asdict()

        return ActionGraph(**self._run("describe", as_dict if describe else None, images, action))

    def do(
        self,
        images: UInt8[np.ndarray, "b h w c"],
        factors: Mapping[int, Float[np.ndarray, " b"]],
        labels: Float[np.ndarray, "b f"] | None = None,
    ) -> Float[np.ndarray, "b h w c"]:
        """Counterfactual images: factors, by index, set to values (physical).

        `labels` are those of the images before that, physical, for an encoder that reads them.
        """
        do = self.method.factors.do

        def with_fixed_last(variables: Variables, images: Any, values: Any, *rest: Any) -> Any:
            *labels, fixed = rest
            assert do is not None
            return do(variables, images, fixed, values, *labels)

        fixed, values = self._fixed(len(images), factors)
        able = with_fixed_last if do else None
        return self._run("do", able, images, values, *_given(labels), shared=(fixed,))

    def sample(
        self, count: int, seed: int, factors: Mapping[int, Float[np.ndarray, " b"]]
    ) -> dict[str, np.ndarray]:
        """Representations of `count` new images, with factors, by index, set to values (physical).

        A sample depends on the seed, its place and its values alone, not on `count`.
        """
        compiled = self._function("sample", self.method.factors.sample)
        fixed, values = self._fixed(count, factors)
        key = jax.random.key(seed)

        def new(rows: np.ndarray) -> Any:
            own_key = jax.random.fold_in(key, rows[0])
            return compiled(self._variables, own_key, fixed, values[rows])

        return in_chunks(new, count, size=BATCH)

    def structure(self, values: Float[np.ndarray, "b f"]) -> FactorGraph:
        """The factors' graph at these factor values (physical), all in one batch, as NumPy."""
        found = self._function("structure", self.method.factors.structure)(self._variables, values)
        return FactorGraph(*jax.device_get(found))

    def elbo(
        self,
        images: UInt8[np.ndarray, "b h w c"],
        values: Float[np.ndarray, "b f"],
        key: PRNGKeyArray,
    ) -> Float[np.ndarray, " b"]:
        """A lower bound on log p of each image, in nats; `values` are the labels, physical.

        The first `BATCH` images use the noise of `key`, each later `BATCH` that of a key of its
        own, derived from `key`.
        """
        compiled = self._function("elbo", self.method.elbo)

        def bound(rows: np.ndarray) -> Any:
            own_key = jax.random.fold_in(key, rows[0]) if rows[0] else key
            return compiled(self._variables, images[rows], values[rows], own_key)

        return in_chunks(bound, len(images), size=BATCH)

    def need(self, ability: str, function: Callable[..., Any] | None) -> Callable[..., Any]:
        """The function; raises `UserError` if the method lacks it."""
        if function is None:
            what, example = _ABILITIES[ability]
            raise UserError(
                f"The method that was trained on {self.info.name} cannot {what}. Use a workdir of "
                f"one that can, such as {example}."
            )
        return function

    def _fixed(
        self, count: int, factors: Mapping[int, Float[np.ndarray, " b"]]
    ) -> tuple[Bool[np.ndarray, " f"], Float[np.ndarray, "b f"]]:
        """Which factors are fixed, and the values of all factors, 0 where they are not."""
        fixed = np.zeros(self.info.num_factors, bool)
        values = np.zeros((count, self.info.num_factors), np.float32)
        for factor, given in factors.items():
            fixed[factor], values[:, factor] = True, given
        return fixed, values

    def _run(
        self,
        name: str,
        function: Callable[..., Any] | None,
        *arrays: np.ndarray,
        shared: tuple[Any, ...] = (),
    ) -> Any:
        """`function(variables, *arrays, *shared)`, the arrays in chunks of one compiled shape."""
        count = len(arrays[0])
        compiled = self._function(f"{name}/{len(arrays)}", function, single=count == 1)
        return in_chunks(
            lambda rows: compiled(self._variables, *(array[rows] for array in arrays), *shared),
            count,
            size=1 if count == 1 else BATCH,
        )

    def _function(
        self, name: str, function: Callable[..., Any] | None, single: bool = False
    ) -> Callable[..., Any]:
        function = self.need(name.partition("/")[0], function)
        quick = single and jax.default_backend() == "cpu"
        key = f"{name}/single" if quick else name
        if key not in self._compiled:
            self._compiled[key] = jax.jit(function, compiler_options=_QUICK if quick else None)
        return self._compiled[key]


def _given(labels: np.ndarray | None) -> tuple[np.ndarray, ...]:
    return () if labels is None else (labels,)


#: What each function is for, in words, and a method that has it.
_ABILITIES = {
    "encode": ("encode images", "CT-VAE"),
    "decode": ("decode representations", "CT-VAE"),
    "reconstruct": ("reconstruct images", "CT-VAE"),
    "retrieve": ("retrieve actions", "CT-VAE"),
    "retrieve_steps": ("retrieve several actions at once", "CT-VAE"),
    "intervene": ("apply actions", "CT-VAE"),
    "describe": ("describe the graph of an action", "CT-VAE"),
    "do": ("set a factor to a value", "CauF-VAE"),
    "sample": ("sample images from a causal flow", "CauF-VAE"),
    "structure": ("learn the graph of the factors", "CauF-VAE"),
    "elbo": ("bound the likelihood of images", "CauF-VAE"),
}
