"""Has a stage learnt anything? Judged by its metrics, see `cdis.methods.base.Stage.diagnose`."""

from collections.abc import Callable, Mapping
from functools import partial

from cdis.methods.base import Diagnosis

#: What a factor's latent explains is the metric of this name and the factor's.
EXPLAINED = "explained_"
#: A latent that explains a smaller share of its labels has hardly learnt them.
_LEAST_EXPLAINED = 0.05
#: With fewer labelled images in a batch, on average, chance decides what latents explain of them.
_FEWEST_LABELLED = 1.0
#: A latent with a smaller standard deviation does not depend on the image. The bound is that of
#: "active units" (Burda, Grosse and Salakhutdinov, arXiv 1509.00519): a variance of .01.
_LEAST_SPREAD = 0.1
#: With fewer codes in use (perplexity) nearly all outputs have the same code: of two codes, one has
#: a share of less than a hundredth.
_LEAST_CODES = 1.05
_LABEL_MORE = "label more images"
_TOO_CLOSE = (
    "the encoder's outputs differ less than the code vectors do, as they may on images with a "
    "black background"
)
_STEPS_TOO_LARGE = "early steps are too large for the networks to recover from"


def aligned(weight: float) -> Callable[[Mapping[str, float]], Diagnosis | None]:
    """`labelled_latents` or, if the loss gives alignment with labels no `weight`, `latents`."""
    if weight > 0:
        return labelled_latents
    return partial(latents, remedy="set config.model.weights.alignment")


def latents(metrics: Mapping[str, float], *, remedy: str) -> Diagnosis | None:
    """Dead, if all latents are constant: from "spread", their largest standard deviation."""
    if metrics["spread"] >= _LEAST_SPREAD:
        return None
    return Diagnosis(
        "the latents are the same for all images (their largest standard deviation is "
        f"{metrics['spread']:.1g})",
        _STEPS_TOO_LARGE,
        remedy,
    )


def labelled_latents(metrics: Mapping[str, float]) -> Diagnosis | None:
    """Dead, if no latent follows its labels; a warning, if some do not: from `labels.signs`."""
    explained = {
        name.removeprefix(EXPLAINED): x for name, x in metrics.items() if name.startswith(EXPLAINED)
    }
    missed = [name for name, x in explained.items() if x < _LEAST_EXPLAINED]
    constant = latents(metrics, remedy=_LABEL_MORE)
    if metrics["labelled"] < _FEWEST_LABELLED:
        return constant
    if not missed:
        return None
    if len(missed) < len(explained):
        return Diagnosis(
            f"the latents of these factors explain less than {_LEAST_EXPLAINED:.0%} of the "
            f"variance of their labels: {', '.join(missed)}",
            "the images do not show a factor, too few of them have a label of it, or the stage is "
            "too short",
            dead=False,
        )
    if constant:
        return constant
    best = max(explained, key=explained.__getitem__)
    return Diagnosis(
        f"no latent follows the labels of its factor (the best one, of {best}, explains "
        f"{max(explained[best], 0):.1%} of their variance)",
        f"{_STEPS_TOO_LARGE}, or too few images have labels",
        _LABEL_MORE,
    )


def codes(
    metrics: Mapping[str, float], *, num_codes: int, remedy: str, cause: str = _TOO_CLOSE
) -> Diagnosis | None:
    """Dead, if every codebook uses one code: from "codes_used", the share of codes in use."""
    if metrics["codes_used"] * num_codes >= _LEAST_CODES:
        return None
    return Diagnosis(
        f"only 1 of {num_codes} codes is in use, so all images have the same representation",
        cause,
        remedy,
    )
