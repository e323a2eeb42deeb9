"""Searches that faults are inflicted on, and what must be true of their record afterwards."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import InMemoryStorage

from minbert.config import InputSettings
from minbert.errors import InputError
from minbert.settings import add_options, given, make_parser
from search.driver import Driver, Job
from search.inputs import load_inputs
from search.plan import make_plan
from search.propose.spaces import load_space
from search.settings import StudySettings
from search.storage.checkpoints import CheckpointStore, load_checkpoint, save_checkpoint
from search.storage.directory import LocalDirectory
from search.storage.folder import RunFolder
from search.storage.predictions import DevPredictions, pack_predictions
from search.storage.study import Study
from search.trainer import MinbertTrainer
from testkit.waiting import PATIENCE, wait_for

from ..gate import Gate, Slots
from .nodes import ROOT

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
        gate: Gate | None,
        slots: Slots,
    ):
        self.where, self.storage = str(where), storage
        out, _, name = self.where.rpartition("/")
        options = [*options, "--out", out, "--name", name]
        if storage is not None:
            options += ["--storage", storage]
        command = [sys.executable, "-u", "-m", "search.run", *options]
        if gate is not None:
            command = gate.command(*options, slots=slots)
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

    def wait_for_words(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed something; fails where it ended without that."""

        def printed() -> re.Match[str] | None:
            over = self.process.poll() is not None
            if over:
                self._reader.join()
            found = re.search(pattern, self.said)
            assert found or not over, self.said
            return found

        found = wait_for(printed, lambda: f"{pattern}; it said: {self.said}")
        assert found is not None
        return found

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.where, self.storage)

    def study(self) -> Study | None:
        """As it stands; None where there is none yet."""
        try:
            return read(self.folder)
        except InputError:
            return None

    def over(self) -> set[int]:
        """Trials that are over."""
        study = self.study()
        return {trial.number for trial in study.trials if trial.is_over} if study else set()

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
        wait_for(
            lambda: self.reports(number) >= count,
            lambda: f"report {count} of trial {number}; the search said: {self.said}",
        )

    def wait_for_failures(self, number: int, what: str, count: int = 1) -> None:
        """Wait until this became of so many attempts at a trial."""
        wait_for(
            lambda: self.failures(number).count(what) == count,
            lambda: f"{what} of trial {number}; there are {self.failures(number)}",
        )

    def end(self) -> tuple[int, str]:
        """Wait for its end; its status and what it printed."""
        self.process.wait(timeout=PATIENCE)
        self._reader.join()
        return self.process.returncode, self.said

    def kill(self) -> None:
        """Kill the driver, as by ``kill -9``."""
        self.process.send_signal(signal.SIGKILL)
        self.end()


@contextmanager
def search(
    where: str | Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    storage: str | None = None,
    folder: Path = ROOT,
    gate: Gate | None = None,
    slots: Slots = 0,
) -> Iterator[Search]:
    """A search for the length of a test, started in a folder; perhaps with a gate."""
    begun = Search(where, list(options), environment or os.environ, storage, folder, gate, slots)
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
    return rows_of(read(folder))


def rows_of(study: Study) -> list[Row]:
    return [
        (
            *(trial.number, trial.name, trial.state, trial.error, report.step),
            *(report.scores, report.losses, report.kept, decision.verdict),
        )
        for trial in study.trials
        for report, decision in zip(trial.reports, trial.decisions, strict=True)
    ]


def without_faults(options: Sequence[str], folder: Path) -> Driver:
    """Such a search as its twin of one process goes through it: on one slot, without Ray.

    Args:
        options: of ``python -m search.run``; those of Ray and of where things lie are not used.
        folder: for its checkpoints and predictions.
    """
    parser = make_parser("", "")
    add_options(parser, StudySettings, InputSettings)
    arguments = parser.parse_args(list(options))
    settings = StudySettings.check(given(arguments, StudySettings))
    inputs = InputSettings.check(given(arguments, InputSettings))
    loaded = load_inputs(inputs)
    plan = make_plan(settings, inputs, load_space(settings.space))
    checkpoints = LocalDirectory(folder / "checkpoints")
    predictions = DevPredictions(LocalDirectory(folder / "predictions"))
    study = Study.create(InMemoryStorage(), "twin", {})
    driver = Driver(study, plan, settings, CheckpointStore(checkpoints), predictions).open()
    while isinstance(job := driver.next_job(busy=False), Job):
        number, attempt = job.trial.number, job.attempt.number
        driver.started(number)
        trainer = MinbertTrainer.make(job.trial.config, loaded, micro_batch=None, scratch=folder)
        if job.state is not None:
            trainer.load_state_dict(load_checkpoint(job.state))
        continues = True
        while continues:
            report = trainer.next_report()
            save_checkpoint(
                checkpoints,
                (number, report.step),
                attempt,
                trainer.state_dict(),
                with_state=not trainer.finished,
            )
            continues = driver.reported(
                number, attempt, report, pack_predictions(trainer.predictions)
            )
    driver.leave()
    return driver


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
