"""The exceptions a person is meant to read."""


class InputError(Exception):
    """Something given to the program is wrong: what, where, and what to do, in one line.

    Commands print it after ``error:`` and exit with status 2, without a traceback.
    """


class DamagedError(InputError):
    """A file of our own is torn, or is not what was written."""
