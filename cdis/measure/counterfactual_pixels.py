"""Pixels of images under do(), against the mechanism's own drawing of the true counterfactual.

A factor that is read right may still be drawn badly: too grey, too bright, or twice. The error of
plain reconstructions of the same images is given beside it. `cdis.measure.do_interventions` makes
the images and fills this section.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from cdis.data.info import Info
from cdis.measure import drawing
from cdis.measure.base import Column, Headline, Metrics, Subject, Table
from cdis.measure.reconstruction import can_reconstruct, reconstruct, squared_error

SECTION = "counterfactual_pixels"
#: An image with a larger mean squared error, for pixels in [0, 1], is visibly wrong. Our choice: on
#: pendulum/clean, a light or a pendulum that is 0.2 standard deviations off, a shadow that is 0.3
#: off, or one whose length is 1 off, has about this error.
VISIBLY_WRONG = 0.002
#: If drawings of images' own labels differ more from the images, they are no truth to compare with.
MAX_REDRAWN = VISIBLY_WRONG / 100


class Pixels:
    """Collects errors, one factor after another."""

    def __init__(self, subject: Subject, index: Int[np.ndarray, " n"]):
        """`index` is the image of each intervention; all factors are set in the same images."""
        self._subject = subject
        self._errors: dict[str, dict[str, float]] = {}
        images, trial = np.unique(index, return_inverse=True)
        self.redrawn = drawing.redrawn(subject, images)
        self._reason = _why_not(subject, self.redrawn)
        if self._reason is None:
            error = squared_error(reconstruct(subject, images), subject.dataset.images[images])
            self._of_reconstructions = error[trial]

    def compare(
        self,
        factor: str,
        done: Float[np.ndarray, "b h w c"],
        wanted: Float[np.ndarray, "b f"],
        inside: Bool[np.ndarray, " n"],
    ) -> None:
        """Take in the images under do(factor), with true values `wanted`, of those `inside`."""
        if self._reason is None:
            drawn = drawing.draw(self._subject, wanted)
            assert drawn is not None
            error = squared_error(done, drawn)
            self._errors[factor] = {
                "error": float(error.mean()),
                "reconstruction_error": float(self._of_reconstructions[inside].mean()),
                "visibly_wrong": float((error > VISIBLY_WRONG).mean()),
            }

    def section(self) -> Metrics:
        """What was measured, by the factor that was set, or the reason why nothing was.

        The worst are those of causes, which are the factors that have effects: where data never
        show an effect apart from its causes, no model can draw that.
        """
        if self._reason is not None:
            return {"reason": self._reason}
        info = self._subject.info
        scores: Metrics = {
            kind: {name: of[kind] for name, of in self._errors.items()}
            for kind in ("error", "reconstruction_error", "visibly_wrong")
        }
        scores["ratio"] = {
            name: drawing.ratio(of["error"], of["reconstruction_error"])
            for name, of in self._errors.items()
        }
        causes = np.array(info.factor_names)[np.array(info.graph).any(0)]
        for kind in ("error", "ratio", "visibly_wrong"):
            of_causes = [scores[kind][name] for name in causes]
            scores[f"{kind}_worst_cause"] = max(
                (x for x in of_causes if x is not None), default=None
            )
        return scores | {"split": "test"}


def _why_not(subject: Subject, redrawn: float | None) -> str | None:
    """Why pixels cannot be compared; None if they can."""
    if not can_reconstruct(subject):
        return "The method does not reconstruct images, so there is no error to compare with."
    if redrawn is None:
        return "Nothing draws these images from their factors, so true pixels are unknown."
    if redrawn > MAX_REDRAWN:
        return (
            f"Images drawn from true labels differ from the real ones by a mean squared error of "
            f"{redrawn:.2g}, more than {MAX_REDRAWN:g}: labels do not say all that an image shows."
        )
    return None


def headlines(metrics: Metrics) -> list[Headline]:
    """The error of the worst cause."""
    scores = metrics.get(SECTION, {})
    if scores.get("error_worst_cause") is None:
        return []
    notes = [f"{scores['visibly_wrong_worst_cause']:.1%} visibly wrong"]
    if scores["ratio_worst_cause"] is not None:
        notes.insert(0, f"{scores['ratio_worst_cause']:.2f} times the reconstruction's")
    label = "pixel error under do(), worst cause"
    return [Headline(label, f"{scores['error_worst_cause']:.5f}", ", ".join(notes))]


def tables(info: Info, metrics: Metrics) -> tuple[Table, ...]:
    """The errors by the factor that is set."""
    scores = metrics.get(SECTION, {})
    if "error" not in scores:
        return ()
    caption = (
        "Mean squared error of images under do(), for pixels in [0, 1], against the drawings of "
        f"their true counterfactuals. Visibly wrong: the share of images above {VISIBLY_WRONG:g}."
    )
    columns = (
        Column("error", scores["error"], ".5f"),
        Column("of reconstructions", scores["reconstruction_error"], ".5f"),
        Column("ratio", scores["ratio"], ".2f"),
        Column("visibly wrong", scores["visibly_wrong"], ".1%"),
    )
    return (Table("Pixels of counterfactuals", caption, "set", info.factor_names, columns),)


#: Rows of `cdis compare`.
SCORES = {
    f"{SECTION}.error_worst_cause": "pixel error under do(), worst cause",
    f"{SECTION}.ratio_worst_cause": "pixel error under do() / reconstruction MSE, worst cause",
    f"{SECTION}.visibly_wrong_worst_cause": "share visibly wrong under do(), worst cause",
}
