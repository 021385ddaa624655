"""Fields of `config.model` that take one of a few values."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from cdis.errors import UserError


def check_switches(model: ConfigDict, allowed: Mapping[str, Sequence[str]]) -> None:
    """Raise `UserError` if a dotted field of `config.model` has a value that is not allowed."""
    for name, values in allowed.items():
        value = model
        for part in name.split("."):
            value = value[part]
        if value not in values:
            raise UserError(
                f"config.model.{name} is {value!r}, but must be one of {', '.join(values)}."
            )


def check_noise(model: ConfigDict) -> None:
    """Raise `UserError` if `config.model` asks for noise with deterministic gates."""
    if model.transition.noise != "off" and model.gates == "deterministic":
        raise UserError(
            f"config.model.transition.noise is {model.transition.noise!r}, but deterministic "
            "gates exclude noise. Set config.model.gates to 'stochastic' or the noise to 'off'."
        )
