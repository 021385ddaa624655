"""On data whose factors have values: labelled latents, interventions by value, structure, ELBO."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cdis import data
from cdis.data.info import Dataset
from cdis.evaluate.images import (
    MAX_IMAGES,
    MAX_INTERVENED,
    SEED,
    SHOWN_INTERVENTIONS,
    Progress,
    as_uint8,
    encoder,
    in_chunks,
    sample,
)
from cdis.methods.base import Method, Variables
from cdis.metrics.causal_interventions import intervention_scores as causal_scores
from cdis.metrics.graphs import structural_hamming_distance
from cdis.metrics.labelled_latents import labelled_latents

_SHOWN_VALUES = 7  # of each factor, for each image shown
VALUES_EACH = 2  # of each factor, that each of `MAX_INTERVENED` images is intervened with


def labelled(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """Latents that stand for factors, against the factors."""
    encode = encoder(method, "vectors")
    index = sample(dataset.splits["test"], MAX_IMAGES)
    vectors = in_chunks(lambda i: encode(variables, dataset.images[i]), index)
    scores = labelled_latents(vectors[:, : method.factors.num_labelled], dataset.values[index])
    scores["r2"] = dict(zip(dataset.info.factor_names, scores["r2"], strict=True))
    scores |= {"split": "test", "num_images": len(index)}
    progress(
        f"labelled latents: R^2 of the worst factor {scores['r2_worst']:.4f}, "
        f"MCC {scores['mcc']:.4f}"
    )
    return {"factors": scores}


def value_interventions(
    intervene: Callable[..., Any],
    variables: Variables,
    dataset: Dataset,
    mechanism: data.Mechanism,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """do(factor = value) for each factor, against the counterfactuals of the generator.

    Values are those of other test images, so that they spread as the factor does; a counterfactual
    that leaves the frame is left out.
    """
    info = dataset.info
    intervene = jax.jit(intervene)
    test = dataset.splits["test"]
    rng = np.random.default_rng(SEED)
    index = np.repeat(sample(test, MAX_INTERVENED), VALUES_EACH)
    levels = np.linspace(0.05, 0.95, _SHOWN_VALUES)
    shown = np.sort(rng.permutation(test)[:SHOWN_INTERVENTIONS])
    result: dict[str, Any] = {}
    slides, settings = [], []

    def apply(factor: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        return in_chunks(
            lambda i: intervene(variables, dataset.images[rows[i]], factor, values[i]),
            np.arange(len(rows)),
        )

    for factor, name in enumerate(info.factor_names):
        values = dataset.values[rng.choice(test, len(index)), factor]
        before = dataset.values[index]
        truth = np.asarray(mechanism.counterfactual(before, factor, values))
        inside = np.asarray(mechanism.inside(truth))
        images = apply(factor, index[inside], values[inside])
        read = in_chunks(
            lambda i, images=images: mechanism.referee(images[i]), np.arange(len(images))
        )
        scores = causal_scores(
            read, truth[inside], factor, np.array(info.graph), np.array(info.value_std)
        )
        for kind in ("propagation_per_factor", "drift_per_factor"):
            scores[kind] = {
                other: x
                for other, x in zip(info.factor_names, scores[kind], strict=True)
                if x is not None
            }
        scores["undefined"] = {info.factor_names[k]: why for k, why in scores["undefined"].items()}
        result[f"do_{name}"] = scores | {"split": "test"}
        progress(f"do({name}): " + told_of_intervention(scores))
        settings.append(np.quantile(dataset.values[test, factor], levels))
        rows, columns = np.repeat(shown, len(levels)), np.tile(settings[-1], len(shown))
        slides.append(apply(factor, rows, columns.astype(np.float32)))
    arrays["do_images"] = dataset.images[shown]
    grid = (info.num_factors, len(shown), len(levels))
    arrays["do_results"] = as_uint8(np.stack(slides)).reshape(*grid, *info.image_shape)
    arrays["do_values"] = np.stack(settings)
    return result


def told_of_intervention(scores: dict[str, Any]) -> str:
    """The scores of interventions on one factor, in words."""
    parts = [] if scores["hit"] is None else [f"hit {scores['hit']:.3f}"]
    for kind in ("propagation", "drift"):
        told = [f"{name} {x:.3f}" for name, x in scores[f"{kind}_per_factor"].items()]
        parts += [f"{kind} {', '.join(told)}"] if told else []
    return "; ".join(parts)


def structure(
    find: Callable[..., Any],
    variables: Variables,
    dataset: Dataset,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """How strongly each factor moves each other, and how far that is from the true graph."""
    index = sample(dataset.splits["test"], MAX_IMAGES)
    found = jax.device_get(jax.jit(find)(variables, dataset.values[index]))
    arrays["edge_strength"] = np.asarray(found.edge_strength, np.float32)
    adjacency = np.asarray(found.adjacency, int)
    result: dict[str, Any] = {
        "edge_strength": arrays["edge_strength"].tolist(),
        "adjacency": adjacency.tolist(),
        "split": "test",
        "num_images": len(index),
    }
    line = f"structure: {adjacency.sum()} edges"
    if dataset.info.graph is not None:
        distance = structural_hamming_distance(adjacency, np.array(dataset.info.graph))
        result["shd"] = distance["distance"]
        result["extra"], result["missing"] = distance["extra"], distance["missing"]
        line += f", SHD {result['shd']} to the true graph"
    progress(line)
    return {"structure": result}


def elbo(
    bound_of: Callable[..., Any], variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """Mean over test images of one sample's bound each, in nats."""
    bound_of, key = jax.jit(bound_of), jax.random.key(SEED)
    index = sample(dataset.splits["test"], MAX_IMAGES)
    bound = in_chunks(
        lambda i: bound_of(
            variables, dataset.images[i], dataset.values[i], jax.random.fold_in(key, i[0])
        ),
        index,
    )
    progress(f"ELBO: {bound.mean():.1f} nats an image")
    return {"elbo": float(bound.mean())}
