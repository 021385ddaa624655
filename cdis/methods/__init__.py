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
