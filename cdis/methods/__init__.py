"""Methods: each file is one model, to be read beside its paper.

`config.method` names the module of a method, which `module` imports. It defines

    make(config, info) -> Method     see `cdis.methods.base`
    defaults() -> ConfigDict         (optional) a complete config, with a comment on every field
    fit(config, info) -> ConfigDict  (optional) the config with settings that fit the data in fields
                                     that leave them open; `make` accepts either
    SMOKE                            (optional) {dotted field: value}, settings for a tiny run
"""

import os
from types import ModuleType

from ml_collections import ConfigDict

from cdis.data.info import Info
from cdis.errors import UserError
from cdis.imports import import_user_module
from cdis.methods.base import Method


def module(name: str) -> ModuleType:
    """The module of a method: one of cdis, of an installed package, or of the current folder.

    Raises `UserError` if there is none, or if it has no function `make`.
    """
    found = import_user_module(name)
    if found is None:
        raise UserError(
            f"config.method names a module that does not exist, {name!r}. Name one of cdis, such "
            f'as "cdis.methods.ct_vae", or one of your own: NAME.py in the current folder '
            f"({os.getcwd()}), in a folder on PYTHONPATH or in an installed package."
        )
    if not hasattr(found, "make"):
        raise UserError(
            f"config.method names {name!r} ({found.__file__}), which has no function "
            "make(config, info) and so is not a method. See cdis/methods/base.py."
        )
    return found


def fitted(config: ConfigDict, info: Info) -> ConfigDict:
    """The config with what it leaves open filled in to fit the data (`fit`)."""
    fit = getattr(module(config.method), "fit", None)
    return config if fit is None else fit(config, info)


def make(config: ConfigDict, info: Info) -> Method:
    """The method that ``config.method`` names, for the images and factors of `info`.

    Raises `UserError` if the module is missing, or if the config lacks fields of the method's
    `defaults`, as the config of an older version may.
    """
    found = module(config.method)
    if hasattr(found, "defaults"):
        missing = _missing(found.defaults().model, config.model, "config.model")
        if missing:
            raise UserError(
                f"The config has no {', '.join(missing)}, which {config.method} needs. Add what is "
                "missing; or, if another version of cdis wrote this config, use that version, or "
                "train again into another --workdir."
            )
    return found.make(config, info)


def _missing(wanted: ConfigDict, given: ConfigDict, name: str) -> list[str]:
    """The fields of `wanted` that `given` lacks, by their dotted names."""
    found = []
    for key, value in wanted.items():
        if key not in given:
            found.append(f"{name}.{key}")
        elif isinstance(value, ConfigDict) and isinstance(given[key], ConfigDict):
            found += _missing(value, given[key], f"{name}.{key}")
    return found
