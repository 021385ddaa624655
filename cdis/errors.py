"""The one exception that is the user's to mend."""


class UserError(Exception):
    """Bad input: the message says what was wrong, what was expected and what to do.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """
