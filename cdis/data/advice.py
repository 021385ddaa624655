"""What in a data set will hurt: warnings for whoever is about to train on it."""

import numpy as np

from cdis.data.info import Dataset
from cdis.data.summary import kind, physical, shortened, value_counts
from cdis.ops.adjacency import reachable

# A factor is nearly constant if this share of images have the same value of it.
_CONSTANT = 0.95
# A factor is a function of others if they explain this share of its variance.
_DETERMINED = 0.99
_FEW = 10  # training images of a value
_MANY_VALUES = 64
_ROWS = 600  # for regressions
_FEWEST_ROWS = 60  # for regressions
_LISTED = 3  # examples of the same trouble
_UNIQUE = 1 << 20  # images among which repeated values are counted


def warnings_about(dataset: Dataset) -> list[str]:
    """Warnings, one or two sentences each; none if nothing is wrong.

    They say what was found and what it does to training or measuring:

    - labels that are missing from a whole split or nearly everywhere;
    - a factor that is (nearly) constant;
    - a value of a discrete factor that few training images have, or that a split lacks;
    - a factor with many values, of which a transition takes one step;
    - an effect that its causes determine, so that nothing shows what do(effect) does;
    - a cause, or any factor if no graph is known, that other factors determine.

    A factor is determined if a regression on some 600 images explains 99 % of its variance in
    others.
    """
    flat = [_is_flat(dataset, factor) for factor in range(dataset.info.num_factors)]
    found = _unlabelled(dataset)
    found += [_flat(dataset, factor) for factor, is_flat in enumerate(flat) if is_flat]
    for factor, size in enumerate(dataset.info.factor_sizes):
        if size:
            found += _rare_values(dataset, factor)
    if all(dataset.info.factor_sizes):
        found += _many_values(dataset)
    # Each combination once: no factor says anything of another.
    if dataset.info.count is not None:
        found += _determined(dataset, flat)
    return found


def _name(dataset: Dataset, factor: int) -> str:
    return shortened(dataset.info.factor_names[factor], 40)


def _names(dataset: Dataset, factors: list[int]) -> str:
    names = [_name(dataset, factor) for factor in factors[:_LISTED]]
    more = len(factors) - len(names)
    if more:
        return f"{', '.join(names)} and {more} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _unlabelled(dataset: Dataset) -> list[str]:
    info, lines = dataset.info, []
    if not info.partly_labelled:
        return lines
    for split, index in dataset.splits.items():
        if len(index) and not len(dataset.fully_labelled(index)):
            what = "trained" if split == "train" else "measured"
            lines.append(
                f"No image of the split {split} has all labels: nothing that needs them can be "
                f"{what} on it."
            )
    train = dataset.splits["train"]
    known = np.isfinite(dataset.values[train]).sum(0)
    return lines + [
        f"{_name(dataset, factor)}: only {count} training images have a label."
        for factor, count in enumerate(known)
        if count < _FEW
    ]


def _known(dataset: Dataset, factor: int) -> np.ndarray:
    """The factor's known values, of so many images at most that they can be sorted in no time."""
    column = dataset.values[:: len(dataset.values) // _UNIQUE + 1, factor]
    return column[np.isfinite(column)]


def _most_common(dataset: Dataset, factor: int) -> tuple[float, float]:
    """The most common value of a factor, and its share."""
    values, counts = np.unique(_known(dataset, factor), return_counts=True)
    if not len(values):
        return np.nan, 0.0
    return float(values[counts.argmax()]), float(counts.max() / counts.sum())


def _is_flat(dataset: Dataset, factor: int) -> bool:
    return _most_common(dataset, factor)[1] >= _CONSTANT


def _flat(dataset: Dataset, factor: int) -> str:
    value, share = _most_common(dataset, factor)
    if share == 1:
        return (
            f"{_name(dataset, factor)} is {value:.4g} in all images: nothing can be learnt of it. "
            "Leave it out."
        )
    return (
        f"{_name(dataset, factor)} is nearly constant, {value:.4g} in {share:.1%} of the images: "
        "to predict that value always is almost right, and little shows what the others look like."
    )


def _rare_values(dataset: Dataset, factor: int) -> list[str]:
    name, lines = _name(dataset, factor), []
    counts = value_counts(dataset, factor, dataset.splits["train"])

    def listed(values: np.ndarray) -> str:
        some = ", ".join(physical(dataset, factor, value) for value in values[:_LISTED])
        return some + (f" and {len(values) - _LISTED} more" if len(values) > _LISTED else "")

    rare = np.flatnonzero((counts > 0) & (counts < _FEW))
    if len(rare):
        fewest = int(counts[rare].min())
        count = f"only {fewest}" if len(rare) == 1 else f"as few as {fewest}"
        lines.append(
            f"{name} = {listed(rare)}: {count} training image{'s' * (fewest > 1)}. What it looks "
            "like can hardly be learnt from so few."
        )
    for split, index in dataset.splits.items():
        absent = np.flatnonzero(value_counts(dataset, factor, index) == 0)
        if len(absent) and len(index):
            what = "learnt" if split == "train" else "measured"
            lines.append(
                f"{name} = {listed(absent)}: no image of the split {split}, so it cannot be {what}."
            )
    return lines


def _many_values(dataset: Dataset) -> list[str]:
    return [
        f"{_name(dataset, factor)} has {size} values, and a transition is a single step between "
        "two of them: most steps will have few pairs of images. Merge values, or leave it out."
        for factor, size in enumerate(dataset.info.factor_sizes)
        if size > _MANY_VALUES
    ]


# Factors that are functions of others


def _determined(dataset: Dataset, flat: list[bool]) -> list[str]:
    lines, varying = [], [f for f in range(dataset.info.num_factors) if not flat[f]]
    for factor in varying:
        causes, others = _explanations(dataset, factor, varying)
        share = _explained(dataset, factor, causes or others)
        if share < _DETERMINED:
            continue
        name, by = _name(dataset, factor), _names(dataset, causes or others)
        if causes:
            lines.append(
                f"{name} hardly varies apart from its causes: {share:.1%} of its variance follows "
                f"from {by}. So the images do not show what do({name}) does."
            )
        else:
            lines.append(
                f"{name} is nearly a function of {by} ({share:.1%} of its variance): which of them "
                "an image shows, or which of them causes an effect, cannot be told."
            )
    return lines


def _explanations(dataset: Dataset, factor: int, among: list[int]) -> tuple[list[int], list[int]]:
    """The factor's causes, and all other factors but its effects."""
    if dataset.info.graph is None:
        return [], [other for other in among if other != factor]
    graph = np.array(dataset.info.graph)
    effects = reachable(graph)[:, factor]
    return (
        [other for other in among if graph[factor, other]],
        [other for other in among if other != factor and not effects[other]],
    )


def _explained(dataset: Dataset, factor: int, by: list[int]) -> float:
    """The share of a factor's variance that others explain, in held-out images (R^2, at least 0).

    By the better of a linear regression and a smooth one; 0 if there is too little to tell.
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import Ridge

    known = np.flatnonzero(np.isfinite(dataset.values[:, [factor, *by]]).all(1))
    if not by or len(known) < _FEWEST_ROWS:
        return 0.0
    rows = np.random.default_rng(0).permutation(known)[:_ROWS]
    x = np.concatenate([_encoded(dataset, other, rows) for other in by], axis=1)
    y = _encoded(dataset, factor, rows)
    half = 2 * len(rows) // 3
    variance = np.square(y[half:] - y[:half].mean(0)).sum()
    if not variance:
        return 0.0
    smooth = [
        KernelRidge(kernel="rbf").set_params(alpha=1e-4, gamma=gamma / x.shape[1])
        for gamma in (0.1, 0.5)
    ]
    errors = [
        np.square(
            y[half:] - model.fit(x[:half], y[:half]).predict(x[half:]).reshape(-1, y.shape[1])
        )
        for model in (Ridge(1e-4), *smooth)
    ]
    return max(0.0, 1 - min(float(error.sum()) for error in errors) / float(variance))


def _encoded(dataset: Dataset, factor: int, rows: np.ndarray) -> np.ndarray:
    """Standardised values, [n, 1]; of a categorical factor, 0 or 1 for each category, [n, size]."""
    if kind(dataset.info, factor) == "categorical":
        size = dataset.info.factor_sizes[factor]
        return np.eye(size)[dataset.factors[rows, factor]]
    column = dataset.values[rows, factor].astype(np.float64)
    return ((column - column.mean()) / (column.std() or 1))[:, None]
