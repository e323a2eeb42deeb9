"""What happens when storage is full or unreachable: wait for it, and end cleanly if it stays so."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import optuna
import sqlalchemy.exc

from minbert.errors import InputError, reason_of

Result = TypeVar("Result")

# What storage raises that is full, unreachable or at fault otherwise.
STORAGE_ERRORS = (OSError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)

# What does not pass by waiting.
_PERMANENT = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_SECONDS_BETWEEN_TRIES = 1.0


class StorageLostError(Exception):
    """Storage was full or unreachable for longer than anyone wants to wait."""


class Patience:
    """Tries again what storage refuses, for a while.

    Args:
        seconds: to try for; 0 tries once.
        tell: is given a line when waiting begins, and one when it is over.
    """

    def __init__(self, seconds: float, tell: Callable[[str], None]):
        self.seconds, self._tell = seconds, tell

    def __call__(self, what: str, action: Callable[[], Result]) -> Result:
        """Do something to storage.

        Args:
            what: cannot be done, such as "the study cannot be written".
            action: does it; can be done twice without harm.

        Raises:
            StorageLostError: it failed for all of the time.
        """
        begin = time.monotonic()
        told = False
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
                if not told:
                    self._tell(f"{what}: {why}; trying again for {self.seconds:g} s")
                    told = True
                time.sleep(min(_SECONDS_BETWEEN_TRIES, self.seconds - waited))
            else:
                if told:
                    self._tell(f"storage answers again after {time.monotonic() - begin:.0f} s")
                return result


ONCE = Patience(0, lambda _: None)


@contextmanager
def told() -> Iterator[None]:
    """Turn what storage raises outside of a search into the one line that a person reads."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise InputError(f"storage cannot be used: {reason_of(error)}") from None
