"""All scores of a representation in one call, each beside what perfect codes would get.

Only NumPy is imported here; a score's libraries are when it is computed.
"""

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from cdis.errors import UserError
from cdis.metrics.arrays import UnsuitableData, check, standardised


class Metric(NamedTuple):
    """Where a score is computed, and which of its numbers stand for it."""

    module: str
    headlines: tuple[str, ...] = ("score",)
    presets: tuple[str, ...] = ()  #: the default first
    takes_continuous: bool = True  #: does it ask which factors are quantities?


#: name -> metric; the name is that of the function in its module.
METRICS = {
    "dci": Metric(
        "dci",
        ("disentanglement", "completeness", "informativeness"),
        (
            "hist_gradient_boosting",
            "gradient_boosting",
            "lightgbm",
            "random_forest",
            "logistic",
            "lasso",
        ),
    ),
    "mig": Metric("information_gap"),
    "rmig": Metric("information_gap"),
    "dcimig": Metric("information_gap"),
    "modularity": Metric("modularity"),
    "explicitness": Metric("modularity"),
    "sap": Metric("sap"),
    "beta_vae": Metric("fixed_factor"),
    "factor_vae": Metric("fixed_factor"),
    "irs": Metric("irs"),
    "infomec": Metric(
        "infomec",
        ("modularity", "compactness", "explicitness"),
        ("latent_quantization", "latent_quantization_first", "tripod"),
    ),
    "mcc": Metric("correlation", presets=("pearson", "spearman"), takes_continuous=False),
    "r2": Metric(
        "r2",
        ("linear", "linear_matched", "nonlinear", "nonlinear_matched"),
        takes_continuous=False,
    ),
    "mic": Metric("mic", ("mic", "tic"), takes_continuous=False),
}


def score(
    representations: Float[np.ndarray, "n d"],
    factors: Float[np.ndarray, "n f"],
    *,
    metrics: str | Sequence[str] | None = None,
    preset: str | Sequence[str] | Mapping[str, str] | None = None,
    continuous: bool | Sequence[bool] | None = None,
    perfect: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Scores any representation, whoever made it, against the factors behind its samples.

    Args:
      representations: ``[n, d]``, a row for each sample: means of codes, code indices, anything.
      factors: ``[n, F]``, the true factors of the same samples.
      metrics: names out of `METRICS`, also comma-separated in one string; None is all.
      preset: published settings, such as "random_forest" (given to every chosen metric that has
        one of that name), several of them, or metric -> preset.
      continuous: which factors are quantities; None: told by their values, see
        `cdis.metrics.arrays.check`.
      perfect: also score perfect codes, one dimension for each factor: the factors, standardised.
      seed: of every sample, split and model.
      progress: is told the name of each metric before it is computed.

    Returns:
      ``{"metrics": {name: ...}, "num_samples", "num_dimensions", "num_factors", "continuous",
      "seed"}``. A metric that could be computed has ``scores`` (name -> number), ``perfect`` (the
      same of perfect codes, or None), ``perfect_reason`` if those could not be scored, ``seconds``,
      ``preset`` (or None) and ``detail`` (all that its function returned); any other has
      ``reason``. Fit for JSON.

    Raises:
      UserError: arrays that no metric could take (`cdis.metrics.arrays.check`), unknown names; a
        missing library.
    """
    chosen = _chosen(metrics)
    presets = _presets(preset, chosen)
    z, y = check(representations, factors, continuous=continuous)
    if np.asarray(representations).dtype.kind in "biu":
        z = z.astype(np.int64)  # codes stay symbols
    ideal = standardised(y.values)
    result: dict[str, Any] = {}
    for name in chosen:
        progress(name)
        metric = METRICS[name]
        function = getattr(importlib.import_module(f"cdis.metrics.{metric.module}"), name)
        arguments: dict[str, Any] = {"seed": seed}
        if metric.takes_continuous:
            arguments["continuous"] = y.continuous.tolist()
        if name in presets:
            arguments["preset"] = presets[name]
        result[name] = _measured(function, metric, z, y.values, arguments)
        if "scores" in result[name] and perfect:
            result[name] |= _perfect(function, metric, ideal, y.values, arguments)
    return {
        "metrics": result,
        "num_samples": len(z),
        "num_dimensions": z.shape[1],
        "num_factors": y.count,
        "continuous": y.continuous.tolist(),
        "seed": seed,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result of `score` for a screen: a line for each number, then what is missing and why."""
    rows = [("metric", "score", "perfect", "seconds")]
    reasons = []
    for name, entry in result["metrics"].items():
        if "reason" in entry:
            reasons.append(f"{name}: {entry['reason']}")
            continue
        for index, (headline, value) in enumerate(entry["scores"].items()):
            label = name if headline in ("score", name) else f"{name} {headline}"
            if index == 0 and entry["preset"] is not None:
                label += f" ({entry['preset']})"
            ideal = entry.get("perfect")
            best = "-" if ideal is None else f"{ideal[headline]:.3f}"
            seconds = f"{entry['seconds']:.2f}" if index == 0 else ""
            rows.append((label, f"{value:.3f}", best, seconds))
    width = max(len(row[0]) for row in rows)
    lines = [f"{a:{width}}  {b:>7}  {c:>7}  {d:>7}".rstrip() for a, b, c, d in rows]
    if reasons:
        lines += ["", "Not computed:", *(f"  {reason}" for reason in reasons)]
    return "\n".join(lines)


def _measured(
    function: Callable[..., dict[str, Any]],
    metric: Metric,
    z: np.ndarray,
    y: np.ndarray,
    arguments: dict[str, Any],
) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        detail = function(z, y, **arguments)
    except UnsuitableData as error:
        return {"reason": str(error)}
    return {
        "scores": {name: detail[name] for name in metric.headlines},
        "seconds": time.perf_counter() - start,
        "preset": detail.get("preset"),
        "detail": detail,
    }


def _perfect(
    function: Callable[..., dict[str, Any]],
    metric: Metric,
    ideal: np.ndarray,
    y: np.ndarray,
    arguments: dict[str, Any],
) -> dict[str, Any]:
    entry = _measured(function, metric, ideal, y, arguments)
    if "reason" in entry:
        return {"perfect": None, "perfect_reason": entry["reason"]}
    return {"perfect": entry["scores"]}


def _chosen(metrics: str | Iterable[str] | None) -> list[str]:
    if metrics is None:
        return list(METRICS)
    names = metrics.split(",") if isinstance(metrics, str) else list(metrics)
    names = list(dict.fromkeys(name.strip() for name in names))
    for name in names:
        if name not in METRICS:
            raise UserError(f"There is no metric {name!r}{_near(name, METRICS)}.")
    return names


def _presets(
    preset: str | Iterable[str] | Mapping[str, str] | None, chosen: Sequence[str]
) -> dict[str, str]:
    """metric -> preset."""
    if preset is None:
        return {}
    if isinstance(preset, Mapping):
        pairs = list(preset.items())
    else:
        names = preset.split(",") if isinstance(preset, str) else list(preset)
        pairs = []
        for name in (name.strip() for name in names):
            owners = [metric for metric in METRICS if name in METRICS[metric].presets]
            if not owners:
                known = [each for metric in METRICS.values() for each in metric.presets]
                raise UserError(f"There is no preset {name!r}{_near(name, known)}.")
            pairs += [(owner, name) for owner in owners]
    result: dict[str, str] = {}
    for metric, name in pairs:
        if metric not in METRICS or name not in METRICS[metric].presets:
            known = METRICS[metric].presets if metric in METRICS else ()
            raise UserError(
                f"Metric {metric!r} has no preset {name!r}; it has {', '.join(known) or 'none'}."
            )
        if metric not in chosen:
            raise UserError(
                f"The preset {name} is one of {metric}, which is not among the metrics asked for."
            )
        if metric in result:
            raise UserError(f"{metric} was given two presets, {result[metric]} and {name}.")
        result[metric] = name
    return result


def _near(name: str, names: Iterable[str]) -> str:
    import difflib

    names = list(names)
    near = difflib.get_close_matches(name, names, n=1)
    return (
        f" (did you mean {near[0]!r}?); there are {', '.join(names)}"
        if near
        else (f"; there are {', '.join(names)}")
    )
