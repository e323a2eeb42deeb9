"""The page, rewritten regularly while a search runs."""

import contextlib
import threading
import time
from typing import Self

from minbert.errors import InputError
from minbert.report import Report
from search.record import TrialRecord
from search.storage.folder import RunFolder
from search.storage.patience import STORAGE_ERRORS
from search.watchers import Watcher, guarded

# The first page comes soon; writing later ones takes at most a twentieth of the time.
_SECONDS_TO_FIRST = 10.0
_SECONDS_BETWEEN = 60.0
_SHARE = 20


class LivePage(Watcher):
    """Writes the page of a run in a thread, from the study in its storage."""

    what = "the page that is written while the search runs"

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._changed, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="report.html", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def reported(self, trial: TrialRecord, report: Report) -> None:  # noqa: ARG002
        self._changed.set()

    def ended(self, trial: TrialRecord) -> None:  # noqa: ARG002
        self._changed.set()

    def _work(self) -> None:
        pause = _SECONDS_TO_FIRST
        while not self._over.wait(pause):
            if not self._changed.is_set():
                continue
            self._changed.clear()
            begin = time.monotonic()
            self._write()
            pause = max(_SECONDS_BETWEEN, _SHARE * (time.monotonic() - begin))

    @guarded
    def _write(self) -> None:
        # Plotly is slow to import, which must not delay the search.
        from search.review.reading import read_run

        from .report import write_page

        # The search itself reports storage that does not answer.
        with contextlib.suppress(InputError, *STORAGE_ERRORS):
            study = self._folder.load_study()
            try:
                write_page(read_run(self._folder, study, is_running=True))
                self._folder.publish()
            finally:
                study.close()
