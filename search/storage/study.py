"""The study: every trial, configuration, report and decision, in one Optuna storage.

It is the only state of a search. The driver reads everything else it knows from here when it
starts, so a search can continue from its study and checkpoints however it ended. In Optuna's terms:

- a trial's configuration is a user attribute, written in the same transaction as the trial;
- ``report:0003`` is one user attribute with the report and the decision on it. Optuna's
  intermediate value is a copy. Both, and the new state, are one transaction of a database. A
  journal has no transactions, so a change that a kill interrupted is completed on load;
- ``attempt:2`` is one try at running the trial. ``end`` says how a trial ended if it did not end
  with a report;
- running and paused trials are RUNNING. When the driver leaves, both become WAITING, like trials
  that never started. Stopped trials are PRUNED with their last score, finished trials are COMPLETE
  with the score of the checkpoint that they keep, failed trials are FAIL.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from minbert.errors import InputError, reason_of
from minbert.report import Report
from search.record import ENDS, Attempt, Decision, Failure, State, TrialRecord

from .optuna_storage import close_storage, together
from .patience import ONCE, STORAGE_ERRORS, Patience, Result
from .stored import (
    FORMAT,
    OPTUNA_STATES,
    SETUP,
    attempt_key,
    check_format,
    frozen_of,
    next_attempt,
    note_end,
    record_of,
    report_key,
)


class NoStudyError(InputError):
    """The study does not exist."""


class Study:
    """One study, in memory and in its storage. A change is written before it shows in memory.

    Attributes:
        trials: in the order of their numbers.
        setup: what the study was created with.
        patience: retries a storage that is full or unreachable.
        guard: is called before each write and each retry; it may raise if another driver works on
            the study.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study_id: int,
        patience: Patience = ONCE,
        guard: Callable[[], None] = lambda: None,
    ):
        self._storage = storage
        self._id = study_id
        noted = storage.get_study_user_attrs(study_id)
        self.setup: dict[str, Any] = noted.get(SETUP, {})
        check_format(noted)
        self._frozen: list[FrozenTrial] = storage.get_all_trials(study_id)
        self.trials = [record_of(number, frozen) for number, frozen in enumerate(self._frozen)]
        self.patience, self.guard = patience, guard
        self._reports = sum(len(trial.reports) for trial in self.trials)
        self._followers: list[Callable[[TrialRecord], None]] = []

    @classmethod
    def create(cls, storage: BaseStorage, name: str, setup: dict[str, Any]) -> "Study":
        """Create a study; InputError if the storage has one of that name."""
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
    def load(cls, storage: BaseStorage, name: str, **driver: Any) -> "Study":
        """The study of that name.

        Args:
            storage: to read it from.
            name: of the study.
            driver: ``patience`` and ``guard`` of the driver that will write to it.

        Raises:
            NoStudyError: the storage has no study of that name.
            InputError: the study cannot be read, or contains what we never write.
        """
        try:
            return cls._load(storage, name, **driver)
        except BaseException:
            # Otherwise each retry would leave a connection open.
            close_storage(storage)
            raise

    @classmethod
    def _load(cls, storage: BaseStorage, name: str, **driver: Any) -> "Study":
        try:
            study_id = storage.get_study_id_from_name(name)
        except KeyError:
            raise NoStudyError(f"the storage holds no study '{name}'") from None
        except STORAGE_ERRORS as error:
            raise InputError(f"the study '{name}' cannot be read: {reason_of(error)}") from None
        try:
            return cls(storage, study_id, **driver)
        except InputError:
            raise
        # Optuna trusts the content of its storage, and fails in many ways if it is malformed.
        except Exception as error:
            raise InputError(f"the study '{name}' cannot be read: {reason_of(error)}") from None

    def is_running(self, trial: TrialRecord) -> bool:
        """Whether the trial is RUNNING for Optuna; trials of a killed driver are, too."""
        return bool(self._frozen[trial.number].state == TrialState.RUNNING)

    def complete(self, setup: dict[str, Any]) -> None:
        """Write the setup, unless the study has one; a kill may have come before it was written."""
        if not self.setup:
            self.setup = {"format": FORMAT, **setup}
            self._storage.set_study_user_attr(self._id, SETUP, self.setup)

    def delete(self) -> None:
        """Remove the study from its storage."""
        self._storage.delete_study(self._id)

    def recorded(self) -> dict[tuple[int, int], int]:
        """The attempt that made each report, by trial and step."""
        return {
            (trial.number, step): decision.attempt
            for trial in self.trials
            for step, decision in enumerate(trial.decisions, start=1)
        }

    def follow(self, update: Callable[[TrialRecord], None]) -> None:
        """Call ``update`` for each trial now, and again for each trial that changes.

        State that is kept this way is a function of the record, so it can be rebuilt at any time,
        and a change costs the same however many trials there are.
        """
        for trial in self.trials:
            update(trial)
        self._followers.append(update)

    # What samplers and pruners see of a trial

    def frozen(self, trial: TrialRecord) -> FrozenTrial:
        """The trial in Optuna's form: parameters, distributions, attributes of the sampler."""
        return self._frozen[trial.number]

    # Changes

    def add_trial(
        self,
        trial: TrialRecord,
        params: Mapping[str, Any] | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
        system_attrs: Mapping[str, Any] | None = None,
        *,
        begins: bool = False,
    ) -> TrialRecord:
        """Add a trial at the end of the queue, or as failed if it has an ``error``.

        Args:
            trial: new, with the next number; with an ``error`` if it cannot be run.
            params: of the space, if the trial is one of its points.
            system_attrs: what the sampler noted.
            begins: start its first attempt at once, and write it with the trial.
        """
        assert trial.number == len(self.trials)
        if trial.error is not None:
            trial.state = "failed"
        elif begins:
            trial.attempts.append(next_attempt(trial, "start"))
            trial.state = "running"
        template = frozen_of(trial, params or {}, distributions or {}, system_attrs or {})
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
        """Start an attempt at a trial; from now on, reports of earlier attempts are refused."""
        attempt = next_attempt(trial, why, reason=reason, rung=rung, micro_batch=micro_batch)
        note = {attempt_key(attempt.number): attempt.model_dump(mode="json")}
        self._write_of(trial, TrialState.RUNNING, note)
        trial.attempts.append(attempt)
        trial.state = "running"
        self._changed(trial)
        return attempt

    def note_failure(self, trial: TrialRecord, failure: Failure) -> None:
        """Record that the last attempt failed and another one will follow."""
        note = {f"failure:{len(trial.attempts)}": failure.model_dump(mode="json")}
        self._write_of(trial, TrialState.WAITING, note)
        trial.failures[len(trial.attempts)] = failure
        trial.state = "interrupted"
        self._changed(trial)

    def next_order(self) -> int:
        """The number of the next report, counted over all trials of the study."""
        return self._reports

    def add_report(self, trial: TrialRecord, report: Report, decision: Decision) -> None:
        """Record the next report of a trial and the decision on it, which may end the trial."""
        assert report.step == len(trial.reports) + 1
        entry = {
            "report": report.model_dump(mode="json"),
            "decision": decision.model_dump(mode="json"),
        }
        state = "paused" if decision.verdict == "pause" else ENDS.get(decision.verdict, trial.state)
        after = replace(trial, reports=[*trial.reports, report])
        note = {report_key(report.step): entry}
        self._write_of(after, OPTUNA_STATES[state], note, copied=[report])
        trial.reports.append(report)
        trial.decisions.append(decision)
        self._reports += 1
        if decision.verdict == "fail":
            trial.error = decision.reason
        trial.state = state
        self._changed(trial)

    def end(self, trial: TrialRecord, state: State, reason: str) -> None:
        """End a trial without a report: ``stopped`` or ``failed``."""
        end = {"state": state, "reason": reason, "at": time.time()}
        self._write_of(trial, OPTUNA_STATES[state], {"end": end})
        note_end(trial, end)
        trial.state = state
        self._changed(trial)

    def suspend(self, trial: TrialRecord) -> None:
        """Leave an unfinished trial for a later run to continue: WAITING for Optuna."""
        self._write_of(trial, TrialState.WAITING)
        if trial.state != "paused":
            trial.state = "interrupted" if trial.attempts else "waiting"
        self._changed(trial)

    def repair(self) -> None:
        """Complete changes of which a kill left some writes undone.

        Also marks paused trials as RUNNING again, because a driver works on the study now.
        """
        for trial in self.trials:
            frozen = self._frozen[trial.number]
            if frozen.state.is_finished():
                continue
            there = frozen.intermediate_values
            copied = [report for report in trial.reports if report.step not in there]
            kept = trial.is_over or trial.state == "paused"
            told = OPTUNA_STATES[trial.state] if kept else frozen.state
            self._write_of(trial, told, copied=copied)
            self._changed(trial)

    def note(self, name: str, value: Any, *, guarded: bool = True) -> None:
        """Write a note about the study as a whole.

        Args:
            name: under which ``noted`` finds it.
            value: for JSON.
            guarded: call the guard first, and retry with patience; otherwise try once.
        """
        if guarded:
            self._write(lambda: self._storage.set_study_user_attr(self._id, name, value))
        else:
            self._storage.set_study_user_attr(self._id, name, value)

    def noted(self, name: str, *, guarded: bool = True) -> Any:
        """The note under a name; None if there is none.

        Args:
            name: as given to ``note``.
            guarded: retry with patience; otherwise try once.
        """

        def read() -> Any:
            return self._storage.get_study_user_attrs(self._id).get(name)

        return self.patience("the study cannot be read", read) if guarded else read()

    def close(self) -> None:
        """Close the connections; what was read stays available."""
        close_storage(self._storage)

    def _changed(self, trial: TrialRecord) -> None:
        for update in self._followers:
            update(trial)

    def _trial_id(self, trial: TrialRecord) -> int:
        return self._frozen[trial.number]._trial_id

    def _create(self, number: int, template: FrozenTrial, *, is_first: bool) -> int:
        # An earlier try may have created the trial although its answer was lost.
        there = [] if is_first else self._storage.get_all_trials(self._id, deepcopy=False)
        if len(there) > number:
            return there[number]._trial_id
        return self._storage.create_new_trial(self._id, template)

    def _write(self, action: Callable[[], Result]) -> Result:
        """Change the storage by an action that can be repeated without harm."""

        def guarded() -> Result:
            self.guard()
            return action()

        return self.patience("the study cannot be written", guarded)

    def _write_of(
        self,
        trial: TrialRecord,
        state: TrialState,
        notes: Mapping[str, Any] | None = None,
        *,
        copied: Sequence[Report] = (),
    ) -> None:
        """Write the changes of one trial.

        Args:
            trial: as it will be.
            state: its new state in Optuna.
            notes: user attributes.
            copied: reports whose scores become Optuna's intermediate values.
        """
        frozen, trial_id = self._frozen[trial.number], self._trial_id(trial)
        values: list[float] | None = None
        if state == TrialState.COMPLETE and trial.score is not None:
            values = [trial.score]
        elif state == TrialState.PRUNED and trial.reports:
            last = trial.reports[-1].score
            values = [last] if math.isfinite(last) else None

        def write() -> None:
            try:
                with together(self._storage):
                    for name, value in (notes or {}).items():
                        self._storage.set_trial_user_attr(trial_id, name, value)
                    for report in copied:
                        self._storage.set_trial_intermediate_value(
                            trial_id, report.step, report.score
                        )
                    if state != frozen.state:
                        self._storage.set_trial_state_values(trial_id, state, values)
            except optuna.exceptions.UpdateFinishedTrialError:
                # An earlier try may have finished it although its answer was lost.
                if self._storage.get_trial(trial_id).state != state:
                    raise

        if notes or copied or state != frozen.state:
            self._write(write)
        frozen.intermediate_values.update({report.step: report.score for report in copied})
        frozen.state, frozen.values = state, values
