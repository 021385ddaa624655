"""The one exception for mistakes that the user can fix, and what its messages have in common."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: the message says what was wrong, what was expected and what to do.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


def near_miss(name: str, names: Iterable[str]) -> str:
    """A clause for a message about an unknown name: the nearest known one, if any is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
