"""Watchers that may fail without harm: a search is worth more than what is shown of it."""

import functools
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Self = TypeVar("_Self", bound="Guarded")


class Guarded:
    """Has methods that the first error of any of them turns off.

    Attributes:
        what: it is, for a person.
        problem: that error in one line; None while there was none.
    """

    what: str
    problem: str | None = None


def guarded(
    method: Callable[Concatenate[_Self, _Arguments], Any],
) -> Callable[Concatenate[_Self, _Arguments], None]:
    """A method of a Guarded class that raises nothing, and does nothing after an error."""

    @functools.wraps(method)
    def harmless(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        if self.problem is not None:
            return
        try:
            method(self, *args, **kwargs)
        # Whatever it is, a search is not to end for what is shown of it.
        except Exception as error:
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())
            logging.getLogger(__name__).warning("%s stopped: %s", self.what, self.problem)

    return harmless
