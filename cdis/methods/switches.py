"""Fields of `config.model` that take one of a few values, or values in a range."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from cdis.errors import UserError


def check_switches(model: ConfigDict, allowed: Mapping[str, Sequence[str]]) -> None:
    """Raise `UserError` if a dotted field of `config.model` has a value that is not allowed."""
    for name, values in allowed.items():
        value = _field(model, name)
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


def check_shares(model: ConfigDict, names: Sequence[str]) -> None:
    """Raise `UserError` if a dotted field of `config.model` is not in [0, 1)."""
    for name in names:
        value = _field(model, name)
        if not 0 <= value < 1:
            raise UserError(
                f"config.model.{name} is {value:g}, but must be at least 0 and less than 1."
            )


def _field(model: ConfigDict, name: str) -> Any:
    value = model
    for part in name.split("."):
        value = value[part]
    return value
