"""Downstream tasks: what a representation saves a classifier, and what it protects it from.

The tasks of DEAR (Shen et al., 2022, arXiv 2010.02637, section 6.2), as CauF-VAE and CDG-VAE took
them over.
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
_LEAST_IN_GROUP = 3  # 100 labels at an agreement of 0.9 leave about 5, by chance fewer


def synthetic_label(
    factors: Float[np.ndarray, "n f"],
    *,
    weights: Sequence[float] = WEIGHTS,
    drawn: bool = True,
    seed: int = 0,
) -> Int[np.ndarray, " n"]:
    """CDG-VAE's label: y ~ Bernoulli(sigmoid(l + 2 sin l)), l the weighted standardised factors.

    Weights are for the first factors; there must be at least as many. The best possible accuracy is
    well below 1, since labels are drawn (on Pendulum .86); without `drawn` they are the likelier
    value, `l > 0`, and it is 1 (ours).
    """
    _, y = check(factors, factors, continuous=True)
    if y.count < len(weights):
        raise UnsuitableData(
            f"The label weighs {len(weights)} factors, and there are {y.count}. Give `weights` for "
            "these."
        )
    line = standardised(y.values)[:, : len(weights)] @ np.asarray(weights, np.float64)
    probability = 1 / (1 + np.exp(-line - 2 * np.sin(line)))
    if not drawn:
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
    """Accuracy of a small classifier that has seen `few` labels, over that with all labels.

    In each repeat rows are split anew and a network with one hidden layer of 32 learns twice. A
    representation that states what matters plainly scores near 1. Two classes or more.

    Args:
      representations: ``[n, d]``.
      label: such as a factor, or `synthetic_label`.
      few: labelled rows for the first classifier.
      test_share: of rows, to score both.

    Returns:
      ``efficiency`` (mean accuracy with few over mean with all), ``accuracy_few``,
      ``accuracy_all``, each with a 95 % ``..._interval`` over repeats (Student's t; the
      efficiency's from the ratios of the repeats), ``per_repeat``.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; no more training rows than `few`; fewer than
        two repeats.
    """
    z, label = _labelled(representations, label)
    _need_repeats(repeats)
    num_test = round(test_share * len(z))
    if len(z) - num_test <= few or num_test < 20:
        raise UnsuitableData(
            f"{len(z)} rows are too few for {few} labelled ones, more to compare with, and at "
            "least 20 to test on."
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
    """Accuracy where a background no longer goes with the label, on average and in the worst group.

    `attribute` is in the images (the colour of a background, say) and irrelevant. In each repeat
    rows are chosen so that it agrees with the label in `agreement_train` of the training rows and
    `agreement_test` of the test rows, within each class; rows beyond that are left out. A network
    with one hidden layer of 32 learns the label. Groups are label and attribute together, four of
    them; a classifier that reads the attribute alone scores `agreement_test` on average and 0 in
    the worst group.

    Args:
      representations: ``[n, d]``, of images in which the attribute is drawn.
      label: 0 or 1.
      attribute: 0 or 1; agrees with the label where equal.
      few: so many training rows in all; None: as many as there are.

    Returns:
      ``average`` and ``worst_group`` accuracy, means over repeats, each with a 95 %
      ``..._interval`` (Student's t); ``per_group`` means, named "label 0, attribute 0" and so on;
      ``per_repeat``; ``num_train``, ``num_test`` and the agreements reached.

    Raises:
      UnsuitableData: see `cdis.metrics.arrays.check`; not binary; a group has too few rows.
    """
    z, label = _labelled(representations, label)
    _need_repeats(repeats)
    attribute = np.asarray(attribute)
    if attribute.shape != label.shape or not np.isin(attribute, (0, 1)).all() or label.max() > 1:
        raise UnsuitableData(
            "Label and attribute must be 0 or 1 in every row, and as many as rows."
        )
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
    """Rows of `part`, `few` of them or all that can be, with that agreement within each class."""
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
                f"At an agreement of {agreement} there are {int(sum(sizes))} training rows, and "
                f"{few} are asked for. Give more rows, or a smaller share of them to the test."
            )
        first = round(few * sizes[0] / sum(sizes))
        sizes = [first, few - first]
    taken = []
    for value in (0, 1):
        count = round(agreement * sizes[value])
        counts = count, round(sizes[value] - count)
        if min(counts) < _LEAST_IN_GROUP:
            raise UnsuitableData(
                f"Of label {value} there are {len(agree[value])} rows whose attribute agrees and "
                f"{len(differ[value])} whose attribute differs: too few for {_LEAST_IN_GROUP} in "
                f"each group at an agreement of {agreement}. Draw the attribute at random, "
                "independently of the label, in more images."
            )
        taken += [agree[value][: counts[0]], differ[value][: counts[1]]]
    return random.permutation(np.concatenate(taken))


def _labelled(representations: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised representations and the label's values as 0, 1, ..."""
    label = np.asarray(label)
    if label.ndim != 1:
        raise UnsuitableData(f"The label must be a vector; its shape is {list(label.shape)}.")
    z, y = check(representations, label[:, None], continuous=False)
    return standardised(z), y.labels[:, 0]


def _with_all_classes(rows: np.ndarray, label: np.ndarray, few: int) -> np.ndarray:
    """The first `few` shuffled rows; one of each missing class takes the place of the last."""
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
        raise UnsuitableData("An interval needs at least two repeats.")
