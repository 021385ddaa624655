"""What a method does with discrete actions: it tells, applies and describes them."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from cdis.data import transitions
from cdis.data.info import Dataset, Info
from cdis.evaluate.images import (
    CHUNK,
    MAX_INTERVENED,
    SEED,
    SHOWN_INTERVENTIONS,
    Progress,
    as_uint8,
    in_chunks,
    sample,
    squared_error,
)
from cdis.methods.base import Variables
from cdis.metrics import codes as code_metrics
from cdis.metrics import factor_predictor as predictors
from cdis.metrics.interventions import intervention_scores, target_factors
from cdis.metrics.retrieval import action_retrieval

#: Above these numbers a seeded sample is measured. All pairs of the small data sets are below.
MAX_PAIRS = 20_000
MAX_DESCRIBED = 256  # images; every action's graph is averaged over them


def retrieval(
    retrieve: Callable[..., Any], variables: Variables, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """Which action lies between two test images."""
    pairs = transitions.build(dataset.factors, dataset.info, dataset.splits["test"])
    chosen = sample(np.arange(len(pairs.action)), MAX_PAIRS)
    x, y, action = pairs.x[chosen], pairs.y[chosen], pairs.action[chosen]
    retrieve = jax.jit(retrieve)

    def answer(rows: np.ndarray) -> np.ndarray:
        return in_chunks(
            lambda i: retrieve(variables, dataset.images[x[i]], dataset.images[y[i]]), rows
        )

    answer(np.arange(min(len(x), CHUNK)))  # compiles
    start = time.perf_counter()
    probabilities = answer(np.arange(len(x)))
    rate = len(x) / (time.perf_counter() - start)
    scores = action_retrieval(probabilities, action, dataset.info.num_factors)
    for name in ("per_action", "per_action_undirected", "per_action_count"):
        scores[name] = _named(dataset.info, scores[name])
    scores["split"], scores["num_pairs_in_split"] = "test", len(pairs.action)
    low, high = scores["directed_interval"]
    progress(
        f"retrieval: {len(x)} test pairs, {scores['directed']:.3f} directed "
        f"({low:.3f} to {high:.3f}), {scores['undirected']:.3f} undirected, {rate:.0f} pairs/s"
    )
    return {"action_retrieval": scores, "timing": {"retrieval_pairs_per_second": rate}}


def interventions(
    intervene: Callable[..., Any],
    variables: Variables,
    dataset: Dataset,
    predictor: predictors.FactorPredictor,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """Every action on test images, read by the predictor; pictures go to `arrays`."""
    info = dataset.info
    intervene = jax.jit(intervene)

    def apply(index: np.ndarray, action: np.ndarray) -> np.ndarray:
        return in_chunks(
            lambda i: intervene(variables, dataset.images[index[i]], action[i]),
            np.arange(len(index)),
        )

    chosen = sample(dataset.splits["test"], MAX_INTERVENED)
    index = np.repeat(chosen, info.num_actions)
    action = np.tile(np.arange(info.num_actions, dtype=np.int32), len(chosen))
    target, valid = target_factors(dataset.factors[index], action, info.factor_sizes, info.circular)
    index, action, target = index[valid], action[valid], target[valid]
    images = apply(index, action)
    scores = intervention_scores(
        predictor.predict(images),
        dataset.factors[index],
        action,
        info.factor_sizes,
        info.circular,
        image=index,
    )
    per_action = scores.pop("per_action")
    scores["per_action"] = _named(info, per_action)
    kept = scores.pop("kept_per_factor")
    scores["kept_per_factor"] = dict(zip(info.factor_names, kept, strict=True))
    scores |= {"split": "test", "num_images": len(chosen)}
    truth = _images_of(target, dataset)
    known = truth >= 0
    if known.any():
        error = squared_error(images[known], dataset.images[truth[known]])
        scores["mse"] = float(error.mean())
        unchanged = squared_error(
            _as_unit(dataset.images[index[known]]), dataset.images[truth[known]]
        )
        scores["mse_if_nothing_was_done"] = float(unchanged.mean())

    shown = np.random.default_rng(SEED + 1).permutation(chosen)[:SHOWN_INTERVENTIONS]
    rows = np.repeat(shown, info.num_actions)
    columns = np.tile(np.arange(info.num_actions, dtype=np.int32), len(shown))
    target, valid = target_factors(dataset.factors[rows], columns, info.factor_sizes, info.circular)
    results = apply(rows, columns)
    right = (predictor.predict(results) == target).all(1)
    grid = (len(shown), info.num_actions)
    arrays["intervention_images"] = dataset.images[shown]
    arrays["intervention_results"] = as_uint8(results).reshape(*grid, *results.shape[1:])
    arrays["intervention_right"] = right.reshape(grid)
    arrays["intervention_valid"] = valid.reshape(grid)
    progress(
        f"interventions: {len(action)} on {len(chosen)} test images, named factor moved "
        f"{scores['named_factor_moved']:.3f}, each other kept {scores['other_factors_kept']:.3f}, "
        f"all right {scores['all_factors_right']:.3f}"
    )
    return scores


def graph(
    describe: Callable[..., Any],
    variables: Variables,
    dataset: Dataset,
    information: Float[np.ndarray, "nodes factors"] | None,
    arrays: dict[str, np.ndarray],
    progress: Progress,
) -> dict[str, Any]:
    """What each action does to the graph, averaged over the test images where it is possible."""
    info = dataset.info

    @jax.jit
    def with_changes(variables: Variables, images: Any, action: Any) -> dict[str, Any]:
        graph = describe(variables, images, action)._asdict()
        change = graph["edges"] - graph["edges_no_action"]
        return graph | {
            "appear": change.clip(0).sum((1, 2)),
            "vanish": (-change).clip(0).sum((1, 2)),
        }

    chosen = sample(dataset.splits["test"], MAX_DESCRIBED)
    means: list[dict[str, np.ndarray]] = []
    for action in range(info.num_actions):
        actions = np.full(len(chosen), action, np.int32)
        _, valid = target_factors(
            dataset.factors[chosen], actions, info.factor_sizes, info.circular
        )
        index = chosen[valid] if valid.any() else chosen
        sums: dict[str, Any] = {}
        for rows in np.array_split(index, -(-len(index) // CHUNK)):
            padded = np.resize(rows, CHUNK)
            graph = with_changes(
                variables, dataset.images[padded], np.full(CHUNK, action, np.int32)
            )
            for name, value in graph.items():
                sums[name] = sums.get(name, 0) + np.asarray(value)[: len(rows)].sum(0)
        means.append({name: value / len(index) for name, value in sums.items()})

    stacked = {name: np.stack([mean[name] for mean in means]) for name in means[0]}
    arrays["mask"] = stacked["mask"].astype(np.float32)
    arrays["edges"] = stacked["edges"].astype(np.float32)
    arrays["edges_no_action"] = stacked["edges_no_action"].mean(0).astype(np.float32)
    hit = stacked["mask"].sum(1)
    result: dict[str, Any] = {
        "split": "test",
        "num_images": len(chosen),
        "num_nodes": stacked["mask"].shape[1],
        "mask_nodes_per_action": _named(info, hit.tolist()),
        "mask_nodes": float(hit.mean()),
        "edges_no_action": float(stacked["edges_no_action"].sum((1, 2)).mean()),
        "edges_that_appear": _named(info, stacked["appear"].tolist()),
        "edges_that_vanish": _named(info, stacked["vanish"].tolist()),
    }
    line = f"graph: an action hits {hit.mean():.1f} of {result['num_nodes']} nodes"
    if information is not None and len(information) == result["num_nodes"]:
        special = code_metrics.specialisation(information)
        result["node_factor_mi"] = information.tolist()
        result["node_specialisation"] = special["score"]
        result["node_specialisation_per_node"] = special["per_node"]
        result["dead_nodes"] = special["dead_nodes"]
        share = _share_on_own_factor(stacked["mask"], information)
        result["mask_on_own_factor"] = _named(info, share)
        if special["score"] is not None:
            line += f", node specialisation {special['score']:.2f}"
    progress(line)
    return {"graph": result}


def _share_on_own_factor(
    mask: Float[np.ndarray, "actions nodes"], information: Float[np.ndarray, "nodes factors"]
) -> list[float | None]:
    """Share of each action's hits on nodes that know its factor best; None without a hit."""
    own = information.argmax(1) == (np.arange(len(mask)) % information.shape[1])[:, None]
    own &= information.sum(1) > 0
    total = mask.sum(1)
    return [
        float(hits / all_hits) if all_hits > 0 else None
        for hits, all_hits in zip((mask * own).sum(1), total, strict=True)
    ]


def _images_of(factors: Int[np.ndarray, "n f"], dataset: Dataset) -> Int[np.ndarray, " n"]:
    """The image with each row of factors, in any split; -1 where there is none, or several."""
    sizes = dataset.info.factor_sizes
    cell = np.ravel_multi_index(tuple(dataset.factors.T.astype(np.int64)), sizes)
    cells, first, count = np.unique(cell, return_index=True, return_counts=True)
    wanted = np.ravel_multi_index(tuple(factors.T.astype(np.int64)), sizes)
    place = np.searchsorted(cells, wanted).clip(0, len(cells) - 1)
    return np.where((cells[place] == wanted) & (count[place] == 1), first[place], -1)


def _as_unit(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 127.5 - 1


def _named(info: Info, values: list) -> dict[str, Any]:
    return dict(zip(info.action_names, values, strict=True))
