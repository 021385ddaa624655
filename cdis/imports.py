"""Import of modules that the user names: installed ones, and those in the current folder."""

import importlib
import os
import sys
from types import ModuleType


def import_user_module(name: str) -> ModuleType | None:
    """The module called `name`, or None if it does not exist.

    The current folder is appended to `sys.path`, after everything else, so that a file there never
    hides an installed package. Errors raised by the module's own code, missing imports included,
    are passed on.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        # TypeError and ValueError: `name` is relative or empty, and so has no module behind it.
        malformed = not name or name.startswith(".")
        missing = name if malformed else getattr(error, "name", None)
        if missing is None or not f"{name}.".startswith(f"{missing}."):
            raise
        return None
