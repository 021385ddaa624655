"""Downstream tasks: sample efficiency and distributional robustness of a small classifier.

The tasks of DEAR (Shen et al., 2022, arXiv 2010.02637, section 6.2), as adopted by CauF-VAE and
CDG-VAE.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdis.metrics.arrays import UnsuitableData, check, quiet_convergence, standardised
from cdis.metrics.intervals import mean_interval

#: Weights of the four factors in CDG-VAE's label.
WEIGHTS = (1.0, -1.0, 0.5, -0.5)
_HIDDEN = 32
_MIN_IN_GROUP = 3  # 100 labels at an agreement of 0.9 leave about 5, by chance fewer


def synthetic_label(
    factors: Float[np.ndarray, "n f"],
    *,
    weights: Sequence[float] = WEIGHTS,
    sampled: bool = True,
    seed: int = 0,
) -> Int[np.ndarray, " n"]:
    """CDG-VAE's label: y ~ Bernoulli(sigmoid(l + 2 sin l)), l the weighted standardised factors.

    Since labels are random, the best possible accuracy is well below 1 (0.86 on Pendulum).

    Args:
      factors: ``[n, F]``.
      weights: of the first factors; at most F.
      sampled: sample the labels, as published. If False, each label is its more probable value,
        `l > 0`, which can be predicted perfectly (ours).

    Returns:
      ``[n]`` of 0 and 1.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; fewer factors than weights.
    """
    _, y = check(factors, factors, continuous=True)
    if y.count < len(weights):
        raise UnsuitableData(
            f"The label weighs {len(weights)} factors, but there are only {y.count}. Give "
            f"`weights` for {y.count} factors or fewer."
        )
    line = standardised(y.values)[:, : len(weights)] @ np.asarray(weights, np.float64)
    probability = 1 / (1 + np.exp(-line - 2 * np.sin(line)))
    if not sampled:
        return (probability > 0.5).astype(np.int64)
    return (np.random.default_rng(seed).random(len(line)) < probability).astype(np.int64)


def sample_efficiency(
    representations: Float[np.ndarray, "n d"],
    label: Int[np.ndarray, " n"],
    *,
    few: int = 100,
    test_share: float = 0.2,
    repeats: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of a small classifier with `few` labels, relative to its accuracy with all labels.

    In each repeat, rows are split at random and two networks with one hidden layer of 32 units are
    trained, one on `few` labels and one on all. A representation from which the label is easy to
    predict scores near 1.

    Args:
      representations: ``[n, d]``.
      label: ``[n]``, two or more classes, for example a factor or `synthetic_label`.
      few: training rows of the first classifier.
      test_share: proportion of rows to test both classifiers on.
      repeats: at least two.

    Returns:
      ``efficiency`` (mean accuracy with few labels divided by mean accuracy with all),
      ``accuracy_few``, ``accuracy_all``, each with a 95 % ``..._interval`` over repeats (Student's
      t; for the efficiency, of the ratio in each repeat); ``per_repeat`` accuracies ``[few, all]``;
      ``few``, ``num_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; no more training rows than `few`; fewer than
        two repeats.
    """
    z, label = _labelled(representations, label)
    _need_repeats(repeats)
    num_test = round(test_share * len(z))
    if len(z) - num_test <= few or num_test < 20:
        raise UnsuitableData(
            f"{len(z)} rows are too few: {few} labelled rows, more training rows to compare with, "
            "and at least 20 test rows are needed."
        )
    accuracy = np.empty((repeats, 2))
    for repeat in range(repeats):
        random = np.random.default_rng((seed, repeat))
        order = random.permutation(len(z))
        test, train = order[:num_test], order[num_test:]
        for column, rows in enumerate((_with_all_classes(train, label, few), train)):
            model = _classifier(z[rows], label[rows], seed + repeat)
            accuracy[repeat, column] = (model(z[test]) == label[test]).mean()
    ratio = accuracy[:, 0] / accuracy[:, 1]
    return {
        "efficiency": float(accuracy[:, 0].mean() / accuracy[:, 1].mean()),
        "efficiency_interval": _interval(ratio),
        "accuracy_few": float(accuracy[:, 0].mean()),
        "accuracy_few_interval": _interval(accuracy[:, 0]),
        "accuracy_all": float(accuracy[:, 1].mean()),
        "accuracy_all_interval": _interval(accuracy[:, 1]),
        "per_repeat": accuracy.tolist(),
        "few": few,
        "num_test": num_test,
    }


def distributional_robustness(
    representations: Float[np.ndarray, "n d"],
    label: Int[np.ndarray, " n"],
    attribute: Int[np.ndarray, " n"],
    *,
    agreement_train: float = 0.8,
    agreement_test: float = 0.5,
    few: int | None = None,
    test_share: float = 0.3,
    repeats: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy under a shift in a spurious correlation, on average and in the worst group.

    `attribute` is visible in the images (for example, a background colour) but irrelevant. In each
    repeat, rows are selected so that within each class it equals the label in a proportion of
    `agreement_train` of the training rows and `agreement_test` of the test rows; surplus rows are
    left out. A network with one hidden layer of 32 units learns the label. The four groups are the
    combinations of label and attribute. A classifier that uses the attribute alone scores
    `agreement_test` on average and 0 in the worst group.

    Args:
      representations: ``[n, d]``, of images that show the attribute.
      label: ``[n]``, 0 or 1.
      attribute: ``[n]``, 0 or 1.
      agreement_train, agreement_test: see above.
      few: number of training rows; None uses as many as there are.
      test_share: proportion of rows to select test rows from.
      repeats: at least two.

    Returns:
      ``average`` and ``worst_group`` accuracy, means over repeats, each with a 95 %
      ``..._interval`` (Student's t); ``per_group`` means, named "label 0, attribute 0" and so on;
      ``per_repeat`` accuracies, average first, then the groups; and, of the last repeat,
      ``num_train``, ``num_test``, ``agreement_train`` and ``agreement_test``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not binary; a group has too few rows; fewer
        than two repeats.
    """
    z, label = _labelled(representations, label)
    _need_repeats(repeats)
    attribute = np.asarray(attribute)
    if attribute.shape != label.shape or not np.isin(attribute, (0, 1)).all() or label.max() > 1:
        raise UnsuitableData("Label and attribute must both have one value, 0 or 1, for every row.")
    results: list[list[float]] = []
    rows: dict[str, np.ndarray] = {}
    for repeat in range(repeats):
        random = np.random.default_rng((seed, repeat))
        order, cut = random.permutation(len(z)), round(test_share * len(z))
        rows = {
            "train": _agreeing(random, label, attribute, order[cut:], agreement_train, few),
            "test": _agreeing(random, label, attribute, order[:cut], agreement_test, None),
        }
        model = _classifier(z[rows["train"]], label[rows["train"]], seed + repeat)
        test = rows["test"]
        right = model(z[test]) == label[test]
        group = 2 * label[test] + attribute[test]
        results.append([float(right.mean()), *(float(right[group == g].mean()) for g in range(4))])
    scores = np.array(results)
    worst = scores[:, 1:].min(1)
    names = [f"label {g // 2}, attribute {g % 2}" for g in range(4)]
    return {
        "average": float(scores[:, 0].mean()),
        "average_interval": _interval(scores[:, 0]),
        "worst_group": float(worst.mean()),
        "worst_group_interval": _interval(worst),
        "per_group": dict(zip(names, scores[:, 1:].mean(0).tolist(), strict=True)),
        "per_repeat": results,
        "num_train": len(rows["train"]),
        "num_test": len(rows["test"]),
        "agreement_train": float((label == attribute)[rows["train"]].mean()),
        "agreement_test": float((label == attribute)[rows["test"]].mean()),
    }


def _agreeing(
    random: np.random.Generator,
    label: np.ndarray,
    attribute: np.ndarray,
    part: np.ndarray,
    agreement: float,
    few: int | None,
) -> np.ndarray:
    """Rows of `part` with that agreement within each class: `few` rows, or as many as possible."""
    agree, differ = (
        [part[(label[part] == value) & (same == (attribute[part] == value))] for value in (0, 1)]
        for same in (True, False)
    )
    sizes = [
        min(
            len(agree[value]) / agreement if agreement > 0 else np.inf,
            len(differ[value]) / (1 - agreement) if agreement < 1 else np.inf,
        )
        for value in (0, 1)
    ]
    if few is not None:
        if few > sum(sizes):
            raise UnsuitableData(
                f"At an agreement of {agreement} there are {int(sum(sizes))} training rows, but "
                f"{few} are asked for. Give more rows, or lower `test_share`."
            )
        first = round(few * sizes[0] / sum(sizes))
        sizes = [first, few - first]
    taken = []
    for value in (0, 1):
        count = round(agreement * sizes[value])
        counts = count, round(sizes[value] - count)
        if min(counts) < _MIN_IN_GROUP:
            raise UnsuitableData(
                f"Label {value} has {len(agree[value])} rows whose attribute agrees and "
                f"{len(differ[value])} whose attribute differs, too few for {_MIN_IN_GROUP} in "
                f"each group at an agreement of {agreement}. Give more images, and sample the "
                "attribute independently of the label."
            )
        taken += [agree[value][: counts[0]], differ[value][: counts[1]]]
    return random.permutation(np.concatenate(taken))


def _labelled(representations: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised representations, and the label renumbered 0, 1, ..."""
    label = np.asarray(label)
    if label.ndim != 1:
        raise UnsuitableData(f"The label must be a vector; its shape is {list(label.shape)}.")
    z, y = check(representations, label[:, None], continuous=False)
    return standardised(z), y.labels[:, 0]


def _with_all_classes(rows: np.ndarray, label: np.ndarray, few: int) -> np.ndarray:
    """The first `few` shuffled rows; the last are replaced by one row of each missing class."""
    chosen = rows[:few]
    missing = np.setdiff1d(label[rows], label[chosen])
    spare = [rows[label[rows] == value][0] for value in missing]
    return np.concatenate([chosen[: few - len(spare)], np.array(spare, int)])


def _classifier(x: np.ndarray, label: np.ndarray, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    batch_size: Any = min(64, len(x))
    model = MLPClassifier(
        (_HIDDEN,),
        solver="adam",
        learning_rate_init=0.005,
        batch_size=batch_size,
        max_iter=100,
        n_iter_no_change=10,
        random_state=seed,
    )
    with quiet_convergence():
        model.fit(x, label)
    return model.predict


def _interval(values: np.ndarray) -> list[float]:
    return list(mean_interval(values))


def _need_repeats(repeats: int) -> None:
    if repeats < 2:
        raise UnsuitableData(f"An interval needs at least two repeats, not {repeats}.")
