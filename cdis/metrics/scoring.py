"""All metrics of a representation in one call, each beside the score of perfect codes.

`METRICS` is the one list of metrics. Importing this module needs NumPy only; a metric's libraries
are imported when it is computed.
"""

import importlib
import inspect
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from cdis.errors import UserError, near_miss
from cdis.metrics import correlation, dci, infomec
from cdis.metrics.arrays import UnsuitableData, check, standardised

#: Representations that evaluation scores: vectors where factors are discrete, vectors where some
#: are continuous, and code indices, which have no order.
Kind = Literal["vectors", "vectors_of_continuous", "codes"]
_HELP_WIDTH = 98
_NAME_WIDTH = 14


class Metric(NamedTuple):
    """A metric: the function `name` of `cdis.metrics.<module>`, and what to know before calling it.

    The function takes representations ``[n, d]``, factors ``[n, F]`` and keyword arguments, among
    them ``seed``, and returns a dict that is fit for JSON.
    """

    name: str
    module: str
    help: str  #: one line
    headlines: tuple[str, ...] = ("score",)  #: the numbers, among those returned, that are reported
    presets: Mapping[str, str] = {}  #: name -> one line of help; the default comes first
    min_dimensions: int = 1
    min_factors: int = 1
    discrete: bool = False  #: every factor must be discrete
    crossed: bool = False  #: factors must be independent of each other
    evaluated_on: tuple[Kind, ...] = ()  #: where `cdis evaluate` computes it

    @property
    def function(self) -> Callable[..., dict[str, Any]]:
        """The function; its module is imported here."""
        return getattr(importlib.import_module(f"cdis.metrics.{self.module}"), self.name)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "dci",
            "dci",
            "disentanglement, completeness and informativeness from a predictor's feature "
            "importances",
            headlines=("disentanglement", "completeness", "informativeness"),
            presets={name: preset.help for name, preset in dci.PRESETS.items()},
            min_dimensions=2,
            min_factors=2,
            evaluated_on=("vectors", "vectors_of_continuous"),
        ),
        Metric(
            "mig",
            "information_gap",
            "mutual information gap between a factor's two most informative dimensions",
            min_dimensions=2,
            evaluated_on=("vectors", "vectors_of_continuous", "codes"),
        ),
        Metric(
            "rmig",
            "information_gap",
            "MIG with bins that outliers cannot stretch",
            min_dimensions=2,
        ),
        Metric(
            "dcimig",
            "information_gap",
            "gap between the two factors that a dimension is most informative about",
            min_factors=2,
            evaluated_on=("vectors", "codes"),
        ),
        Metric(
            "modularity",
            "modularity",
            "whether each dimension is informative about one factor only",
            min_factors=2,
            evaluated_on=("vectors", "codes"),
        ),
        Metric(
            "explicitness",
            "modularity",
            "area under the ROC curve of a linear classifier of each factor",
            discrete=True,
        ),
        Metric(
            "sap",
            "sap",
            "gap in accuracy between the two dimensions that predict a factor best",
            min_dimensions=2,
            evaluated_on=("vectors", "vectors_of_continuous"),
        ),
        Metric(
            "beta_vae",
            "fixed_factor",
            "accuracy of a linear classifier of the factor that was fixed in a batch",
            min_factors=2,
            discrete=True,
            crossed=True,
        ),
        Metric(
            "factor_vae",
            "fixed_factor",
            "accuracy of a majority vote: the fixed factor from the dimension that varies least",
            min_factors=2,
            discrete=True,
            crossed=True,
            evaluated_on=("vectors",),
        ),
        Metric(
            "irs",
            "irs",
            "robustness of each dimension to changes of all factors but its own",
            crossed=True,
            evaluated_on=("vectors",),
        ),
        Metric(
            "infomec",
            "infomec",
            "modularity, compactness and explicitness, all from information theory",
            headlines=("modularity", "compactness", "explicitness"),
            presets={name: preset.help for name, preset in infomec.PRESETS.items()},
            min_dimensions=2,
            min_factors=2,
            evaluated_on=("vectors_of_continuous", "codes"),
        ),
        Metric(
            "mcc",
            "correlation",
            "mean absolute correlation under the best one-to-one assignment of dimensions",
            presets=correlation.PRESETS,
            evaluated_on=("vectors", "vectors_of_continuous"),
        ),
        Metric(
            "r2",
            "r2",
            "held-out R² of linear and nonlinear regression, from all dimensions and matched",
            headlines=("linear", "linear_matched", "nonlinear", "nonlinear_matched"),
            evaluated_on=("vectors_of_continuous",),
        ),
        Metric(
            "mic",
            "mic",
            "maximal and total information coefficients under the best one-to-one assignment",
            headlines=("mic", "tic"),
        ),
    )
}


def metrics_help() -> str:
    """All metrics with their requirements and presets, as text for a terminal."""
    indent = " " * (_NAME_WIDTH + 4)
    paragraphs = []
    for metric in METRICS.values():
        needs = _needs(metric)
        text = f"{metric.help}; needs {needs}" if needs else metric.help
        paragraphs.append(_wrapped(text, f"  {metric.name:{_NAME_WIDTH}}  ", indent))
        if metric.presets:
            presets = ", ".join(f"{name} ({text})" for name, text in metric.presets.items())
            paragraphs.append(
                _wrapped(f"presets, the first is the default: {presets}", indent, indent)
            )
    return "\n".join(paragraphs)


def metrics_for(kind: Kind) -> tuple[str, ...]:
    """The metrics that `cdis evaluate` computes on one kind of representation."""
    return tuple(name for name, metric in METRICS.items() if kind in metric.evaluated_on)


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
    """Score any representation against the true factors of the same samples.

    ::

        result = score(codes, factors, metrics="mig, mcc")
        result["metrics"]["mig"]["scores"]["score"]  # print(table(result)) shows all scores

    Args:
      representations: ``[n, d]``, one row per sample: for example the means of an encoder. An
        array of integers holds code indices, which InfoMEC treats as unordered symbols.
      factors: ``[n, F]``, the true factors of the same samples, in the same order.
      metrics: names from `METRICS`, as a sequence or as one comma-separated string; None computes
        all. `metrics_help` describes them.
      preset: published settings of a metric, such as "random_forest": one name, several, or a
        mapping from metric to preset. A name goes to every metric that has such a preset.
      continuous: whether the factors are continuous, for all or for each of them. None infers it
        from their values; see `cdis.metrics.arrays.check`.
      perfect: also score perfect codes, which are the standardised factors themselves. Not every
        metric gives them 1.
      seed: of all samples, splits and models.
      progress: called with the name of each metric before it is computed.

    Returns:
      A dict fit for JSON, with ``metrics``, ``num_samples``, ``num_dimensions``, ``num_factors``,
      ``continuous`` (a list of bool) and ``seed``. ``metrics`` maps each name to a dict:

      - ``scores``: name -> number, usually just ``{"score": ...}``;
      - ``perfect``: the same numbers for perfect codes. None if they cannot be scored, and then
        ``perfect_reason`` says why; left out if `perfect` is False;
      - ``seconds``, and ``preset`` (or None);
      - ``detail``: everything that the metric's function returns, such as scores per factor.

      A metric that cannot be computed on these data has ``reason`` only.

    Raises:
      UnsuitableData: the arrays suit no metric: see `cdis.metrics.arrays.check`. It is a
        `UserError` and a ValueError.
      UserError: an unknown metric or preset, or a library that is not installed.
    """
    chosen = _chosen(metrics)
    presets = _presets(preset, chosen)
    z, y = check(representations, factors, continuous=continuous)
    if np.asarray(representations).dtype.kind in "biu":
        z = z.astype(np.int64)  # InfoMEC recognises code indices by their integer type
    ideal = standardised(y.values)
    result: dict[str, Any] = {}
    for name in chosen:
        progress(name)
        metric = METRICS[name]
        arguments: dict[str, Any] = {"seed": seed}
        if "continuous" in inspect.signature(metric.function).parameters:
            arguments["continuous"] = y.continuous.tolist()
        if name in presets:
            arguments["preset"] = presets[name]
        result[name] = _measured(metric, z, y.values, arguments)
        if "scores" in result[name] and perfect:
            result[name] |= _perfect(metric, ideal, y.values, arguments)
    return {
        "metrics": result,
        "num_samples": len(z),
        "num_dimensions": z.shape[1],
        "num_factors": y.count,
        "continuous": y.continuous.tolist(),
        "seed": seed,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result of `score` as text: one line per number, then the metrics not computed and why."""
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


def _wrapped(text: str, first: str, others: str) -> str:
    """Text as lines that begin with `first` and `others`."""
    return textwrap.fill(
        text,
        _HELP_WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
    )


def _needs(metric: Metric) -> str:
    """The requirements of a metric, in words; empty if it has none."""
    needs = []
    if metric.min_dimensions > 1:
        needs.append(f"{metric.min_dimensions} or more dimensions")
    if metric.min_factors > 1:
        needs.append(f"{metric.min_factors} or more factors")
    if metric.discrete:
        needs.append("discrete factors")
    if metric.crossed:
        needs.append("a crossed design")
    return ", ".join(needs)


def _measured(
    metric: Metric, z: np.ndarray, y: np.ndarray, arguments: dict[str, Any]
) -> dict[str, Any]:
    function = metric.function
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
    metric: Metric, ideal: np.ndarray, y: np.ndarray, arguments: dict[str, Any]
) -> dict[str, Any]:
    entry = _measured(metric, ideal, y, arguments)
    if "reason" in entry:
        return {"perfect": None, "perfect_reason": entry["reason"]}
    return {"perfect": entry["scores"]}


def _names(names: str | Iterable[str]) -> list[str]:
    """The names in a comma-separated string or a sequence."""
    split = names.split(",") if isinstance(names, str) else names
    return [name.strip() for name in split]


def _chosen(metrics: str | Iterable[str] | None) -> list[str]:
    if metrics is None:
        return list(METRICS)
    names = list(dict.fromkeys(_names(metrics)))
    for name in names:
        if name not in METRICS:
            raise UserError(
                f"Unknown metric {name!r}{near_miss(name, METRICS)}. The metrics are "
                f"{', '.join(METRICS)}."
            )
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
        pairs = [(owner, name) for name in _names(preset) for owner in _owners(name)]
    result: dict[str, str] = {}
    for metric, name in pairs:
        known = METRICS[metric].presets if metric in METRICS else {}
        if name not in known:
            raise UserError(
                f"Metric {metric!r} has no preset {name!r}; it has {', '.join(known) or 'none'}."
            )
        if metric not in chosen:
            raise UserError(
                f"The preset {name} belongs to {metric}, which is not among the metrics asked for. "
                f"Ask for {metric} too, or leave the preset out."
            )
        if metric in result:
            raise UserError(
                f"{metric} was given two presets, {result[metric]} and {name}. Give one of them."
            )
        result[metric] = name
    return result


def _owners(preset: str) -> list[str]:
    """The metrics that have a preset of this name."""
    owners = [name for name, metric in METRICS.items() if preset in metric.presets]
    if not owners:
        known = [name for metric in METRICS.values() for name in metric.presets]
        raise UserError(
            f"Unknown preset {preset!r}{near_miss(preset, known)}. The presets are "
            f"{', '.join(known)}."
        )
    return owners
