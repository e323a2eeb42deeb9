"""Watchers are notified as a search runs: the terminal, the page, TensorBoard, metrics, copies.

A watcher that fails does not end the search.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from minbert.report import Report

from .record import TrialRecord

_Arguments = ParamSpec("_Arguments")
_Self = TypeVar("_Self", bound="Watcher")


class Watcher:
    """Is notified as a search runs. The methods do nothing; a watcher overrides those it needs.

    Attributes:
        what: name of the watcher in a warning.
        problem: the error, in one line, that turned off its ``guarded`` methods; None without one.
    """

    what: str
    problem: str | None = None

    def started(self, trial: TrialRecord) -> None:
        """A worker starts an attempt at the trial."""

    def reported(self, trial: TrialRecord, report: Report) -> None:
        """A report was recorded, with the decision on it."""

    def paused(self, trial: TrialRecord, reason: str) -> None:
        """An attempt ended and the trial is not over: it waits for a promotion or a retry."""

    def ended(self, trial: TrialRecord) -> None:
        """The trial is over, or the driver leaves it for a later run."""


def guarded(
    method: Callable[Concatenate[_Self, _Arguments], Any],
) -> Callable[Concatenate[_Self, _Arguments], None]:
    """Make a watcher's method never raise; its first error turns off all its guarded methods."""

    @functools.wraps(method)
    def harmless(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        if self.problem is not None:
            return
        try:
            method(self, *args, **kwargs)
        # Any error: showing a search must not end it.
        except Exception as error:
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())
            logging.getLogger(__name__).warning("%s stopped: %s", self.what, self.problem)

    return harmless
