"""Searches that faults are inflicted on, and what must be true of their record afterwards."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minbert.errors import InputError
from search.folder import RunFolder
from search.study import Study

from .nodes import ROOT, wait_for

Row = tuple[Any, ...]


class Search:
    """``python -m search.run`` as a process.

    Attributes:
        folder: of the run.
        process: the driver.
    """

    def __init__(
        self,
        where: str | Path,
        options: list[str],
        environment: Mapping[str, str],
        storage: str | None,
        folder: Path,
    ):
        self.where, self.storage = str(where), storage
        out, _, name = self.where.rpartition("/")
        command = [sys.executable, "-u", "-m", "search.run", *options, "--out", out, "--name", name]
        if storage is not None:
            command += ["--storage", storage]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={"OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        # Read all the time, as a full pipe would stop the search.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines += self.process.stdout

    @property
    def said(self) -> str:
        """What it printed so far."""
        return "".join(self._lines)

    def wait_for_words(self, pattern: str) -> None:
        """Wait until it has printed something."""
        wait_for(lambda: re.search(pattern, self.said))

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.where, self.storage)

    def study(self) -> Study | None:
        """As it stands; None where there is none yet."""
        try:
            return read(self.folder)
        except InputError:
            return None

    def trials_on(self, node: str) -> list[int]:
        """Trials that run and whose last report came from a node."""
        study = self.study()
        return [
            trial.number
            for trial in (study.trials if study else [])
            if not trial.is_over
            and trial.decisions
            and f"({node})" in trial.decisions[-1].machine
            and trial.decisions[-1].attempt == len(trial.attempts)
        ]

    def reports(self, number: int) -> int:
        """Reports of a trial so far."""
        study = self.study()
        return len(study.trials[number].reports) if study and len(study.trials) > number else 0

    def failures(self, number: int) -> list[str]:
        """What became of the attempts at a trial that failed so far."""
        study = self.study()
        found = study.trials[number].failures.values() if study else ()
        return [failure.next for failure in found]

    def wait_for_reports(self, number: int, count: int) -> None:
        wait_for(lambda: self.reports(number) >= count)

    def end(self, seconds: float = 240.0) -> tuple[int, str]:
        """Wait for its end; its status and what it printed."""
        self.process.wait(timeout=seconds)
        self._reader.join()
        return self.process.returncode, self.said

    def kill(self) -> None:
        """Kill the driver, as by ``kill -9``."""
        self.process.send_signal(signal.SIGKILL)
        self.end(30)


@contextmanager
def search(
    where: str | Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    storage: str | None = None,
    folder: Path = ROOT,
) -> Iterator[Search]:
    """A search for the length of a test, started in a folder."""
    begun = Search(where, list(options), environment or os.environ, storage, folder)
    try:
        yield begun
    finally:
        begun.process.kill()
        begun.process.wait()
        # Shown where a test fails.
        print(begun.said)


def read(folder: RunFolder) -> Study:
    """The study of a run, with no connection left open, as tests look often."""
    study = folder.load_study()
    study.close()
    return study


def rows(folder: RunFolder) -> list[Row]:
    """All of the record that depends neither on the clock nor on where and how often trials ran."""
    return [
        (
            *(trial.number, trial.name, trial.state, trial.error, report.step),
            *(report.scores, report.losses, report.kept, decision.verdict),
        )
        for trial in read(folder).trials
        for report, decision in zip(trial.reports, trial.decisions, strict=True)
    ]


def numbers(folder: RunFolder) -> list[int]:
    """The numbers of all reports, which say whether one is lost or repeated."""
    return sorted(d.order for trial in read(folder).trials for d in trial.decisions)


def whys(folder: RunFolder) -> dict[int, list[str]]:
    """Why each attempt of each trial was made."""
    return {
        trial.number: [attempt.why for attempt in trial.attempts] for trial in read(folder).trials
    }


def tell(fault: str, what: str, folder: RunFolder, expected: list[Row]) -> None:
    """Print a line of the table of faults: ``pytest -rP`` shows it.

    Args:
        fault: that was injected.
        what: happened, with what was measured.
        folder: of the run, afterwards.
        expected: that of the twin without a fault.
    """
    orders = numbers(folder)
    lost = len({(row[0], row[4]) for row in expected} - {(row[0], row[4]) for row in rows(folder)})
    repeated = len(orders) - len(set(orders))
    assert (lost, repeated) == (0, 0)
    print(f"FAULT | {fault} | {what} | lost {lost} | repeated {repeated}")
