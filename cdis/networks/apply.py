"""Calling Flax modules."""

from typing import Any

import flax.linen as nn


def apply(module: nn.Module, params: Any, *args: Any, **options: Any) -> Any:
    """The output of a module with these parameters."""
    return module.apply({"params": params}, *args, **options)
