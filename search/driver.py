"""The driver decides what to run next and what follows from each report, without Ray.

Every decision depends on the study's record alone. So a search that was killed continues as if it
had not been.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, Self, TypeAlias, TypeVar

from minbert.report import Report
from search.analysis.pareto import ParetoFront
from search.schedule.pruning import Pruning
from search.schedule.table import make_scheduler
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import Directory
from search.storage.patience import StorageLostError
from search.storage.predictions import DevPredictions
from search.storage.provenance import note_growth
from search.storage.study import Study

from .failures import FailureKind, plan_retry
from .inputs import Judge
from .live_record import LiveRecord
from .new_trials import NewTrials, Source
from .plan import Plan
from .record import Attempt, Decision, TrialRecord, Verdict, at_once
from .retention import Retention, selects
from .settings import StudySettings
from .stopping import reason_to_end
from .watchers import Watcher


@dataclass(frozen=True)
class Job:
    """An attempt to run.

    Attributes:
        state: checkpoint to continue from; None to start from the beginning.
        rungs: steps after which the trial may be paused, so its state is saved there.
        judge: examples to judge the selected model by at the end; those of a fold are left out.
        selected: checkpoint of the report that the trial has selected so far.
    """

    trial: TrialRecord
    attempt: Attempt
    state: Directory | None
    rungs: tuple[int, ...]
    judge: Judge | None = None
    selected: Directory | None = None


class Planned(Protocol):
    """What the driver must know of a plan."""

    @property
    def trials(self) -> int:
        """Number of trials."""

    @property
    def most_reports(self) -> int:
        """The most reports of any trial."""


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Method: TypeAlias = Callable[Concatenate["Driver", _Arguments], _Result]


def _or_gives_up(
    instead: Any,
) -> Callable[[_Method[_Arguments, _Result]], _Method[_Arguments, _Result]]:
    """Make a method of the driver give up if storage is lost, and return ``instead`` then."""

    def decorate(method: _Method[_Arguments, _Result]) -> _Method[_Arguments, _Result]:
        @functools.wraps(method)
        def run(self: "Driver", /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Any:
            try:
                return method(self, *args, **kwargs)
            except StorageLostError as error:
                self.give_up(str(error))
                return instead

        return run

    return decorate


class Driver:
    """Runs a plan on a study, once it is opened.

    Args:
        study: new, or to be continued.
        store: the checkpoints of the study.
        predictions: the dev predictions of each report.
        tell: is given a line about machines or storage for the user.
        source: where trials come from; by default what the user gave, then the sampler.

    Attributes:
        record: the study's trials, and how many there will be.
        ended_because: why the search ends before all trials are over; None otherwise.
        lost: nothing may be written any more: storage does not answer, or another driver took over.
    """

    def __init__(
        self,
        study: Study,
        plan: Planned,
        settings: StudySettings,
        store: CheckpointStore,
        predictions: DevPredictions,
        watchers: Sequence[Watcher] = (),
        tell: Callable[[str], None] = lambda _: None,
        source: Callable[[LiveRecord], Source] | None = None,
    ):
        self.study, self.plan, self.settings = study, plan, settings
        self._store, self._predictions = store, predictions
        self.watchers = list(watchers)
        self.tell = tell
        self._waiting: set[int] = set()
        self.record = LiveRecord(plan.trials, study)
        self.ended_because: str | None = None
        self.lost = False
        if source is None:
            assert isinstance(plan, Plan)
            self._source: Source = NewTrials(study, plan, settings, self.record, predictions, tell)
        else:
            self._source = source(self.record)
        self._pruning = Pruning(study, settings.pruner)
        self._retention = Retention(study, store, settings.keep_models, settings.pareto_models)

    @property
    def pareto_front(self) -> ParetoFront:
        """The Pareto front of the checkpoints."""
        return self._retention.pareto_front

    @property
    def damaged(self) -> list[str]:
        """Checkpoint files that were found damaged, in words."""
        return self._store.damaged

    def model(self, number: int, step: int) -> Directory | None:
        """A report's checkpoint, None where it is not kept."""
        return self._store.model(number, step)

    # Beginning and end

    def open(self) -> Self:
        """Continue from the record: repair it, queue what the plan adds, remove what nobody needs.

        Raises:
            StorageLostError: storage is full or unreachable.
        """
        self.study.repair()
        self._source.add_given()
        self._scheduler = make_scheduler(
            self.settings,
            self.settings.scheduler,
            self.study,
            self.plan.most_reports,
            self.record.planned,
        )
        self._retention.scan()
        self._retention.tidy()
        self._check_whether_to_end()
        return self

    def finish(self) -> None:
        """End a search that has nothing left to run: paused trials end as stopped."""
        for trial in self.study.trials:
            if trial.state == "paused":
                self._end_paused(trial, "the search ended before a place came free")
        self._retention.tidy()

    @_or_gives_up(None)
    def leave(self) -> None:
        """Leave the study: no trial stays RUNNING in it, and another run can continue them all."""
        if self.lost:
            return
        for trial in self.study.trials:
            if not trial.is_over:
                was_running = trial.state == "running"
                self.study.suspend(trial)
                if was_running:
                    self._tell_ended(trial)
        # What workers wrote last belongs to no report.
        self._retention.scan()
        self._retention.tidy()

    # What to run

    @_or_gives_up("done")
    def next_job(self, *, busy: bool) -> Job | Literal["wait", "done"]:
        """What a free slot should do.

        Args:
            busy: other attempts are running.
        """
        if self.ended_because is None:
            trial = self.record.first("interrupted") or self.record.first("waiting")
            if trial is not None:
                return self._begin(trial)
            promoted = self._promote()
            if promoted is not None:
                return promoted
            if (trial := self._source.propose(self._tell_ended)) is not None:
                return self._job(trial, trial.attempts[-1])
        if busy:
            return "wait"
        if self.ended_because is None:
            self.finish()
        return "done"

    def _begin(self, trial: TrialRecord) -> Job:
        self._waiting.discard(trial.number)
        failure = trial.failure
        if failure is not None:
            attempt = self.study.start_attempt(
                trial, failure.next, reason=failure.reason, micro_batch=failure.micro_batch
            )
        elif trial.attempts:
            attempt = self.study.start_attempt(
                trial, "resumed", micro_batch=trial.attempts[-1].micro_batch
            )
        else:
            attempt = self.study.start_attempt(trial, "start")
        return self._job(trial, attempt)

    def _promote(self) -> Job | None:
        """The paused trial that the scheduler lets continue, if there is one."""
        found = self._scheduler.promotable()
        if found is None:
            return None
        trial, step, reason = found
        attempt = self.study.start_attempt(
            trial,
            "promoted",
            reason=reason,
            rung=step,
            micro_batch=trial.attempts[-1].micro_batch,
        )
        return self._job(trial, attempt)

    def _job(self, trial: TrialRecord, attempt: Attempt) -> Job:
        state = self._store.latest_state(trial.number)
        kept = trial.kept
        return Job(
            trial,
            attempt,
            state,
            self._scheduler.pause_steps(trial),
            self._source.judge_of(trial),
            None if kept is None else self._store.model(trial.number, kept.step),
        )

    @property
    def backlog(self) -> int:
        """Attempts that could start now if there were slots for them, without promotions."""
        if self.ended_because is not None:
            return 0
        waiting = self.record.count("interrupted", "waiting")
        return waiting + self.record.planned - len(self.study.trials)

    # What happens

    @_or_gives_up(None)
    def slots_changed(self, slots: int, hardware: dict[str, Any]) -> None:
        """Record that machines were added to or removed from the cluster."""
        came_or_went = "came" if slots > self.record.slots else "went"
        self.record.slots = slots
        self.tell(f"machines {came_or_went}: {at_once(slots)}")
        note_growth(self.study, slots, hardware)

    def waits(self, number: int, attempt: int, reason: str, seconds: float) -> bool:
        """A worker waits for storage, since ``seconds``; returns whether it should try again."""
        trial = self.study.trials[number]
        if trial.state != "running" or attempt != trial.attempts[-1].number:
            return False
        if number not in self._waiting:
            self._waiting.add(number)
            self.tell(f"trial {number} waits for storage: {reason}")
        if seconds > self.settings.storage_patience:
            self.give_up(f"checkpoints cannot be written or read: {reason}")
        return not self.lost

    def started(self, number: int) -> None:
        """A worker begins an attempt."""
        for watcher in self.watchers:
            watcher.started(self.study.trials[number])

    @_or_gives_up(False)
    def reported(
        self,
        number: int,
        attempt: int,
        report: Report,
        predictions: bytes,
        machine: str = "",
        judged: bytes = b"",
    ) -> bool:
        """Record a report and decide; returns whether the attempt continues.

        A report of an attempt that was given up is ignored. So is one that repeats a recorded
        report: its attempt started from an earlier state.
        """
        trial = self.study.trials[number]
        if trial.state != "running" or attempt != trial.attempts[-1].number:
            return False
        if number in self._waiting:
            self._waiting.remove(number)
            self.tell(f"trial {number} continues: storage answers again")
        if report.step <= len(trial.reports):
            self._store.refused(number, report.step, attempt)
            return True
        if attempt > 1:
            # The worker's own history may differ from the recorded one.
            report = report.replace(kept=selects(trial, report))
        if predictions:
            self.study.patience(
                "the dev predictions cannot be written",
                lambda: self._predictions.write(number, report.step, predictions),
            )
        if judged:
            self.study.patience(
                "the predictions cannot be written",
                lambda: self._predictions.write_judged(number, judged),
            )
        verdict, reason = self._decide(trial, report)
        decision = Decision(
            verdict=verdict,
            reason=reason,
            attempt=attempt,
            machine=machine,
            order=self.study.next_order(),
            at=time.time(),
        )
        self.study.add_report(trial, report, decision)
        self.study.patience(
            "the checkpoints cannot be listed",
            lambda: self._store.added(number, report.step, attempt, machine),
        )
        self._retention.offer(trial, report)
        for watcher in self.watchers:
            watcher.reported(trial, report)
        if trial.is_over:
            self._tell_ended(trial)
        elif verdict == "pause":
            self._tell_paused(trial, reason)
        for hopeless, why in self._scheduler.hopeless(report.step):
            self._end_paused(hopeless, why)
        self._retention.tidy()
        self._check_whether_to_end()
        return verdict in ("continue", "promote")

    @_or_gives_up(None)
    def failed(self, number: int, attempt: int, kind: FailureKind, reason: str) -> None:
        """An attempt ended without a report: retry if that may help, otherwise end the trial."""
        trial = self.study.trials[number]
        if trial.state != "running" or attempt != trial.attempts[-1].number:
            return
        if kind == "state damaged":
            self._store.drop_latest_state(number, reason)
        failure = plan_retry(trial, kind, reason, self.settings.retries)
        if failure is not None:
            self.study.note_failure(trial, failure)
            self._tell_paused(trial, f"{failure.next}: {reason}")
        else:
            self.study.end(trial, "failed", reason)
            self._retention.tidy()
            self._tell_ended(trial)

    def _decide(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:
        if not math.isfinite(report.score):
            return "fail", f"the score of report {report.step} is {report.score}"
        if report.step == trial.total_reports:
            return "finish", "all epochs are trained"
        if trial.fixed:
            return "continue", "runs to its end"
        verdict, reason = self._scheduler.verdict(trial, report)
        pruned = self._pruning.reason_to_prune(trial, report.step, report.score)
        if pruned is not None and verdict != "stop":
            return "prune", f"{pruned}; {reason}" if reason else pruned
        return verdict, reason

    def _end_paused(self, trial: TrialRecord, reason: str) -> None:
        self.study.end(trial, "stopped", reason)
        self._tell_ended(trial)

    def _tell_ended(self, trial: TrialRecord) -> None:
        for watcher in self.watchers:
            watcher.ended(trial)

    def _tell_paused(self, trial: TrialRecord, reason: str) -> None:
        for watcher in self.watchers:
            watcher.paused(trial, reason)

    def _check_whether_to_end(self) -> None:
        reason = reason_to_end(self.record, self.settings)
        if reason is not None:
            self.ended_because = reason

    def give_up(self, reason: str) -> None:
        """End the search and write nothing more, as the study is lost to this driver."""
        self.lost, self.ended_because = True, reason
