"""The study: every trial, configuration, report and decision, in one Optuna storage.

It is the only state of a search. What the driver knows besides is read from here when it starts,
so a search goes on from the study and its checkpoints after any end. In Optuna's terms:

- a trial's configuration is a user attribute, written in the same transaction as the trial;
- ``report:0003`` is one user attribute with the report and what was decided of it. Optuna's
  intermediate value is a copy, mended on load where a kill came in between;
- ``attempt:2`` is one try at running the trial, and ``end`` says how a trial ended that did not
  end by a report;
- a trial that runs or is paused is RUNNING. When the driver leaves, both become WAITING, as are
  those that were never begun. Stopped trials are PRUNED with their last score, finished ones
  COMPLETE with the score of the checkpoint that they keep, failed ones FAIL.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.errors import InputError
from minbert.report import Report

from .addresses import SQLITE_HEAD, file_of, head_of, is_sqlite, sqlite_url
from .patience import STORAGE_ERRORS, Patience, Result, reason_of
from .record import ENDS, Attempt, Decision, Failure, State, TrialRecord
from .stored import note_end, record_of, report_key

_OPTUNA_STATES: dict[State, TrialState] = {
    "waiting": TrialState.WAITING,
    "cut short": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "paused": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_SETUP = "setup"


def open_storage(where: str) -> BaseStorage:
    """The storage at a URL of a database, or in an Optuna journal file.

    Raises:
        InputError: there is no such database, or it cannot be reached.
    """
    file = file_of(where)
    if file is not None and not is_sqlite(where):
        try:
            if file.exists() and not file.is_file():
                raise InputError(f"--storage {where}: not a file; name one for the journal")
            if file.is_file() and head_of(file) == SQLITE_HEAD:
                url = sqlite_url(file.resolve())
                raise InputError(f"--storage {where}: for an SQLite database give {url}")
            return JournalStorage(_Journal(where))
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"--storage {where}: {error.strerror}") from None
        # Of a file that is no journal, or a damaged one; there are many kinds.
        except Exception as error:
            raise InputError(f"--storage {where}: not a journal ({reason_of(error)})") from None
    options: dict[str, Any] = {}
    if is_sqlite(where):
        # A reader, such as optuna-dashboard, may hold the file for a moment.
        options = {"connect_args": {"timeout": 60}}
    elif where.startswith("postgresql"):
        # The server may have been started anew since a connection was used last, or be gone.
        options = {
            "pool_pre_ping": True,
            "connect_args": {"connect_timeout": 10, "tcp_user_timeout": 10_000},
        }
    try:
        # Optuna fills in {SCHEMA_VERSION}, so that braces of a path or a password are doubled.
        return RDBStorage(where.replace("{", "{{").replace("}", "}}"), engine_kwargs=options)
    except ImportError as error:
        raise InputError(f"--storage: {error}; install the driver of that database") from None
    # Of a wrong URL, of an unreachable or a damaged database; the drivers have many kinds.
    except Exception as error:
        raise InputError(f"--storage: the database cannot be opened ({reason_of(error)})") from None


def _close(storage: BaseStorage) -> None:
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


class NoStudyError(InputError):
    """There is no such study."""


class _Journal(JournalFileBackend):
    """Optuna's journal file, but that a line torn by a kill or a full disk is cut off first.

    The next line would be added to it otherwise, and neither could be read.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with get_lock_file(self._lock), Path(self._file_path).open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            torn = 0
            while torn < end:
                file.seek(end - torn - 1)
                if file.read(1) == b"\n":
                    break
                torn += 1
            if torn:
                file.truncate(end - torn)
        super().append_logs(logs)


class Study:
    """One study, in memory and in its storage; every change is written before it is believed.

    Attributes:
        trials: in the order of their numbers.
        setup: what the study was made with.
        patience: with a storage that is full or unreachable.
        guard: is called before each write, also one that is tried again; may raise where another
            driver is at work.
    """

    def __init__(self, storage: BaseStorage, study_id: int):
        self._storage = storage
        self._id = study_id
        self.setup: dict[str, Any] = storage.get_study_user_attrs(study_id).get(_SETUP, {})
        self._frozen: list[FrozenTrial] = storage.get_all_trials(study_id)
        self.trials = [record_of(number, frozen) for number, frozen in enumerate(self._frozen)]
        self.patience = Patience(0, lambda _: None)
        self.guard: Callable[[], None] = lambda: None
        self._reports = sum(len(trial.reports) for trial in self.trials)
        self._followers: list[Callable[[TrialRecord], None]] = []

    @classmethod
    def create(cls, storage: BaseStorage, name: str, setup: dict[str, Any]) -> "Study":
        """A new study; InputError if the storage holds one of that name."""
        try:
            study_id = storage.create_new_study([StudyDirection.MAXIMIZE], name)
        except optuna.exceptions.DuplicatedStudyError:
            raise InputError(
                f"the storage holds a study '{name}' already; give another --name, or --resume"
            ) from None
        study = cls(storage, study_id)
        study.complete(setup)
        return study

    @classmethod
    def load(cls, storage: BaseStorage, name: str) -> "Study":
        """The study of that name.

        Raises:
            InputError: the storage holds none, or it cannot be read, or holds what we never write.
        """
        try:
            return cls._load(storage, name)
        except BaseException:
            # Who asks again would leave a connection each time.
            _close(storage)
            raise

    @classmethod
    def _load(cls, storage: BaseStorage, name: str) -> "Study":
        try:
            study_id = storage.get_study_id_from_name(name)
        except KeyError:
            raise NoStudyError(f"the storage holds no study '{name}'") from None
        except STORAGE_ERRORS as error:
            raise InputError(f"the study '{name}' cannot be read: {reason_of(error)}") from None
        try:
            return cls(storage, study_id)
        except InputError:
            raise
        # Optuna takes what is in its storage for its own, and fails in many ways if it is not.
        except Exception as error:
            raise InputError(f"the study '{name}' cannot be read: {reason_of(error)}") from None

    def is_running(self, trial: TrialRecord) -> bool:
        """Optuna has the trial as RUNNING; so a killed driver's trials are, too."""
        return bool(self._frozen[trial.number].state == TrialState.RUNNING)

    def complete(self, setup: dict[str, Any]) -> None:
        """Write down what the study is made with, unless that was done before a kill came."""
        if not self.setup:
            self._storage.set_study_user_attr(self._id, _SETUP, setup)
            self.setup = setup

    def delete(self) -> None:
        """Remove the study from its storage."""
        self._storage.delete_study(self._id)

    def recorded(self) -> dict[tuple[int, int], int]:
        """For each report, by trial and step, the attempt that made it."""
        return {
            (trial.number, step): decision.attempt
            for trial in self.trials
            for step, decision in enumerate(trial.decisions, start=1)
        }

    def follow(self, update: Callable[[TrialRecord], None]) -> None:
        """Call ``update`` for each trial there is, and from now on for each that has changed.

        What is kept of the trials that way is a function of the record: it can be made anew at any
        time, and a change costs what one trial costs, however many there are.
        """
        for trial in self.trials:
            update(trial)
        self._followers.append(update)

    # What a sampler or pruner sees of a trial

    def frozen(self, trial: TrialRecord) -> FrozenTrial:
        """The trial as Optuna knows it: parameters, distributions, attributes of the sampler."""
        return self._frozen[trial.number]

    # Changes

    def add_trial(
        self,
        trial: TrialRecord,
        params: Mapping[str, Any] | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
        system_attrs: Mapping[str, Any] | None = None,
    ) -> TrialRecord:
        """Put a trial at the end of the queue, or one that failed before it began at its end.

        Args:
            trial: new, with the next number; with an ``error`` if it cannot be run.
            params: of the space, where it is one of its points.
            distributions: of the parameters.
            system_attrs: what the sampler noted.
        """
        assert trial.number == len(self.trials)
        about = {
            "name": trial.name,
            "fields": trial.fields,
            "config": trial.config.model_dump(mode="json"),
            "fixed": trial.fixed,
            "origin": trial.origin,
        }
        attrs: dict[str, Any] = {"trial": about}
        if trial.error is not None:
            trial.state = "failed"
            attrs["end"] = {"state": "failed", "reason": trial.error}
        template = create_trial(
            state=_OPTUNA_STATES[trial.state],
            params=dict(params or {}),
            distributions=dict(distributions or {}),
            user_attrs=attrs,
            system_attrs=dict(system_attrs or {}),
        )
        tries = itertools.count()
        trial_id = self._write(
            lambda: self._create(trial.number, template, is_first=next(tries) == 0)
        )
        template._trial_id, template.number = trial_id, trial.number
        self._frozen.append(template)
        self.trials.append(trial)
        self._changed(trial)
        return trial

    def start_attempt(
        self,
        trial: TrialRecord,
        why: Any,
        *,
        reason: str = "",
        rung: int | None = None,
        micro_batch: int | None = None,
    ) -> Attempt:
        """Begin an attempt at a trial; reports of earlier attempts are not accepted from now on."""
        attempt = Attempt(
            number=len(trial.attempts) + 1,
            why=why,
            reason=reason,
            rung=rung,
            micro_batch=micro_batch,
            at=time.time(),
        )
        self._note(trial, f"attempt:{attempt.number}", attempt.model_dump(mode="json"))
        trial.attempts.append(attempt)
        self._set_state(trial, "running")
        self._changed(trial)
        return attempt

    def note_failure(self, trial: TrialRecord, failure: Failure) -> None:
        """Record that the last attempt failed and another one is to come."""
        self._note(trial, f"failure:{len(trial.attempts)}", failure.model_dump(mode="json"))
        trial.failures[len(trial.attempts)] = failure
        self.suspend(trial)

    def next_order(self) -> int:
        """Number that the next report has among all of the study."""
        return self._reports

    def add_report(self, trial: TrialRecord, report: Report, decision: Decision) -> None:
        """Record the next report of a trial and what was decided, and end the trial if it ends."""
        assert report.step == len(trial.reports) + 1
        entry = {
            "report": report.model_dump(mode="json"),
            "decision": decision.model_dump(mode="json"),
        }
        self._note(trial, report_key(report.step), entry)
        trial.reports.append(report)
        trial.decisions.append(decision)
        self._reports += 1
        self._copy_score(trial, report)
        if decision.verdict == "pause":
            self._set_state(trial, "paused")
        elif decision.verdict in ENDS:
            if decision.verdict == "fail":
                trial.error = decision.reason
            self._set_state(trial, ENDS[decision.verdict])
        self._changed(trial)

    def end(self, trial: TrialRecord, state: State, reason: str) -> None:
        """End a trial otherwise than by a report: ``stopped`` or ``failed``."""
        end = {"state": state, "reason": reason, "at": time.time()}
        self._note(trial, "end", end)
        note_end(trial, end)
        self._set_state(trial, state)
        self._changed(trial)

    def suspend(self, trial: TrialRecord) -> None:
        """Leave a trial that is not over for another run to go on with: WAITING for Optuna."""
        if trial.state == "paused":
            self._tell(trial, TrialState.WAITING)
        else:
            self._set_state(trial, "cut short" if trial.attempts else "waiting")
        self._changed(trial)

    def mend(self) -> None:
        """Finish what a kill cut off between the writes that make one change.

        Also says of paused trials that they are RUNNING again, as a driver is at work.
        """
        for trial in self.trials:
            frozen = self._frozen[trial.number]
            if frozen.state.is_finished():
                continue
            for report in trial.reports:
                if report.step not in frozen.intermediate_values:
                    self._copy_score(trial, report)
            if trial.is_over or trial.state == "paused":
                self._set_state(trial, trial.state)
            self._changed(trial)

    def note(self, name: str, value: Any, *, guarded: bool = True) -> None:
        """Write down something about the study as a whole.

        Args:
            name: of it.
            value: for JSON.
            guarded: with the guard and with patience; at once and only once otherwise.
        """
        if guarded:
            self._write(lambda: self._storage.set_study_user_attr(self._id, name, value))
        else:
            self._storage.set_study_user_attr(self._id, name, value)

    def noted(self, name: str, *, guarded: bool = True) -> Any:
        """What was written down under a name; None if nothing was.

        Args:
            name: of it.
            guarded: with patience; at once and only once otherwise.
        """

        def read() -> Any:
            return self._storage.get_study_user_attrs(self._id).get(name)

        return self.patience("the study cannot be read", read) if guarded else read()

    def close(self) -> None:
        """End its connections; what was read can still be looked at."""
        _close(self._storage)

    def _changed(self, trial: TrialRecord) -> None:
        for update in self._followers:
            update(trial)

    def _trial_id(self, trial: TrialRecord) -> int:
        return self._frozen[trial.number]._trial_id

    def _note(self, trial: TrialRecord, name: str, value: Any) -> None:
        number = self._trial_id(trial)
        self._write(lambda: self._storage.set_trial_user_attr(number, name, value))

    def _copy_score(self, trial: TrialRecord, report: Report) -> None:
        number = self._trial_id(trial)
        self._write(
            lambda: self._storage.set_trial_intermediate_value(number, report.step, report.score)
        )
        self._frozen[trial.number].intermediate_values[report.step] = report.score

    def _create(self, number: int, template: FrozenTrial, *, is_first: bool) -> int:
        # A try whose answer was lost may have made it.
        there = [] if is_first else self._storage.get_all_trials(self._id, deepcopy=False)
        if len(there) > number:
            return there[number]._trial_id
        return self._storage.create_new_trial(self._id, template)

    def _write(self, action: Callable[[], Result]) -> Result:
        """Change the storage; each action can be done twice without harm."""

        def guarded() -> Result:
            self.guard()
            return action()

        return self.patience("the study cannot be written", guarded)

    def _set_state(self, trial: TrialRecord, state: State) -> None:
        values: list[float] | None = None
        if state == "finished" and trial.score is not None:
            values = [trial.score]
        elif state == "stopped" and trial.reports and math.isfinite(trial.reports[-1].score):
            values = [trial.reports[-1].score]
        self._tell(trial, _OPTUNA_STATES[state], values)
        trial.state = state

    def _tell(
        self, trial: TrialRecord, state: TrialState, values: list[float] | None = None
    ) -> None:
        frozen = self._frozen[trial.number]
        if frozen.state != state:
            self._write(lambda: self._end_or_go_on(self._trial_id(trial), state, values))
        frozen.state, frozen.values = state, values

    def _end_or_go_on(self, trial_id: int, state: TrialState, values: list[float] | None) -> None:
        try:
            self._storage.set_trial_state_values(trial_id, state, values)
        except optuna.exceptions.UpdateFinishedTrialError:
            # By a try whose answer was lost.
            if self._storage.get_trial(trial_id).state != state:
                raise
