"""Data sets whose images are their factors, and methods that are right, or wrong in a known way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from cdis import measure
from cdis.config import common
from cdis.data.info import Dataset, Info
from cdis.data.mechanism import Mechanism
from cdis.measure import Measured, Subject, evaluation, reporting
from cdis.methods.base import ActionGraph, Actions, Codes, FactorGraph, Factors, Method
from cdis.metrics.factor_predictor import FactorPredictor
from cdis.ops.actions import shortest_way
from cdis.ops.retrieve import Steps
from cdis.trained import Trained
from cdis.training.checkpoint import Restored

INFO = Info(
    name="bars",
    factor_names=("left", "right", "turn"),
    factor_sizes=(5, 6, 8),
    circular=(False, False, True),
    image_shape=(4, 4, 1),
    licence="none",
    citation="none",
    description="The first three pixels are the factors.",
)
SIZES = np.array(INFO.factor_sizes)
STEP = 30  # grey levels between two values of a factor


def render(factors):
    images = np.zeros((len(factors), 4, 4, 1), np.uint8)
    images[:, 0, :3, 0] = STEP * factors
    return images


def read(images):
    """The factors of images in [-1, 1] or uint8."""
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / 127.5 - 1
    return ((images[:, 0, :3, 0] + 1) * 127.5 / STEP).round().astype(np.int32)


def dataset():
    factors = np.stack(np.unravel_index(np.arange(SIZES.prod()), tuple(SIZES)), 1).astype(np.int32)
    order = np.random.default_rng(0).permutation(len(factors))
    cuts = np.split(order, [100, 120])
    splits = {
        name: np.sort(cut) for name, cut in zip(("train", "validation", "test"), cuts, strict=True)
    }
    return Dataset(INFO, render(factors), factors, splits, factors.astype(np.float32))


def oracle(turn_by: int = 1) -> Method:
    """A method that reads pixels; `turn_by` is how far its interventions turn "turn"."""

    def factors_of(images):
        return jnp.round(images[:, 0, :3, 0] / STEP).astype(jnp.int32)

    def encode(variables, images, values=None):
        codes = factors_of(images)
        codes = jnp.concatenate([7 - codes, jnp.zeros((len(codes), 1), jnp.int32)], 1)
        return {"vectors": codes.astype(jnp.float32), "codes": codes}

    def decode(variables, representation):
        factors = 7 - representation["codes"][:, :3]
        images = jnp.zeros((len(factors), 4, 4, 1)).at[:, 0, :3, 0].set(STEP * factors)
        return images / 127.5 - 1 + variables["params"]["shift"]

    def retrieve(variables, x, y):
        change = factors_of(y) - factors_of(x)
        change = jnp.where(jnp.abs(change) > 1, -jnp.sign(change), change)  # the circle's seam
        up, down = change == 1, change == -1
        return jnp.concatenate([up, down], 1).astype(jnp.float32)

    def retrieve_steps(variables, x, y, *, max_steps, width):
        change = shortest_way(factors_of(y) - factors_of(x), INFO.factor_sizes, INFO.circular)
        steps = jnp.where(jnp.abs(change).sum(1, keepdims=True) <= max_steps, change, 0)
        return Steps(steps // jnp.array([1, 1, turn_by]), jnp.ones(len(x)))

    def intervene(variables, images, action):
        factors = factors_of(images)
        for k in action.reshape(len(images), -1).T:
            step = jnp.where(k < 3, 1, -1) * jnp.where(k % 3 == 2, turn_by, 1)
            factors = (factors + step[:, None] * jax.nn.one_hot(k % 3, 3, dtype=int)) % SIZES
        codes = jnp.concatenate([7 - factors, jnp.zeros((len(factors), 1), jnp.int32)], 1)
        return decode(variables, {"codes": codes})

    def describe(variables, images, action):
        mask = jax.nn.one_hot(action % 3, 4)
        without = jnp.broadcast_to(jnp.eye(4), (len(images), 4, 4))
        # The node that is hit loses its own edge and gains one from node 3, half sure.
        edges = without - mask[:, :, None] * jnp.eye(4)
        edges = edges + 0.5 * mask[:, :, None] * jax.nn.one_hot(3, 4)
        return ActionGraph(mask, edges, without)

    def init(key, batch):
        return {"params": {"shift": jnp.zeros(())}}

    return Method(
        init,
        (),
        encode,
        decode,
        codes=Codes(8, 4),
        actions=Actions(retrieve, intervene, describe, retrieve_steps),
    )


VARIABLES = {"params": {"shift": np.float32(0)}}
PREDICTOR = FactorPredictor(read, np.array([1.0, 0.99, 0.98]))


def silent(line: str) -> None:
    pass


def measured(
    method: Method,
    variables=VARIABLES,
    predictor: FactorPredictor | None = PREDICTOR,
    of: Dataset | None = None,
    **options,
) -> Measured:
    """All measurements of a method on the bars."""
    subject = Subject(
        Trained(method, variables, INFO),
        of or dataset(),
        find_predictor=lambda: predictor,
        progress=silent,
    )
    return measure.measure(subject, **options)


def measured_causes(
    method: Method,
    of: Dataset,
    mechanism: Mechanism | None = None,
    predictor: FactorPredictor | None = None,
) -> Measured:
    """All measurements of a method without variables on a data set of continuous factors."""
    subject = Subject(
        Trained(method, {"params": {}}, of.info),
        of,
        mechanism=mechanism,
        find_predictor=lambda: predictor,
        progress=silent,
    )
    return measure.measure(subject)


# Factors that cause one another: pixel 2 is pixel 0 plus pixel 1, and some noise of its own.

SHADE = Info(
    name="shade",
    factor_names=("left", "right", "sum"),
    factor_sizes=(0, 0, 0),
    circular=(False,) * 3,
    image_shape=(4, 4, 1),
    licence="none",
    citation="none",
    description="The first three pixels are the factors.",
    count=300,
    graph=((0, 0, 0), (0, 0, 0), (1, 1, 0)),
    value_mean=(50.0, 50.0, 110.0),
    value_std=(28.0, 28.0, 41.0),
)


def _counterfactual(values, factor, value):
    changed = np.array(values)
    changed[:, factor] = value
    if factor < 2:
        changed[:, 2] += changed[:, :2].sum(1) - values[:, :2].sum(1)
    return jnp.asarray(changed)


def _referee(images):
    """The first three grey levels of images in [-1, 1] or uint8."""
    images = jnp.asarray(images)
    grey = images if images.dtype == jnp.uint8 else (images + 1) * 127.5
    return grey[:, 0, :3, 0].astype(jnp.float32)


SHADE_MECHANISM = Mechanism(
    counterfactual=_counterfactual,
    render=lambda values: jnp.asarray(shade(np.asarray(values))),
    referee=_referee,
    # One counterfactual in three is said to leave the frame.
    inside=lambda values: jnp.arange(len(values)) % 3 > 0,
)


def shade(values):
    images = np.zeros((len(values), 4, 4, 1), np.uint8)
    images[:, 0, :3, 0] = np.round(values)
    return images


def shade_dataset():
    rng = np.random.default_rng(0)
    values = rng.uniform(2, 98, (300, 3)).astype(np.float32).round()
    values[:, 2] = values[:, :2].sum(1) + rng.integers(0, 20, 300)
    splits = {name: np.arange(i * 100, i * 100 + 100) for i, name in enumerate(INDEX)}
    return Dataset(SHADE, shade(values), np.zeros((300, 3), np.int32), splits, values)


#: Reads three grey levels, as a trained predictor would.
SHADE_PREDICTOR = FactorPredictor(
    lambda images: np.asarray(_referee(images)), np.array([0.99, 0.98, 0.97])
)
INDEX = ("train", "validation", "test")


def with_a_category():
    """The shades, where "right" is one of three names, with the grey levels 0, 40 and 80."""
    whole = shade_dataset()
    info = dataclasses.replace(SHADE, factor_sizes=(0, 3, 0), unordered=("right",))
    factors, values = whole.factors.copy(), whole.values.copy()
    factors[:, 1] = np.random.default_rng(1).integers(0, 3, len(factors))
    values[:, 1] = 40 * factors[:, 1]
    values[:, 2] += values[:, 1] - whole.values[:, 1]
    return Dataset(info, shade(values), factors, whole.splits, values)


def without_labels(of: Dataset, index: np.ndarray, factor: int) -> Dataset:
    """The data set where images of `index` lack their label of a factor."""
    factors, values = of.factors.copy(), of.values.copy()
    factors[index, factor], values[index, factor] = -1, np.nan
    info = dataclasses.replace(of.info, partly_labelled=True)
    return dataclasses.replace(of, info=info, factors=factors, values=values)


def shade_oracle(follows: bool, sets: bool = True, off_by: float = 0.0) -> Method:
    """Reads and renders pixels; under do() the sum follows its causes, or stays as it is.

    Without `sets`, do() does nothing. `off_by` is how many grey levels too bright do() draws.
    """
    mean, std = jnp.array(SHADE.value_mean), jnp.array(SHADE.value_std)

    def encode(variables, images, values=None):
        return {"vectors": (images[:, 0, :3, 0].astype(jnp.float32) - mean) / std}

    def decode(variables, representation):
        pixels = representation["vectors"] * std + mean
        return jnp.full((len(pixels), 4, 4, 1), -1.0).at[:, 0, :3, 0].set(pixels / 127.5 - 1)

    def intervene_value(variables, images, fixed, values, labels=None):
        pixels = encode(variables, images)["vectors"] * std + mean
        new = jnp.where(fixed & sets, values, pixels)
        moved = (new - pixels)[:, :2].sum(1) * ~fixed[2]
        new = new.at[:, 2].add(moved if follows else 0.0)
        return decode(variables, {"vectors": (new - mean) / std}) + off_by / 127.5

    def structure(variables, values):
        strength = jnp.zeros((3, 3)).at[2, 0].set(0.9).at[1, 0].set(0.3)
        return FactorGraph(strength, strength > 0)

    return Method(
        lambda key, batch: {"params": {}},
        (),
        encode,
        decode,
        elbo=lambda variables, images, values, key: -values.sum(-1),
        factors=Factors(3, intervene_value, structure),
    )


def needs_labels(labels_at_evaluation: bool) -> Method:
    """`shade_oracle(follows=True)`, but of an image it sees only the labels that it is given."""
    oracle = shade_oracle(follows=True)
    encode, do = oracle.encode, oracle.factors.do
    assert encode is not None and do is not None

    def drawn(images, labels):
        empty = jnp.zeros_like(images)
        return empty if labels is None else empty.at[:, 0, :3, 0].set(labels.astype(jnp.uint8))

    def encode_labels(variables, images, values=None):
        return encode(variables, drawn(images, values))

    def do_with_labels(variables, images, fixed, values, labels=None):
        return do(variables, drawn(images, labels), fixed, values)

    return oracle._replace(
        encode=encode_labels,
        factors=oracle.factors._replace(do=do_with_labels),
        labels_at_evaluation=labels_at_evaluation,
    )


def four_shades(count: int = 900) -> Dataset:
    """Four independent factors in the first row's pixels, and a pixel that is always white."""
    info = dataclasses.replace(
        SHADE,
        factor_names=("a", "b", "c", "d"),
        factor_sizes=(0,) * 4,
        circular=(False,) * 4,
        count=count,
        graph=None,
        value_mean=(125.0,) * 4,
        value_std=(72.0,) * 4,
    )
    values = np.random.default_rng(0).uniform(0, 250, (count, 4)).astype(np.float32)
    images = np.zeros((count, 4, 4, 1), np.uint8)
    images[:, 0, :, 0] = np.round(values)
    images[:, 3, 3] = 255
    splits = {name: np.arange(count if name == "test" else 1) for name in INDEX}
    return Dataset(info, images, np.zeros((count, 4), np.int32), splits, values)


def sees_the_tint(labelled: bool) -> Method:
    """Latents are the factors, whatever the light, and then the light."""

    def encode(variables, images, values=None):
        pixels = images.astype(jnp.float32)
        light = pixels[:, 3, 3]
        return {"vectors": jnp.concatenate([pixels[:, 0, :, 0] / light, light], 1)}

    return Method(
        lambda key, batch: {}, (), encode=encode, factors=Factors(4) if labelled else Factors()
    )


def fake_workdir(monkeypatch, method=None, of=dataset, mechanism=None, predictor=PREDICTOR):
    """Makes `evaluate` and `report` find a method trained for 7 steps, whatever the workdir."""
    config = common()
    config.method, config.data.name = "oracle", of().info.name
    restored = Restored(config, of().info, VARIABLES, 7, 61.5)
    for module in (evaluation, reporting):
        monkeypatch.setattr(module, "restore", lambda _: restored)
    monkeypatch.setattr(evaluation.methods, "make", lambda *_: method or oracle())
    monkeypatch.setattr(evaluation.data, "load", lambda *_: of())
    monkeypatch.setattr(evaluation.data, "mechanism", lambda _: mechanism)
    monkeypatch.setattr(evaluation.predictors, "factor_predictor", lambda *_, **__: predictor)
