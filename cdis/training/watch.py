"""Stops a stage that learns nothing.

A method's stage says what it has failed to learn (`cdis.methods.base.Stage.diagnose`). It is judged
at every validation or, without validation, at every line of the log, but not during its warm-up,
nor in its first steps (`GRACE`). A stage that is dead stops the training when two validations in a
row, or the last one of the stage, say so; what is wrong otherwise is a warning when the stage ends.

A stage that is stopped saves no checkpoint at that step, and earlier checkpoints hold whether the
last judgement found it dead. So a run that was interrupted, or that is started again after it was
stopped, stops at the same step. Metrics are means over all processes, which therefore stop
together.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from cdis.errors import UserError
from cdis.methods.base import Diagnosis, Stage

#: Steps of a stage in which nothing is judged: in some healthy runs (`cauf_vae/light_tunnel`) the
#: loss jumps for 300 steps, and the longest warm-up of our experiments has 500.
GRACE = 500


class Watch:
    """Judges one stage.

    Args:
      stage: it is never judged if it has no `diagnose`.
      settings: of the stage, from the config.
      start: the step at which the stage begins.
      suspected: did the last judgement before this call of the loop find the stage dead?
    """

    def __init__(self, stage: Stage, settings: ConfigDict, start: int, *, suspected: bool):
        self._stage, self._settings = stage, settings
        self._first = start + max(GRACE, settings.warmup_steps)
        self._end = start + settings.steps
        self.suspected = suspected  #: was the stage dead at the last judgement?

    def judge(self, step: int, metrics: Mapping[str, float], saved: int | None) -> str | None:
        """A warning about the stage, if it ends with `step` and something is wrong.

        `saved` is the step of the newest checkpoint, if there is one. Raises `UserError` if the
        stage is to be stopped.
        """
        if self._stage.diagnose is None or step < self._first:
            return None
        found = self._stage.diagnose(metrics)
        dead = found is not None and found.dead
        if found and dead and (self.suspected or step == self._end):
            raise UserError(self._stopped(step, found, saved))
        self.suspected = dead
        if found is None or step < self._end:
            return None
        return f"{self._stage.name}: {found.what}. This tends to happen when {found.cause}."

    def _stopped(self, step: int, found: Diagnosis, saved: int | None) -> str:
        field = f"config.stages.{self._stage.name}"
        rate, clip_norm = self._settings.learning_rate, self._settings.clip_norm
        clip = f"{clip_norm:g}" if clip_norm else "0, which clips nothing"
        kept = f"The checkpoint of step {saved} is kept." if saved else "It has no checkpoint yet."
        return (
            f"The stage {self._stage.name!r} was stopped at step {step}, because {found.what}. "
            f"This tends to happen when {found.cause}: lower {field}.learning_rate (now {rate:g}), "
            f"set {field}.clip_norm (now {clip}) or {found.remedy}, and train into another "
            f"--workdir. {kept}"
        )
