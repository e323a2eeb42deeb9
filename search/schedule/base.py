"""The scheduler protocol, and the scheduler that trains every trial to its end."""

from typing import NamedTuple, Protocol

from minbert.report import Report
from search.record import TrialRecord, Verdict
from search.storage.study import Study


class Promotion(NamedTuple):
    """A paused trial that may continue.

    Attributes:
        step: report number of the rung that the trial is promoted from.
        reason: in words, such as ``rung 1: 1st of 3, the top 1 continues``.
    """

    trial: TrialRecord
    step: int
    reason: str


class Scheduler(Protocol):
    """Decides which trials continue.

    Every decision is a function of the study's record: an object made from the record decides as
    one that followed the search from its beginning. The driver does not ask about fixed trials,
    which run to their end, about reports without a finite score, or about a trial's last report.
    """

    def pause_steps(self, trial: TrialRecord) -> tuple[int, ...]:
        """Report numbers after which the trial may pause; its state is saved there."""

    def verdict(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:
        """What to do after a report that is not recorded yet, and the reason in words.

        Returns:
            ``continue``, ``promote``, ``pause`` or ``stop``; the reason is empty if the scheduler
            decides nothing at this step.
        """

    def promotable(self) -> Promotion | None:
        """The paused trial to continue next; None if there is none."""

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:
        """Trials paused at a step that can never be promoted, each with the reason in words."""


class RunAll:
    """Trains every trial to its end."""

    def __init__(self, study: Study, most_reports: int, planned: int):
        pass

    def pause_steps(self, trial: TrialRecord) -> tuple[int, ...]:  # noqa: ARG002
        return ()

    def verdict(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:  # noqa: ARG002
        return "continue", ""

    def promotable(self) -> Promotion | None:
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:  # noqa: ARG002
        return []
