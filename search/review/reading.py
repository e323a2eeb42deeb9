"""A run as reviews read it, whether or not it is still going on."""

import argparse
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from minbert.config import InputSettings, TaskWeights
from minbert.errors import InputError
from minbert.weights import Weights
from search.answers import DevAnswers
from search.checkpoints import CheckpointStore
from search.folder import RunFolder
from search.noise import Noise, noise_of
from search.provenance import DriverRun, runs_of
from search.record import SearchRecord, TrialRecord
from search.study import Study


@dataclass(frozen=True)
class Run:
    """A run's record and what lies beside it.

    Attributes:
        setup: what its numbers depend on, by name.
        dropped: trial and step of the models that were on the front when its limit was met.
        ended_because: why it ended though there was more to run; None where it did not.
        is_running: a driver is at work on it.
    """

    folder: RunFolder
    record: SearchRecord
    setup: dict[str, Any]
    driver_runs: list[DriverRun]
    dropped: list[tuple[int, int]]
    store: CheckpointStore
    answers: DevAnswers
    ended_because: str | None
    is_running: bool

    @property
    def inputs(self) -> InputSettings:
        return InputSettings.check(self.setup["inputs"])

    @property
    def objective(self) -> Weights:
        return self.record.trials[0].config.objective

    @cached_property
    def noise(self) -> Noise | None:
        """What chance does to the winner's lead, where it can be reckoned."""
        return noise_of(self.record, self.answers)

    def is_kept(self, number: int, step: int) -> bool:
        """Whether the model of a report is kept."""
        return self.store.model(number, step) is not None


def read_run(
    folder: RunFolder, study: Study | None = None, *, is_running: bool | None = None
) -> Run:
    """Read a run.

    Args:
        folder: of the run.
        study: of the run, where it is loaded already.
        is_running: a driver is at work on it; found out where it is not given.

    Raises:
        InputError: there is no run in the folder, or nothing was recorded yet.
    """
    study = study or folder.load_study()
    if not study.trials:
        raise InputError(f"{folder}: no trial is recorded yet; look again later")
    record = SearchRecord(study.noted("planned") or len(study.trials), study.trials)
    is_running = folder.is_held(study) if is_running is None else is_running
    if is_running:
        for trial in study.trials:
            if trial.state == "cut short" and study.is_running(trial):
                trial.state = "running"
    store = folder.store()
    store.scan(study.recorded(), sweep=False)
    return Run(
        folder=folder,
        record=record,
        setup=study.setup,
        driver_runs=runs_of(study),
        dropped=[(trial, step) for trial, step in study.noted("dropped_from_front") or []],
        store=store,
        answers=folder.answers,
        ended_because=study.noted("ended_because"),
        is_running=is_running,
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Which run, and where its study is."""
    parser.add_argument("run", metavar="RUN", help="folder of a run: runs/NAME, or s3://…")
    parser.add_argument("--storage", help="where the study is, if it needs a password to be opened")


def parse_weights(text: str, run: Run) -> Weights:
    """Three weights from a command line.

    Raises:
        InputError: they are none, or give none to the tasks that the run scored.
    """
    try:
        weights: Weights = TypeAdapter(Annotated[TaskWeights, None]).validate_python(text)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"--weights {text}: {message}") from None
    tasks = run.inputs.tasks
    if sum(map(weights.of, tasks)) == 0:
        raise InputError(f"--weights {weights} give no weight to any of: {', '.join(tasks)}")
    return weights


def trial_of(run: Run, number: int, option: str) -> TrialRecord:
    """The trial of a number that an option gave; InputError where there is none."""
    trials = run.record.trials
    if not 0 <= number < len(trials):
        raise InputError(f"{option} {number}: there are trials 0 to {len(trials) - 1}")
    return trials[number]
