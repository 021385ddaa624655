"""What a data set holds, in words: kinds of factors, their values, missing labels, splits."""

import numpy as np

from cdis.data.info import Dataset, Info

_MOST_VALUES = 8  # of a factor that are listed
_FACTOR, _KIND = 20, 12  # widths of columns
#: Where values begin in a line of `factor_table`.
VALUES_AT = _FACTOR + _KIND


def kind(info: Info, factor: int) -> str:
    """Of a factor, by number: continuous, binary, categorical, circular or ordered."""
    if not info.factor_sizes[factor]:
        return "continuous"
    if info.factor_sizes[factor] == 2:
        return "binary"
    if info.factor_names[factor] in info.unordered:
        return "categorical"
    return "circular" if info.circular[factor] else "ordered"


def shortened(text: str, width: int) -> str:
    """At most `width` characters of `text`, all printable and on one line."""
    text = "".join(c if c.isprintable() else " " for c in text[: width + 1])
    return text if len(text) <= width else f"{text[: width - 1]}…"


def named(info: Info, factor: int) -> str:
    """The name of a factor, shortened."""
    return shortened(info.factor_names[factor], _FACTOR - 1)


def physical(dataset: Dataset, factor: int, index: int) -> str:
    """The name of a discrete factor's value, or its physical value; the index if none has it."""
    if names := dataset.info.names_of(factor):
        return shortened(names[index], _FACTOR - 1)
    found = dataset.factors[:, factor] == index
    return f"{dataset.values[found.argmax(), factor]:.4g}" if found.any() else f"#{index}"


def value_counts(dataset: Dataset, factor: int, rows: np.ndarray | None = None) -> np.ndarray:
    """The number of images with each value of a discrete factor, among all images or `rows`."""
    column = dataset.factors[:, factor] if rows is None else dataset.factors[rows, factor]
    return np.bincount(column[column >= 0], minlength=dataset.info.factor_sizes[factor])


def missing(dataset: Dataset) -> np.ndarray:
    """The number of images without a label, of each factor: int [F]."""
    return np.isnan(dataset.values).sum(0)


def spelled_values(dataset: Dataset, factor: int) -> str:
    """Range, mean and standard deviation of a continuous factor; the values of another one.

    If combinations do not occur equally often, each value is followed by its share.
    """
    size = dataset.info.factor_sizes[factor]
    if not size:
        known = dataset.values[:, factor].astype(np.float64)
        known = known[np.isfinite(known)]
        if not len(known):
            return "no labels"
        low, high = known.min(), known.max()
        return f"{low:.4g} to {high:.4g}, mean {known.mean():.3g}, std {known.std():.3g}"
    counts = value_counts(dataset, factor)
    whole_grid = dataset.info.count is None
    listed = [
        physical(dataset, factor, i)
        + ("" if whole_grid else f" ({100 * counts[i] / counts.sum():.3g}%)")
        for i in range(min(size, _MOST_VALUES if counts.sum() else 0))
    ]
    more = ["..."] if size > _MOST_VALUES else []
    return f"{size}: {', '.join(listed + more)}"


def factor_table(dataset: Dataset) -> list[str]:
    """A line for each factor: name, kind, values, and how many labels are missing."""
    lines = [f"{'factor':{_FACTOR}}{'kind':{_KIND}}values"]
    for factor, unknown in enumerate(missing(dataset)):
        line = f"{named(dataset.info, factor):{_FACTOR}}{kind(dataset.info, factor):{_KIND}}"
        line += spelled_values(dataset, factor)
        if unknown:
            line += f"; {unknown:,} without a label"
        lines.append(line)
    return lines


def split_table(dataset: Dataset) -> list[str]:
    """A line for each split: its images, and how many have all labels if some are missing."""
    partly = dataset.info.partly_labelled
    lines = [f"{'split':{_FACTOR}}{'images':>9}" + ("  with all labels" if partly else "")]
    for name, index in dataset.splits.items():
        line = f"{name:{_FACTOR}}{len(index):9,}"
        lines.append(line + (f"{len(dataset.fully_labelled(index)):17,}" if partly else ""))
    return lines
