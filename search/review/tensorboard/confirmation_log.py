"""TensorBoard's log of a confirmation: the curves of its trainings, beside those of the search."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from minbert.report import Report
from search.record import TrialRecord
from search.watchers import Watcher, guarded

from .log import EVENTS, curves_of, run_name, write_events


class ConfirmationLog(Watcher):
    """Writes the curves of trainings while they run; runs ``confirmation/000 …``.

    Args:
        folder: of the search's log; a folder within it is written anew.
        trials: of the confirmation so far.
    """

    what = "the TensorBoard log"

    def __init__(self, folder: Path, trials: Sequence[TrialRecord]):
        self._folder = folder / "confirmation"
        # A new name, because an open TensorBoard never rereads a file from its beginning.
        self._name = f"{EVENTS}.{time.time_ns()}"
        shutil.rmtree(self._folder, ignore_errors=True)
        for trial in trials:
            for report in trial.reports:
                self._append(trial, report)

    @guarded
    def reported(self, trial: TrialRecord, report: Report) -> None:
        self._append(trial, report)

    def _append(self, trial: TrialRecord, report: Report) -> None:
        folder = self._folder / run_name(trial)
        folder.mkdir(parents=True, exist_ok=True)
        write_events(folder / self._name, [curves_of(trial, report)])
