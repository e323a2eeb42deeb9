"""Reads a run for reviews, finished or still running."""

import argparse
import contextlib
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from minbert.config import InputSettings, TaskWeights
from minbert.errors import InputError, reason_of
from minbert.settings import path_option
from minbert.weights import Weights
from search.analysis.noise import Noise, noise_of
from search.confirmation.conclusion import Conclusion
from search.confirmation.ledger import Ledger
from search.record import OVER, SearchRecord, TrialRecord
from search.storage.addresses import storage_option
from search.storage.checkpoints import CheckpointStore
from search.storage.folder import RunFolder
from search.storage.predictions import DevPredictions
from search.storage.provenance import DriverRun, resume_command, runs_of
from search.storage.study import NoStudyError, Study

_OUT_OF_TIME, _INTERRUPTED = "the time was up", "it was interrupted"

# Settings of the study that are only shown.
_Plain = str | bool | int | float | None
_Shown = _Plain | list[_Plain]


class _Encoder(BaseModel):
    name: str
    layers: int


class _Setup(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, _Shown | dict[str, _Shown]]
    space: str
    space_file: str = Field(alias="file of the space")
    recipe: str
    inputs: InputSettings
    data_files: dict[str, str] = Field(alias="data files")
    encoder: _Encoder


class _Noted(BaseModel):
    """The notes in a study about the study as a whole."""

    setup: _Setup
    planned: Annotated[int, Field(ge=0, lt=2**31)] | None
    dropped: list[tuple[int, int]]
    ended_because: str | None


@dataclass(frozen=True)
class Confirmed:
    """A finished confirmation: what it showed, and the trainings that showed it."""

    conclusion: Conclusion
    trainings: list[TrialRecord]
    driver_runs: list[DriverRun]


@dataclass(frozen=True)
class Run:
    """A run's record and the files beside it.

    Attributes:
        setup: everything that the numbers depend on, by name.
        dropped: trial and step of the models removed from the Pareto front because it was full.
        ended_because: why the run ended before all trials ran; None if it did not.
        is_running: a driver works on the run.
        confirmed: the run's confirmation; None without a finished one.
    """

    folder: RunFolder
    record: SearchRecord
    setup: dict[str, Any]
    driver_runs: list[DriverRun]
    dropped: list[tuple[int, int]]
    store: CheckpointStore
    predictions: DevPredictions
    ended_because: str | None
    is_running: bool
    confirmed: Confirmed | None

    @property
    def confirmation(self) -> Conclusion | None:
        """What the confirmation showed; None without a finished one."""
        return None if self.confirmed is None else self.confirmed.conclusion

    @property
    def inputs(self) -> InputSettings:
        return InputSettings.check(self.setup["inputs"])

    @property
    def objective(self) -> Weights:
        return self.record.trials[0].config.objective

    @property
    def left_because(self) -> str | None:
        """Why some trials are not over; None while the search runs, and if all are over."""
        if self.is_running or not self.record.left:
            return None
        if self.ended_because is not None:
            return self.ended_because
        out_of_time = self.driver_runs and self.driver_runs[-1].out_of_time
        return _OUT_OF_TIME if out_of_time else _INTERRUPTED

    @property
    def was_interrupted(self) -> bool:
        """Whether the run was stopped or killed from outside."""
        return self.left_because == _INTERRUPTED

    @property
    def standing(self) -> str:
        """Whether the run is done, in a sentence."""
        record, why = self.record, self.left_because
        if self.is_running:
            over = record.count(*OVER)
            return f"The search is running: {over} of {record.planned} trials are over."
        if why is None:
            return "The search is done."
        if self.ended_because is not None:
            return f"The search ended early: {why}."
        return (
            f"The search is not done: {why}, and {record.left} of {record.planned} trials are not "
            "over."
        )

    @property
    def resume_command(self) -> str | None:
        """The command that resumes the run; None if it ended by itself or is running."""
        if self.left_because is None or self.ended_because is not None or not self.driver_runs:
            return None
        return resume_command(self.driver_runs[-1], self.folder.name)

    @property
    def in_words(self) -> str:
        """Whether the run is done, and if not, how to resume it; one line."""
        command = self.resume_command
        if command is None:
            return self.standing
        password = ", with the password for ***" if "***" in command else ""
        return f"{self.standing} To resume{password}: {command}"

    @cached_property
    def noise(self) -> Noise | None:
        """How much of the winner's lead may be chance; None if that cannot be estimated."""
        return noise_of(self.record, self.predictions)

    def is_kept(self, number: int, step: int) -> bool:
        """Whether the model of a report is kept."""
        return self.store.model(number, step) is not None


def read_run(
    folder: RunFolder, study: Study | None = None, *, is_running: bool | None = None
) -> Run:
    """Read a run.

    Args:
        study: of the run, if it is loaded already.
        is_running: whether a driver works on the run; detected if not given.

    Raises:
        InputError: the folder has no run, or nothing was recorded yet.
    """
    study = study or folder.load_study()
    if folder.problem is not None:
        print(f"note: {folder.problem}", file=sys.stderr)
    if not study.trials:
        raise InputError(f"{folder}: no trial is recorded yet; look again later")
    noted, driver_runs = _noted(folder, study)
    record = SearchRecord(noted.planned or len(study.trials), study.trials)
    is_running = folder.is_held(study) if is_running is None else is_running
    if is_running:
        for trial in study.trials:
            if trial.state == "interrupted" and study.is_running(trial):
                trial.state = "running"
    store = folder.checkpoint_store()
    store.scan(study.recorded(), sweep=False)
    run = Run(
        folder=folder,
        record=record,
        setup=study.setup,
        driver_runs=driver_runs,
        dropped=noted.dropped,
        store=store,
        predictions=folder.predictions,
        ended_because=noted.ended_because,
        is_running=is_running,
        confirmed=_confirmed(folder),
    )
    for trial in study.trials:
        if trial.state == "interrupted" and trial.failure is None:
            trial.ended = run.left_because
    return run


def _confirmed(folder: RunFolder) -> Confirmed | None:
    """The run's confirmation, as its study and ledger say; None without a verdict.

    Raises:
        InputError: the study is damaged, or the ledger was changed after it was written.
    """
    try:
        study = folder.load_confirmation()
    except NoStudyError:
        return None
    with contextlib.closing(study):
        noted = Ledger(study).content("verdict")
        if noted is None:
            return None
        try:
            conclusion = Conclusion.model_validate(noted)
            return Confirmed(conclusion, study.trials, runs_of(study))
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{folder}: the record of the confirmation is damaged") from None


def _noted(folder: RunFolder, study: Study) -> tuple[_Noted, list[DriverRun]]:
    """The notes in a study; InputError if they are malformed."""
    try:
        noted = _Noted(
            setup=study.setup,
            planned=study.noted("planned"),
            dropped=study.noted("dropped_from_pareto_front") or [],
            ended_because=study.noted("ended_because"),
        )
        driver_runs = runs_of(study)
        scored = {frozenset(report.scores) for trial in study.trials for report in trial.reports}
        if scored - {frozenset(noted.setup.inputs.tasks)}:
            raise ValueError("a report scores other tasks than the study has")
        labels = folder.predictions.labels()
        if labels is not None and set(labels) != set(noted.setup.inputs.tasks):
            raise ValueError("there are labels of other tasks than the study has")
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([*map(str, first["loc"]), first["msg"]])
    except (ValueError, TypeError, KeyError) as error:
        what = reason_of(error)
    else:
        return noted, driver_runs
    raise InputError(f"the record of {folder} is damaged: {what}")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a run and its study's storage."""
    parser.add_argument(
        "run", type=path_option, metavar="RUN", help="folder of a run: runs/NAME, or s3://…"
    )
    parser.add_argument(
        "--storage", type=storage_option, help="database or journal file of the study"
    )


def parse_weights(text: str, run: Run) -> Weights:
    """Three score weights from a command line.

    Raises:
        InputError: the text is not three weights, or the tasks of the run have no weight.
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
    """The trial with the number that an option gave; InputError if there is none."""
    trials = run.record.trials
    if not 0 <= number < len(trials):
        raise InputError(f"{option} {number}: there are trials 0 to {len(trials) - 1}")
    return trials[number]
