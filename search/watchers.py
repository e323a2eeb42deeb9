"""Watchers are told how a search goes: the terminal, the page, TensorBoard, metrics, copies.

A search is worth more than what is shown of it, so a watcher may fail without harm.
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
    """Is told how a search goes. The methods do nothing; a watcher overrides those it needs.

    Attributes:
        what: name of the watcher in a warning.
        problem: the error in one line that turned its ``guarded`` methods off; None without one.
    """

    what: str
    problem: str | None = None

    def started(self, trial: TrialRecord) -> None:
        """A worker begins an attempt at the trial."""

    def reported(self, trial: TrialRecord, report: Report) -> None:
        """The report was recorded, with what was decided."""

    def set_aside(self, trial: TrialRecord, reason: str) -> None:
        """The trial is paused, or waits for a retry."""

    def ended(self, trial: TrialRecord) -> None:
        """The trial is over, or the driver leaves it to another run."""


def guarded(
    method: Callable[Concatenate[_Self, _Arguments], Any],
) -> Callable[Concatenate[_Self, _Arguments], None]:
    """Make a watcher's method raise nothing; the first error turns its guarded methods off."""

    @functools.wraps(method)
    def harmless(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        if self.problem is not None:
            return
        try:
            method(self, *args, **kwargs)
        # Any error: what is shown of a search must not end it.
        except Exception as error:
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())
            logging.getLogger(__name__).warning("%s stopped: %s", self.what, self.problem)

    return harmless
