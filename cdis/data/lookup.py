"""From names of data sets to the builders that make them; imports only the modules it needs.

A builder is a subclass of `cdis.data.builder.ImageBuilder`. Its variants are named by the `Info` of
each, such as "sprites2d/coloured"; "flow" alone means "flow/default". Builders outside cdis are
named MODULE:NAME.
"""

import importlib
import inspect
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cdis.errors import UserError, near_miss
from cdis.imports import import_user_module

if TYPE_CHECKING:  # `cdis.data.builder` imports tfds, which takes a second
    from cdis.data.builder import ImageBuilder

#: The prefix of names of folders of the user's own images; see `cdis.data.own`.
OWN = "own:"

# To add a data set to cdis, write a module and list it here under the part of its name before "/".
_MODULES: dict[str, tuple[str, ...]] = {
    "sprites2d": ("sprites2d",),
    "rooms3d": ("rooms3d",),
    "pendulum": ("pendulum", "pendulum_published", "pendulum_original"),
    "flow": ("flow", "flow_published", "flow_original"),
    "bars": ("bars",),
    "light_tunnel": ("light_tunnel",),
    "shapes3d": ("shapes3d",),
    "dsprites": ("dsprites",),
    "smallnorb": ("smallnorb",),
    "cars3d": ("cars3d",),
    "sprites": ("sprites",),
    "mpi3d": ("mpi3d",),
    "celeb_a": ("celeb_a",),
    "morpho_mnist": ("morpho_mnist",),
}

#: A builder and one of its variants.
Variant = tuple[type["ImageBuilder"], Any]


def names() -> tuple[str, ...]:
    """The names of the data sets of cdis that are listed. Imports all builders."""
    return tuple(name for name, (builder, config) in _all().items() if builder.listed(config))


def find(name: str) -> Variant:
    """Builder and variant of a data set of cdis, or of MODULE:NAME.

    Raises `UserError` if there is none, with the nearest name.
    """
    if ":" in name:
        return _find_outside(name)
    variants = _variants_of(name.split("/")[0])
    full = name if name in variants else f"{name}/default"
    if full not in variants:
        raise UserError(
            f"Unknown data set {name!r}{near_miss(name, _all())}. Use one of "
            f"{', '.join(names())}; or {OWN}FOLDER for a folder of your own images; or "
            "MODULE:NAME for a data set that a Python module of your own defines."
        )
    return variants[full]


def _find_outside(name: str) -> Variant:
    module_name, _, variant = name.partition(":")
    module = import_user_module(module_name)
    if module is None:
        raise UserError(
            f"The data set {name!r} names a module that does not exist, {module_name!r}. Put "
            f"{module_name}.py in the current folder ({os.getcwd()}), in a folder on PYTHONPATH or "
            "in an installed package."
        )
    variants = _variants(module)
    if not variants:
        where = getattr(module, "__file__", "built-in")
        raise UserError(
            f"The module {module_name!r} ({where}) defines no data set. Define a class in "
            "it that derives from cdis.data.generated.GeneratedBuilder, "
            "cdis.data.downloaded.DownloadedBuilder or cdis.data.builder.ImageBuilder, with "
            "BUILDER_CONFIGS and all abstract methods."
        )
    if not variant and len(variants) == 1:
        return next(iter(variants.values()))
    full = variant if variant in variants else f"{variant}/default"
    if full not in variants:
        known = [f"{module_name}:{known}" for known in variants]
        raise UserError(
            f"Unknown data set {name!r}{near_miss(name, known)}. The module {module_name!r} "
            f"defines {', '.join(known)}."
        )
    return variants[full]


def _all() -> dict[str, Variant]:
    """The variants of all data sets of cdis, by name."""
    return {name: variant for family in _MODULES for name, variant in _variants_of(family).items()}


def _variants_of(family: str) -> dict[str, Variant]:
    """The variants of the data sets whose names begin with `family`."""
    modules = (importlib.import_module(f"cdis.data.{m}") for m in _MODULES.get(family, ()))
    return {name: variant for module in modules for name, variant in _variants(module).items()}


def _variants(module: ModuleType) -> dict[str, Variant]:
    """The variants of all builders that a module defines, by name; imported builders are not."""
    from cdis.data.builder import ImageBuilder

    return {
        builder.name_of(config): (builder, config)
        for builder in vars(module).values()
        if inspect.isclass(builder)
        and issubclass(builder, ImageBuilder)
        and builder.__module__ == module.__name__
        and not inspect.isabstract(builder)
        for config in builder.BUILDER_CONFIGS
    }
