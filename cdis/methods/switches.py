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
