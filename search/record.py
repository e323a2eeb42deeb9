"""The record of a search in memory: its trials, their reports, and the decision on each report."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from minbert.config import TrainConfig
from minbert.output import counted
from minbert.report import Report
from minbert.settings import Settings
from minbert.tasks import TASK_NAMES, Task
from minbert.weights import Weights

# waiting: in the queue; paused: at a rung; finished: all epochs are trained; stopped: by the
# scheduler or the pruner; interrupted: the search ended first, and may continue the trial later.
State = Literal["waiting", "running", "paused", "finished", "stopped", "failed", "interrupted"]

# continue: train on; promote: continue from a rung at once; pause: wait at a rung; stop: the
# scheduler ends it; prune: Optuna's pruner ends it; finish: all epochs are trained; fail: the score
# is not a finite number.
Verdict = Literal["continue", "promote", "pause", "stop", "prune", "finish", "fail"]

OVER: tuple[State, ...] = ("finished", "stopped", "failed")
ENDS: dict[Verdict, State] = {
    "stop": "stopped",
    "prune": "stopped",
    "finish": "finished",
    "fail": "failed",
}

# Why a failed attempt is retried: the trial's process crashed or hung; memory was too small; the
# machine was lost; or the state that the attempt should have continued from is damaged.
RetryReason = Literal["retry", "out of memory", "machine lost", "state damaged"]

# Seconds since the epoch, of a year that calendars know.
Moment = Annotated[float, Field(ge=0, lt=2.5e11)]

# A name shows at most so many fields; these come first, as they change most what is trained.
_FIELDS_IN_A_NAME = 3
_MOST_TELLING = (
    *("pair_encoding", "para_head", "sts_head", "pooling", "loss_weights", "optimizer", "lr"),
    *("negatives", "negative_strategy", "sampling", "schedule", "batch_size"),
)

GREEK: dict[Task, str] = {"sst": "α", "para": "β", "sts": "γ"}


class Decision(Settings):
    """The decision on a report."""

    verdict: Verdict
    reason: str
    """in words, such as ``rung 1: 7th of 9, the top 3 continue``"""
    attempt: int
    """number of the attempt that made the report"""
    machine: str = ""
    """where the attempt ran: the machine's name and Ray's id of the node"""
    order: int
    """position of the report among all reports of the study, from 0"""
    at: Moment
    """seconds since the epoch"""


class Attempt(Settings):
    """One try at running a trial."""

    number: int
    """from 1"""
    why: Literal["start", "promoted", "resumed"] | RetryReason
    reason: str = ""
    """in words: the rank at the rung, or what ended the previous attempt"""
    rung: int | None = None
    """step of the rung that the trial was promoted from"""
    micro_batch: int | None = None
    """most examples at once, if a whole batch does not fit in memory"""
    at: Moment
    """seconds since the epoch"""


class Failure(Settings):
    """Why an attempt failed, and how the next one differs."""

    next: RetryReason
    reason: str
    micro_batch: int | None
    at: Moment | None = None
    """seconds since the epoch"""


@dataclass
class TrialRecord:
    """One trial of a search.

    Attributes:
        number: from 0; trial 0 is the recipe itself.
        name: a short text for people.
        fields: the fields that the space set, with their values.
        fixed: never stopped early: the recipe itself, or a trial of a fixed list.
        origin: where it comes from: recipe, list, --try, random start, or the sampler's name.
        decisions: one for each report.
        failures: by the number of the failed attempt; only failures with a retry.
        error: why it failed, in one line.
        ended: why it was stopped, if not by the decision on its last report; or why it was
            interrupted, if that is known.
        ended_at: when it ended, in seconds since the epoch, if it ended without a report.
    """

    number: int
    name: str
    fields: dict[str, Any]
    config: TrainConfig
    fixed: bool = False
    origin: str = ""
    state: State = "waiting"
    reports: list[Report] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    error: str | None = None
    ended: str | None = None
    ended_at: float | None = None

    @property
    def failure(self) -> Failure | None:
        """The failure of the last attempt, if a retry is still to come."""
        return self.failures.get(len(self.attempts))

    @property
    def was_refused(self) -> bool:
        """The space's function failed, so the trial has no configuration of its own."""
        return self.error is not None and not self.attempts

    @property
    def why(self) -> str:
        """Why it is in its state, in words."""
        if self.state == "interrupted":
            # The decision on its last report is not the reason.
            failed = self.failure.reason if self.failure else None
            return self.ended or failed or "the search ended first"
        last = self.decisions[-1].reason if self.decisions else ""
        return self.error or self.ended or last

    @property
    def kept(self) -> Report | None:
        """The report whose checkpoint the trial has selected so far; None without one."""
        good = (r for r in reversed(self.reports) if r.kept and math.isfinite(r.score))
        return next(good, None)

    @property
    def score(self) -> float | None:
        """Score of the checkpoint that the trial has selected so far; None without one."""
        return self.kept.score if self.kept else None

    @property
    def total_reports(self) -> int:
        return self.config.epochs * self.config.reports_per_epoch

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def seconds(self) -> float:
        """Seconds of training and dev evaluation, over all reports."""
        return sum(report.train_seconds + report.dev_seconds for report in self.reports)

    @property
    def weights(self) -> dict[Task, float]:
        """Its loss weights for the tasks that it is trained on, scaled to add up to 1."""
        return self.config.loss_weights.normalised(1.0, self.config.train_tasks)

    def machine_of(self, attempt: int) -> str:
        """Machine that an attempt ran on; empty if it made no report."""
        return next((d.machine for d in self.decisions if d.attempt == attempt), "")

    @property
    def machines(self) -> list[str]:
        """Machines that its reports came from, in order."""
        return list(dict.fromkeys(d.machine for d in self.decisions if d.machine))

    def continued_from(self, rung: int) -> bool:
        """Whether it has continued, or may continue, beyond the rung at this step."""
        if len(self.decisions) < rung:
            return False
        if self.decisions[rung - 1].verdict in ("continue", "promote"):
            return True
        return any(attempt.rung == rung for attempt in self.attempts)

    @property
    def paused_at(self) -> int | None:
        """Step of the rung where it is paused; None if it is not paused."""
        step = len(self.reports)
        if not step or self.is_over or self.decisions[-1].verdict != "pause":
            return None
        return None if self.continued_from(step) else step


@dataclass
class SearchRecord:
    """All trials of a search.

    Attributes:
        planned: trials that will run if nothing ends the search early.
        slots: attempts that can run at once now.
    """

    planned: int
    trials: list[TrialRecord] = field(default_factory=list)
    slots: int = 0

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The scored tasks, in the order of columns."""
        scored = next((trial.reports[0].scores for trial in self.trials if trial.reports), None)
        if scored is not None:
            return tuple(task for task in TASK_NAMES if task in scored)
        return self.trials[0].config.train_tasks if self.trials else TASK_NAMES

    @property
    def ranked(self) -> list[TrialRecord]:
        """All trials, best score first; those without a score last."""
        return sorted(
            self.trials,
            key=lambda trial: (trial.score is None, -(trial.score or 0.0), trial.number),
        )

    def best(self, *states: State) -> TrialRecord | None:
        """The highest-scoring trial in one of the states; of equal ones the first."""
        return next((trial for trial in self.ranked if trial.kept and trial.state in states), None)

    @property
    def winner(self) -> TrialRecord | None:
        """The highest-scoring trial so far, failed ones excluded."""
        return self.best("running", "finished", "stopped", "interrupted", "paused")

    @property
    def left(self) -> int:
        """Planned trials that are not over; some may not have started."""
        return self.planned - self.count(*OVER)

    @property
    def counts(self) -> dict[State, int]:
        """Number of trials by state; states without trials are left out."""
        return {state: n for state in get_args(State) if (n := self.count(state))}

    @property
    def baseline(self) -> TrialRecord | None:
        return self.trials[0] if self.trials else None

    def differences(self, trial: TrialRecord) -> dict[str, Any]:
        """The fields whose values differ from the recipe, with their values."""
        return changed_fields(trial.fields, trial.config, self.trials[0].config)

    def count(self, *states: State) -> int:
        return sum(trial.state in states for trial in self.trials)


def changed_fields(
    fields: Mapping[str, Any], config: TrainConfig, recipe: TrainConfig
) -> dict[str, Any]:
    """Those fields of a configuration that make it train differently from the recipe."""
    ours, theirs = config.effective(), recipe.effective()
    return {n: value for n, value in fields.items() if getattr(ours, n) != getattr(theirs, n)}


def short_name(fields: Mapping[str, Any], config: TrainConfig, recipe: TrainConfig) -> str:
    """A configuration by what differs from the recipe, such as ``sts_head=linear lr=3e-4 +2``.

    The most telling fields come first; ``+2`` says that two more differ.
    """
    changed = changed_fields(fields, config, recipe)
    ranks = {name: rank for rank, name in enumerate(_MOST_TELLING)}
    first = sorted(changed, key=lambda name: ranks.get(name, len(ranks)))[:_FIELDS_IN_A_NAME]
    texts = field_texts({name: changed[name] for name in first}, config.train_tasks)
    more = len(changed) - len(first)
    return " ".join([*texts, *([f"+{more}"] if more else [])])


def field_texts(fields: Mapping[str, Any], tasks: Sequence[Task] = TASK_NAMES) -> list[str]:
    """Fields as text: ``lr=2e-05``, and loss weights as α, β, γ that add up to 1.

    Args:
        fields: values by name.
        tasks: the tasks that are trained; only they have loss weights.
    """
    texts = []
    for name, value in fields.items():
        if name == "loss_weights":
            shares = Weights(*value).normalised(1.0, tasks)
            texts += [f"{GREEK[task]}={share:.2f}" for task, share in shares.items()]
        elif isinstance(value, float):
            texts.append(f"{name}={value:.3g}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            texts.append(f"{name}={','.join(map(str, value))}")
        else:
            texts.append(f"{name}={value}")
    return texts


def at_once(slots: int) -> str:
    """How many trials can run at once, in words."""
    return f"{counted(slots, 'trial')} at once"


def reports_in_order(trials: Sequence[TrialRecord]) -> Iterator[tuple[TrialRecord, Report]]:
    """All reports with a score, in the order in which they were recorded."""
    pairs = [
        (decision.order, trial, report)
        for trial in trials
        for report, decision in zip(trial.reports, trial.decisions, strict=True)
        if math.isfinite(report.score)
    ]
    for _, trial, report in sorted(pairs, key=lambda pair: pair[0]):
        yield trial, report
