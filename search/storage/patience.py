"""Storage that is full or unreachable: retry for a while, then end cleanly."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import optuna
import sqlalchemy.exc

from minbert.errors import InputError, reason_of

Result = TypeVar("Result")

# What full, unreachable or faulty storage raises.
STORAGE_ERRORS = (OSError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)

# Errors that waiting does not cure.
_PERMANENT = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_SECONDS_BETWEEN_TRIES = 1.0


class StorageLostError(Exception):
    """Storage was full or unreachable for longer than ``--storage-patience``."""


class Patience:
    """Retries what storage refuses, for a while.

    Args:
        seconds: how long to retry; 0 tries once.
        tell: is called with a line when waiting begins, and with one when it is over.
    """

    def __init__(self, seconds: float, tell: Callable[[str], None]):
        self.seconds, self._tell = seconds, tell

    def __call__(self, what: str, action: Callable[[], Result]) -> Result:
        """Run an action on storage, with retries.

        Args:
            what: says what fails, such as "the study cannot be written".
            action: can be repeated without harm.

        Raises:
            StorageLostError: the action failed for the whole time, or with an error that lasts.
        """
        begin = time.monotonic()
        announced = False
        while True:
            try:
                result = action()
            except STORAGE_ERRORS as error:
                if isinstance(error, FileNotFoundError):
                    raise
                why = reason_of(error)
                waited = time.monotonic() - begin
                if waited >= self.seconds or isinstance(error, _PERMANENT):
                    raise StorageLostError(f"{what}: {why}") from error
                if not announced:
                    self._tell(f"{what}: {why}; trying again for {self.seconds:g} s")
                    announced = True
                time.sleep(min(_SECONDS_BETWEEN_TRIES, self.seconds - waited))
            else:
                if announced:
                    self._tell(f"storage answers again after {time.monotonic() - begin:.0f} s")
                return result


ONCE = Patience(0, lambda _: None)


@contextmanager
def as_input_errors() -> Iterator[None]:
    """Outside of a search, turn storage errors into an InputError with one line for people."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise InputError(f"storage cannot be used: {reason_of(error)}") from None
