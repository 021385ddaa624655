"""What representations are worth: use of codes, disentanglement, downstream tasks."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from cdis.data.info import Dataset
from cdis.evaluate.images import CHUNK, MAX_IMAGES, SEED, Progress, encoder, in_chunks, sample
from cdis.methods.base import Method, Variables
from cdis.metrics import codes as code_metrics
from cdis.metrics import score, table
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.downstream import (
    WEIGHTS,
    distributional_robustness,
    sample_efficiency,
    synthetic_label,
)
from cdis.ops.images import tinted

MAX_SCORED = 15_000  # images; representations are scored on them
MAX_SCORED_DIMENSIONS = 256  # of vectors; trees on more take minutes
MAX_DOWNSTREAM = 10_000
FEW_LABELS = 100  # of a classifier's training images
#: What is scored of representations: of vectors, and of indices of codes, whose order means
#: nothing, so that only what takes them for symbols is. Seconds on 4,608 images; `cdis score` has
#: the rest.
VECTOR_SCORES = ("dci", "mig", "dcimig", "modularity", "sap", "factor_vae", "irs", "mcc")
CODE_SCORES = ("mig", "dcimig", "modularity", "infomec")
#: Of vectors, where factors are continuous and may cause one another; "r2" is a read-out.
CONTINUOUS_SCORES = ("dci", "mig", "sap", "infomec", "mcc", "r2")


def codes(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> tuple[dict[str, Any], np.ndarray]:
    """Usage on the test split, and what each node knows; every node has a codebook of its own."""
    assert method.codes is not None
    num_codes, num_codebooks = method.codes
    encode = encoder(method, "codes")

    def codes_of(index: np.ndarray) -> np.ndarray:
        return in_chunks(lambda i: encode(variables, dataset.images[i]), index)

    index = sample(dataset.splits["test"], MAX_IMAGES)
    codes = codes_of(index)
    usage = code_metrics.code_usage(codes, num_codes, num_codebooks)
    usage |= {"num_codes": num_codes, "num_nodes": codes.shape[1], "split": "test"}
    # Over all splits the grid of factors is complete, so that factors do not share information.
    index = sample(np.arange(len(dataset.images)), MAX_IMAGES)
    information = code_metrics.node_factor_information(
        codes_of(index), dataset.factors[index], num_codes, dataset.info.factor_sizes
    )
    progress(
        f"codes: perplexity {usage['perplexity']:.2f} of {num_codes} ({usage['used']:.2f} in use)"
    )
    return {"codes": usage}, information


def disentanglement(
    encode: Callable[..., dict[str, Any]],
    variables: Variables,
    dataset: Dataset,
    progress: Progress,
) -> tuple[dict[str, Any], float]:
    """Scores of "vectors" (quantised, where a method has codes) and "codes" (their indices).

    Discrete factors are scored on all splits, whose grid of factors is complete: several scores fix
    one factor while all others vary. Continuous ones are on the test split. What cannot be scored,
    such as collapsed codes, has a "reason". The seconds it took are returned apart, since all else
    is deterministic.
    """
    start = time.perf_counter()
    jitted = jax.jit(encode)
    continuous = [size == 0 for size in dataset.info.factor_sizes]
    if any(continuous):
        factors, split, of_vectors = dataset.values, "test", CONTINUOUS_SCORES
        index = sample(dataset.splits["test"], MAX_SCORED)
    else:
        factors, split, of_vectors = dataset.factors, "all", VECTOR_SCORES
        index = sample(np.arange(len(dataset.images)), MAX_SCORED)
    example = jitted(variables, dataset.images[np.resize(index, CHUNK)])
    result: dict[str, Any] = {"split": split, "num_images": len(index)}
    for name, chosen in (("vectors", of_vectors), ("codes", CODE_SCORES)):
        if name not in example:
            continue
        array = in_chunks(lambda i, name=name: jitted(variables, dataset.images[i])[name], index)
        array = array.reshape(len(array), -1)
        if array.shape[1] > MAX_SCORED_DIMENSIONS:
            reason = (
                f"{array.shape[1]} dimensions; evaluation scores up to {MAX_SCORED_DIMENSIONS}. "
                "Save the representations and use cdis score."
            )
            result[name] = {"reason": reason}
            continue
        try:
            scores = score(array, factors[index], metrics=chosen, continuous=continuous)
        except UnsuitableData as error:
            result[name] = {"reason": str(error)}
            progress(f"disentanglement of {name}: {error}")
            continue
        progress(f"disentanglement of {name}:\n{table(scores)}")
        for entry in scores["metrics"].values():
            entry.pop("seconds", None)
        result[name] = scores
    return result, time.perf_counter() - start


def downstream(
    method: Method, variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """What test images' vectors are worth to a classifier, beside the true factors themselves.

    "all" dimensions, "labelled" ones, and "true_factors", which nothing can be expected to beat by
    much. The label is drawn, as published, so that none of them comes near 1; under
    "likelier_label" is the same of the label that is not. The irrelevant attribute of robustness is
    a tint of the whole image, at random; only a method that trained on such images can be expected
    to represent them. Of `robustness`, "all_labels" has agreement 0.8 in training, "few_labels" 0.9
    and `FEW_LABELS` training images.
    """
    index = sample(dataset.splits["test"], MAX_DOWNSTREAM)
    values = dataset.values[index]
    if values.shape[1] < len(WEIGHTS):
        return {}
    encode = encoder(method, "vectors")
    plain = in_chunks(lambda i: encode(variables, dataset.images[i]), index)
    tint = np.random.default_rng(SEED).integers(0, 2, len(dataset.images))
    lit = in_chunks(
        lambda i: encode(
            variables, tinted(jnp.asarray(dataset.images[i]), jnp.asarray(tint[i], bool))
        ),
        index,
    )
    parts = {"all": (plain, lit)}
    if labelled := method.factors.num_labelled:
        parts["labelled"] = plain[:, :labelled], lit[:, :labelled]
    parts["true_factors"] = values, values
    try:
        measured, likelier = (
            _classified(parts, synthetic_label(values, drawn=drawn), tint[index], title, progress)
            for drawn, title in ((True, "drawn label"), (False, "likelier label"))
        )
    except UnsuitableData as error:
        return {"downstream": {"reason": str(error)}}
    measured |= {"likelier_label": likelier, "split": "test", "num_images": len(index)}
    return {"downstream": measured}


def _classified(
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    label: Int[np.ndarray, " n"],
    tint: Int[np.ndarray, " n"],
    title: str,
    progress: Progress,
) -> dict[str, Any]:
    """Both downstream tasks of representations of plain and of tinted images."""
    efficiency: dict[str, Any] = {}
    robustness: dict[str, Any] = {}
    for name, (plain, lit) in parts.items():
        if name == "labelled" and plain.shape == parts["all"][0].shape:
            efficiency[name], robustness[name] = efficiency["all"], robustness["all"]
            continue
        efficiency[name] = sample_efficiency(plain, label, few=FEW_LABELS)
        # Of few labels most rows are left to the test: the worst of four groups is a noisy number.
        test_share = max(0.3, 1 - 3 * FEW_LABELS / len(label))
        robustness[name] = {
            "all_labels": distributional_robustness(lit, label, tint),
            "few_labels": distributional_robustness(
                lit, label, tint, agreement_train=0.9, few=FEW_LABELS, test_share=test_share
            ),
        }
        progress(
            f"downstream, {title}, {name.replace('_', ' ')}: sample efficiency "
            f"{efficiency[name]['efficiency']:.3f}; worst group "
            f"{robustness[name]['all_labels']['worst_group']:.3f}, with few labels "
            f"{robustness[name]['few_labels']['worst_group']:.3f}"
        )
    return {"sample_efficiency": efficiency, "robustness": robustness}
