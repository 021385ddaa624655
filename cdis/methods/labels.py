"""Labels as methods use them: standardised, checked, aligned with latents; some may be unknown."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cdis.data.info import Dataset, Info
from cdis.errors import UserError
from cdis.methods import diagnose
from cdis.objectives import supervision

#: Labels further from the mean than this many standard deviations are taken for mistakes.
_MAX_DEVIATION = 10.0
#: Training needs each label of at least so many images, and each effect together with its causes.
_FEWEST_KNOWN = 10
# A factor that varies less, in proportion to its mean, cannot be standardised in float32.
_LEAST_VARIATION = 1e-5


class Scale(NamedTuple):
    """The scale of each factor's labels, and whether some are missing."""

    mean: Float[np.ndarray, " f"]
    std: Float[np.ndarray, " f"]
    binary: Bool[np.ndarray, " f"]
    partly_labelled: bool
    constant: Float[np.ndarray, " f"]  #: the best latent that ignores the image


class Labels(NamedTuple):
    """The labels of a batch."""

    u: Float[Array, "b f"]  #: standardised; 0 where unknown
    complete: Bool[Array, " b"]  #: which images have all their labels
    known: Bool[Array, "b f"] | None  #: which labels are known; None: those of complete images


def scale(info: Info) -> Scale:
    """Mean and standard deviation of each label, and which factors are binary.

    Standardised, binary labels (0 and 1, see `Info.binary`) are -1 and 1; the latent is a logit. A
    factor with any other two values is treated like a continuous one. Raises `UserError` for a data
    set without labels.
    """
    if info.value_mean is None or info.value_std is None:
        raise UserError(
            f"{info.name} has no labels to align latents with: its factors are mere indices. "
            "Choose a data set whose factors have values, such as pendulum/clean, or a method that "
            "needs none, such as cdis.methods.joint_ct_vae."
        )
    binary, given = np.array(info.binary), (info.value_mean, info.value_std)
    mean, std = (np.where(binary, 0.5, np.array(x, np.float32)).astype(np.float32) for x in given)
    share = np.clip(info.value_mean, 1e-6, 1 - 1e-6)  # of ones, if binary
    constant = np.where(binary, np.log(share / (1 - share)), 0.0).astype(np.float32)
    return Scale(mean, std, binary, info.partly_labelled, constant)


def read(scale: Scale, values: Float[Array, "b f"], fraction: float = 1.0) -> Labels:
    """Standardised labels from physical values, of about `fraction` of the images (`labelled`)."""
    complete = labelled(values, fraction)
    if not scale.partly_labelled:
        return Labels((values - scale.mean) / scale.std, complete, None)
    known = jnp.isfinite(values)
    u = (jnp.where(known, values, scale.mean) - scale.mean) / scale.std
    known &= complete[:, None]
    return Labels(u, known.all(-1), known)


def alignment(scale: Scale, z: Float[Array, "b f"], labels: Labels) -> Float[Array, " b"]:
    """`cdis.objectives.supervision.alignment` of latents with the labels that are known."""
    target, binary = _target(scale, labels), jnp.asarray(scale.binary)
    if labels.known is None:
        return labels.complete * supervision.alignment(z, target, binary)
    return supervision.alignment(z, target, binary, labels.known)


def _target(scale: Scale, labels: Labels) -> Float[Array, "b f"]:
    """What latents are to predict: standardised labels, or 0 and 1."""
    return jnp.where(scale.binary, (labels.u + 1) / 2, labels.u)


def signs(
    scale: Scale, names: Sequence[str], z: Float[Array, "b f"], labels: Labels
) -> dict[str, Float[Array, ""]]:
    """Metrics for the log and `diagnose.labelled_latents`.

    "spread" is the largest standard deviation of a latent over the batch, "labelled" the number of
    images whose label is known, a mean over factors. "explained_NAME" is what a latent explains of
    its factor's labels, as a share of their variance in the whole data set (of binary ones: their
    entropy): about 1 at best, 0 if it is constant, less if it is worse than that. It is also 0 if
    no label is known.
    """
    target, binary = _target(scale, labels), jnp.asarray(scale.binary)
    constant = jnp.asarray(scale.constant)
    gain = supervision.distances(constant, target, binary)
    gain -= supervision.distances(z, target, binary)
    known = labels.complete[:, None] if labels.known is None else labels.known
    known = jnp.broadcast_to(known, gain.shape)
    count = known.sum(0)
    gain = jnp.where(known, gain, 0.0).sum(0) / jnp.maximum(count, 1)
    entropy = jax.nn.softplus(constant) - constant * jax.nn.sigmoid(constant)
    explained = gain / jnp.where(binary, entropy, 1.0)
    each = {f"{diagnose.EXPLAINED}{name}": x for name, x in zip(names, explained, strict=True)}
    return {"spread": z.std(0).max(), "labelled": count.mean()} | each


def labelled(values: Float[Array, "b f"], fraction: float) -> Bool[Array, " b"]:
    """Which images carry labels, about `fraction` of them.

    A hash of an image's own labels decides, so the choice never changes.
    """
    if fraction >= 1:
        return jnp.ones(len(values), bool)
    return _lots(values) < fraction


def _lots(values: Float[Array, "b f"]) -> Float[Array, " b"]:
    """A number from 0 to 1 for each image. The multipliers are those of MurmurHash3's finaliser."""
    mixed = jnp.zeros(len(values), jnp.uint32)
    for column in jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32).T:
        mixed = (mixed ^ column) * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        mixed = mixed ^ (mixed >> 16)
    return mixed.astype(jnp.float32) / 2.0**32


def check(
    scale: Scale,
    dataset: Dataset,
    graph: Float[np.ndarray, "f f"] | None = None,
    fraction: float = 1.0,
) -> tuple[str, ...]:
    """Raises `UserError` if labels are implausible, or too few of them are known.

    With a causal graph, its effects must be known together with their causes. Enough labels must be
    left if only a `fraction` of the images keeps them; a line for the log says how many those are.
    """
    info, names = dataset.info, dataset.info.factor_names
    known = np.isfinite(dataset.values)
    training = known[dataset.splits["train"]]
    for i, name in enumerate(names):
        missing = int((~known[:, i]).sum())
        if missing and not scale.partly_labelled:
            raise UserError(
                f"{missing:,} of {len(known):,} labels of {name} in {info.name} are missing (not "
                "a finite number). Label these images or leave them out."
            )
        if training[:, i].sum() < _FEWEST_KNOWN:
            raise UserError(
                f"Only {training[:, i].sum()} training images of {info.name} have a label of "
                f"{name}; at least {_FEWEST_KNOWN} are needed. Label more images, or leave the "
                "factor out."
            )
        _check_range(scale, info, i, dataset.values[known[:, i], i])
    for i, causes in enumerate(() if graph is None else graph > 0):
        together = int(training[:, causes | (np.arange(len(names)) == i)].all(1).sum())
        if together < _FEWEST_KNOWN:
            raise UserError(
                f"Only {together} training images of {info.name} have a label of {names[i]} and of "
                f"all its causes ({', '.join(np.array(names)[causes])}); at least {_FEWEST_KNOWN} "
                "are needed to learn how it depends on them. Label more images, or change the "
                "graph."
            )
    return () if fraction >= 1 else (_check_fraction(dataset, known, graph, fraction),)


def _check_fraction(
    dataset: Dataset,
    known: Bool[np.ndarray, "n f"],
    graph: Float[np.ndarray, "f f"] | None,
    fraction: float,
) -> str:
    """How many images keep their labels; raises `UserError` if these are too few.

    The minimum is the one for missing labels, since a loss cannot tell those from withheld ones.
    For validation one image will do.
    """
    needed = np.eye(known.shape[1], dtype=bool) | (False if graph is None else graph > 0)
    train, held_out = (dataset.splits[split] for split in ("train", "validation"))
    lots = np.asarray(_lots(jnp.asarray(dataset.values)))
    # For each factor, the training images that tell it and its causes; and those for validation.
    useful = [(lots[train[known[train][:, group].all(1)]], _FEWEST_KNOWN) for group in needed]
    held_out = held_out[known[held_out].any(1)]
    useful.append((lots[held_out], min(1, len(held_out))))
    counts = [int((of_images < np.float32(fraction)).sum()) for of_images, _ in useful]
    if any(count < fewest for count, (_, fewest) in zip(counts, useful, strict=True)):
        enough = max(np.sort(of_images)[fewest - 1] for of_images, fewest in useful if fewest)
        raise UserError(
            f"config.model.label_fraction is {fraction:g}, which leaves labels on "
            f"{min(counts[:-1])} of {len(train):,} training images of {dataset.info.name} and on "
            f"{counts[-1]} of {len(held_out):,} for validation; at least {_FEWEST_KNOWN} and 1 are "
            f"needed. Set it to {_rounded_up(float(enough))} or more."
        )
    kept = lots[train] < np.float32(fraction)
    return (
        f"Labels of {int(kept.sum()):,} of {len(train):,} training images are used "
        f"(config.model.label_fraction is {fraction:g})."
    )


def _rounded_up(x: float) -> str:
    """The next number above `x` that has two digits: "0.013" for .01234."""
    unit = 10.0 ** (np.floor(np.log10(x)) - 1)
    return f"{(np.floor(x / unit) + 1) * unit:.2g}"


def _check_range(scale: Scale, info: Info, factor: int, column: Float[np.ndarray, " n"]) -> None:
    """Raise `UserError` if the known labels of a factor do not vary, or some lie far off."""
    name, mean, std = info.factor_names[factor], scale.mean[factor], scale.std[factor]
    spread = std if not scale.binary[factor] else np.ptp(column)
    if not spread > _LEAST_VARIATION * abs(mean):
        raise UserError(
            f"The labels of {name} in {info.name} hardly vary: their mean is {mean:.6g}, their "
            f"standard deviation {np.std(column):.2g}. Leave the factor out, or give its values "
            "as differences from a typical one."
        )
    if scale.binary[factor]:
        wrong, expected = ~np.isin(column, (0, 1)), "0 or 1"
    else:
        wrong = abs(column - mean) > _MAX_DEVIATION * std
        expected = f"within {_MAX_DEVIATION:g} standard deviations ({std:.4g}) of {mean:.4g}"
    if wrong.any():
        raise UserError(
            f"{int(wrong.sum()):,} of {len(column):,} labels of {name} in {info.name} are out "
            f"of range, such as {column[wrong][0]:.6g}: expected {expected}. Fix the labels, leave "
            "these images out or, if the labels are right, give their logarithm."
        )
