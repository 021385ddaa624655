"""Methods: each file is one model, to be read beside its paper.

`config.method` names the module of a method, which `module` imports. It defines

    make(config, info) -> Method     see `cdis.methods.base`
    defaults() -> ConfigDict         (optional) a complete config, with a comment on every field
    SMOKE                            (optional) {dotted field: value}, settings for a tiny run
"""

import importlib
import os
import sys
from types import ModuleType

from cdis.errors import UserError


def module(name: str) -> ModuleType:
    """The module of a method: one of cdis, of an installed package, or of the current folder.

    Raises `UserError` if there is none, or if it has no function `make`.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last: a file here never hides an installed package
    try:
        found = importlib.import_module(name)
    except (ModuleNotFoundError, ValueError) as error:
        missing = getattr(error, "name", None) or name
        if not (name + ".").startswith(missing + "."):
            raise  # the method is there; something that it imports is not
        raise UserError(
            f"config.method names a module that does not exist, {name!r}. Name one of cdis, such "
            f'as "cdis.methods.ct_vae", or one of your own: NAME.py in the current folder '
            f"({here}), in a folder on PYTHONPATH or in an installed package."
        ) from error
    if not hasattr(found, "make"):
        raise UserError(
            f"config.method names {name!r} ({found.__file__}), which has no function "
            "make(config, info) and so is not a method. See cdis/methods/base.py."
        )
    return found
