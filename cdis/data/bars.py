"""Bars: 4 to 16 coloured bars whose heights cause one another. Rendered; nothing to download.

A seed draws a structural causal model; the images of a variant are independent samples of it.

  graph      bars in topological order, from left to right; each has 0 to 3 earlier bars as causes,
             most have 1 or 2, and all bars are connected
  mechanism  with u = (height - 30) / 10 of the causes,
               height_i = base_i + sum_j amplitude_ij tanh(slope_ij u_j + shift_ij)
                        + wave_i sin(sum_j turn_ij u_j + phase_i) + noise_i,
             where the wave lets causes interact
  noise      independent, Gaussian, cut off at 2.5 standard deviations. Causes explain 75 to 90 % of
             the variance of their effect; a bar without causes is all noise
  edges      a mechanism is drawn again until heights have a standard deviation of at least 6 and
             each cause matters: the root mean square of the derivative of the effect with respect
             to it is at least 0.35, both standardised
  heights    in pixels. Each mechanism is scaled so that its heights lie in [4, 56], to within half
             a pixel, for any causes in that range; there is room for 0 to 62

Shares, standard deviations and derivatives are those of the first 2,000 images.
"""

import colorsys
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Num, UInt8

from cdis.data.generated import GeneratedBuilder
from cdis.data.info import Info
from cdis.data.mechanism import Mechanism
from cdis.data.rendering import (
    WHITE,
    brightness,
    gaussian,
    render_all,
    solid,
    uniform,
    value_statistics,
)

_COUNTS, _SEEDS = range(4, 17), range(10)
_SAMPLED, _TRIED = 20_000, 2_000  # images; those on which mechanisms are tried

_PARENTS = (0.2, 0.5, 0.88, 1.0)  # cumulative probabilities of 0, 1, 2 and 3 causes
_LOWEST, _HIGHEST = 4.0, 56.0
_MIDDLE, _UNIT = 30.0, 10.0
_CUT = 2.5
_WEAKEST, _LEAST = 0.35, 6.0

_SIDE, _SKY = 64, 62  # the ground is below the sky
_GROUND = 64  # grey level
_BRIGHT = 0.8


# The structural causal model


class Scm(NamedTuple):
    """The mechanisms of d bars, with zeros where there is no edge; or of one bar, without d."""

    amplitude: Float[Any, "d p"]
    slope: Float[Any, "d p"]
    shift: Float[Any, "d p"]
    turn: Float[Any, "d p"]
    wave: Float[Any, " d"]
    phase: Float[Any, " d"]
    base: Float[Any, " d"]
    noise: Float[Any, " d"]  # its size: the standard deviation before it is cut off


class Model(NamedTuple):
    """Everything that a seed draws: `graph[i, j]` is 1 if bar j is a cause of bar i."""

    graph: Int[np.ndarray, "d d"]
    scm: Scm
    values: Float32[np.ndarray, "n d"]


def caused(bar: Scm, heights: Float[Any, "... p"], xp: ModuleType) -> Float[Any, "..."]:
    """The height of one bar without its noise, given its causes; `xp` is numpy or jax.numpy."""
    causes = (heights - _MIDDLE) / _UNIT
    steps = bar.amplitude * xp.tanh(bar.slope * causes + bar.shift)
    return bar.base + steps.sum(-1) + bar.wave * xp.sin((bar.turn * causes).sum(-1) + bar.phase)


def _slopes(bar: Scm, heights: Float64[np.ndarray, "n p"]) -> Float64[np.ndarray, "n p"]:
    """The derivatives of `caused` with respect to each height."""
    causes = (heights - _MIDDLE) / _UNIT
    step = bar.amplitude * bar.slope / np.cosh(bar.slope * causes + bar.shift) ** 2
    wave = bar.wave * np.cos((bar.turn * causes).sum(-1) + bar.phase)
    return (step + wave[:, None] * bar.turn) / _UNIT


def _draw_graph(count: int, draw: Iterator[float]) -> Int[np.ndarray, "d d"]:
    while True:
        graph = np.zeros((count, count), np.int64)
        for i in range(1, count):
            number = np.searchsorted(_PARENTS, next(draw))
            order = np.argsort([next(draw) for _ in range(i)])
            graph[i, order[:number]] = 1
        steps = np.eye(count) + graph + graph.T
        if np.linalg.matrix_power(steps, count).all():
            return graph


def _draw_mechanism(parents: int, draw: Iterator[float]) -> Scm:
    """A mechanism that is not scaled yet."""

    def between(low: float, high: float) -> np.ndarray:
        return np.array([low + (high - low) * next(draw) for _ in range(parents)])

    def signed(low: float, high: float) -> np.ndarray:
        return np.where(between(0, 1) < 0.5, -1, 1) * between(low, high)

    return Scm(
        amplitude=signed(0.7, 1.3),
        slope=between(0.6, 1.5),
        shift=between(-0.7, 0.7),
        turn=signed(0.4, 1.0),
        wave=np.float64(0.4 + 0.4 * next(draw)) * (parents > 0),
        phase=np.float64(2 * np.pi * next(draw)),
        base=np.float64(0),
        noise=np.float64(1),
    )


@functools.cache
def _combinations(parents: int) -> Float64[np.ndarray, "n p"]:
    """All heights that causes may have together, in steps of 4 pixels."""
    heights = np.arange(_LOWEST, _HIGHEST + 1, 4)
    return np.array(list(itertools.product(heights, repeat=parents)))


def _scaled(
    bar: Scm, causes: Float64[np.ndarray, "n p"], noise: Float64[np.ndarray, " n"], share: float
) -> Scm:
    """The mechanism scaled to the frame, with noise so that causes explain `share` of variance."""
    # A bar without causes is all noise, so that any size of it will do.
    spread = caused(bar, causes, np).std() if causes.size else 1.0
    size = spread / noise.std() * np.sqrt(1 / share - 1)
    # Not the causes that occur together: interventions combine others as well.
    every = caused(bar, _combinations(causes.shape[1]), np)
    low, high = every.min() - _CUT * size, every.max() + _CUT * size
    gain = (_HIGHEST - _LOWEST) / (high - low)
    return bar._replace(
        amplitude=gain * bar.amplitude,
        wave=gain * bar.wave,
        base=_LOWEST - gain * low,
        noise=gain * size,
    )


def _matters(
    bar: Scm, causes: Float64[np.ndarray, "n p"], noise: Float64[np.ndarray, " n"]
) -> bool:
    """Whether heights vary enough, and with each cause."""
    spread = (caused(bar, causes, np) + bar.noise * noise).std()
    effects = np.sqrt(np.square(_slopes(bar, causes)).mean(0)) * causes.std(0)
    return bool(spread >= _LEAST and (effects >= _WEAKEST * spread).all())


@functools.cache
def bars(count: int, seed: int) -> Model:
    """The graph, the mechanisms and the heights in all images of `count` bars, by seed."""
    key = 100 * count + 2 * seed
    draw = iter(uniform(key, 20_000))
    graph = _draw_graph(count, draw)
    noise = gaussian(key + 1, _SAMPLED * count * 11 // 10)
    noise = noise[np.abs(noise) <= _CUT][: _SAMPLED * count].reshape(count, _SAMPLED)
    values = np.empty((_SAMPLED, count))
    scm = Scm(*(np.zeros(shape, np.float32) for shape in [(count, count)] * 4 + [(count,)] * 4))
    for i in range(count):
        (parents,) = np.nonzero(graph[i])
        share = 0.75 + 0.15 * next(draw)
        while True:
            bar = _draw_mechanism(len(parents), draw)
            bar = _scaled(bar, values[:_TRIED, parents], noise[i, :_TRIED], share)
            if _matters(bar, values[:_TRIED, parents], noise[i, :_TRIED]):
                break
        values[:, i] = caused(bar, values[:, parents], np) + bar.noise * noise[i]
        for every, one in zip(scm, bar, strict=True):
            every[(i, parents) if every.ndim == 2 else i] = one
    return Model(graph, scm, values.astype(np.float32))


@jax.jit
def counterfactual(
    scm: Scm, values: Float[Array, "b d"], factor: int, value: Float[Array, " b"]
) -> Float[Array, "b d"]:
    """See `cdis.data.mechanism.Mechanism`; compiled once for all factors and seeds."""

    def step(i: Array, changed: Array) -> Array:
        bar = jax.tree.map(lambda rows: rows[i], scm)
        # Both in one call, so that they are equal to the last bit if the causes are.
        before, after = caused(bar, jnp.stack([values, changed]), jnp)
        effect = values[:, i] + (after - before)  # the noise is values[:, i] - before
        return changed.at[:, i].set(jnp.where(factor == i, value, effect))

    return jax.lax.fori_loop(0, values.shape[1], step, values)


# Rendering and reading


def _columns(count: int, margin: int = 0) -> Int[np.ndarray, " side"]:
    """The bar in each column of the image, `count` where there is none.

    Without `margin` columns on either side of a bar, which is at least 3 wide.
    """
    pitch = _SIDE // count
    gap = pitch // 4
    left = (_SIDE - count * pitch + gap) // 2
    bar, place = np.divmod(np.arange(_SIDE) - left, pitch)
    inside = (place >= margin) & (place < pitch - gap - margin)
    return np.where(inside & (bar >= 0) & (bar < count), bar, count)


def _colours(count: int) -> Float32[np.ndarray, "d 3"]:
    hues = [colorsys.hsv_to_rgb(i / count, 1, _BRIGHT) for i in range(count)]
    return np.round(255 * np.array(hues, np.float32))


@jax.jit
def _render(values: Float[Array, "b d"]) -> UInt8[Array, "b side side 3"]:
    columns = _columns(values.shape[1])
    heights = jnp.pad(values, ((0, 0), (0, 1)))[:, columns]
    colours = np.pad(_colours(values.shape[1]), ((0, 1), (0, 0)))[columns]
    below = jnp.arange(_SKY, dtype=jnp.float32)[::-1, None]  # the height at which a row begins
    lit = jnp.clip(heights[:, None] - below, 0, 1)
    sky = jnp.round(WHITE + lit[..., None] * (colours - WHITE)).astype(jnp.uint8)
    ground = jnp.full((len(values), _SIDE - _SKY, _SIDE, 3), _GROUND, jnp.uint8)
    return jnp.concatenate([sky, ground], axis=1)


@functools.partial(jax.jit, static_argnames="count")
def _referee(images: Num[Array, "b side side 3"], *, count: int) -> Float[Array, "b d"]:
    """Reads each bar by how much of its colour is in the middle of its columns, row by row."""
    ink = WHITE - brightness(images)[:, :_SKY]
    full = WHITE - _colours(count)
    mine = _columns(count, margin=1)[:, None] == np.arange(count)
    weight = (mine / mine.sum(0))[..., None] * (full / np.square(full).sum(1, keepdims=True))
    lit = jnp.einsum("byxc,xdc->byd", ink, weight, precision="highest")
    return solid(lit, 0.06).sum(1)


@jax.jit
def _inside(values: Float[Array, "b d"]) -> Bool[Array, " b"]:
    return ((values >= 0) & (values <= _SKY)).all(1)


@dataclasses.dataclass(eq=False, kw_only=True)
class Variant(tfds.core.BuilderConfig):
    """A tfds configuration: the number of bars and the seed of their causal model."""

    count: int
    seed: int


class Bars(GeneratedBuilder):
    """This module as tfds data sets: bars/4 to bars/16, of seed 0; bars/4_seed1 to bars/16_seed9.

    Values are the heights of the bars in pixels, bar_0 on the left.
    """

    name = "bars"
    BUILDER_CONFIGS: ClassVar = [
        Variant(name=f"{count}_seed{seed}" if seed else f"{count}", count=count, seed=seed)
        for seed in _SEEDS
        for count in _COUNTS
    ]

    @classmethod
    def name_of(cls, config: Variant) -> str:
        return f"{cls.name}/{config.name}"

    @classmethod
    def listed(cls, config: Variant) -> bool:
        return config.seed == 0

    @classmethod
    def facts(cls, config: Variant) -> Info:
        graph, _, values = bars(config.count, config.seed)
        return Info(
            name=cls.name_of(config),
            factor_names=tuple(f"bar_{i}" for i in range(config.count)),
            factor_sizes=(0,) * config.count,
            circular=(False,) * config.count,
            image_shape=(_SIDE, _SIDE, 3),
            licence="Apache-2.0 (rendered by cdis; no third-party material)",
            citation="Rendered by cdis.",
            description=(
                f"{config.count} coloured bars whose heights cause one another: a random graph, "
                f"nonlinear mechanisms and noise, drawn by seed {config.seed}."
            ),
            count=len(values),
            graph=tuple(map(tuple, graph.tolist())),
            **value_statistics(values),
        )

    @classmethod
    def mechanism(cls, config: Variant) -> Mechanism:
        return Mechanism(
            counterfactual=functools.partial(counterfactual, bars(config.count, config.seed).scm),
            render=_render,
            referee=functools.partial(_referee, count=config.count),
            inside=_inside,
        )

    @classmethod
    def examples(
        cls, config: Variant, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = bars(config.count, config.seed).values[index]
        return render_all(_render, values), np.zeros(values.shape, np.int32), values
