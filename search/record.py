"""The record of a search in memory: its trials, their reports, and what was decided of each."""

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

# waiting: in the queue; paused: at a rung; finished: all its epochs; stopped: by the
# scheduler or the pruner; interrupted: the search ended first, and may be gone on with.
State = Literal["waiting", "running", "paused", "finished", "stopped", "failed", "interrupted"]

# continue: train on; promote: go on from a rung at once; pause: wait at a rung; stop: the
# scheduler ends it; prune: Optuna's pruner ends it; finish: all epochs are trained; fail: no number
# came.
Verdict = Literal["continue", "promote", "pause", "stop", "prune", "finish", "fail"]

OVER: tuple[State, ...] = ("finished", "stopped", "failed")
ENDS: dict[Verdict, State] = {
    "stop": "stopped",
    "prune": "stopped",
    "finish": "finished",
    "fail": "failed",
}

# Why a failed attempt is followed by another: the trial's own process crashed or hung; its memory
# was too small; its machine went; or what it should have gone on from is damaged.
Again = Literal["retry", "out of memory", "machine lost", "state damaged"]

# Seconds since the epoch, of a year that calendars know.
Moment = Annotated[float, Field(ge=0, lt=2.5e11)]

GREEK: dict[Task, str] = {"sst": "α", "para": "β", "sts": "γ"}


class Decision(Settings):
    """What was decided of a report."""

    verdict: Verdict
    reason: str
    """in words, such as ``rung 1: 7th of 9, 3 go on``"""
    attempt: int
    """attempt that made the report"""
    machine: str = ""
    """that the attempt ran on: its name, and Ray's number of the node"""
    order: int
    """number of the report among all of the study, from 0"""
    at: Moment
    """seconds since the epoch"""


class Attempt(Settings):
    """One try at running a trial."""

    number: int
    """from 1"""
    why: Literal["start", "promoted", "resumed"] | Again
    reason: str = ""
    """in words: the standing at the rung, or what ended the attempt before"""
    rung: int | None = None
    """step of the rung that it was promoted from"""
    micro_batch: int | None = None
    """most examples at once, where memory does not hold a whole batch"""
    at: Moment
    """seconds since the epoch"""


class Failure(Settings):
    """Why an attempt failed, and how the next one differs."""

    next: Again
    reason: str
    micro_batch: int | None
    at: Moment | None = None
    """seconds since the epoch"""


@dataclass
class TrialRecord:
    """One trial of a search.

    Attributes:
        number: from 0; trial 0 is the recipe itself.
        name: what a person calls it.
        fields: where its configuration departs from the recipe.
        fixed: never stopped early: the recipe itself, or of a fixed list.
        origin: where it comes from: recipe, list, --try, random start, or the sampler's name.
        decisions: one for each report.
        failures: by the number of the attempt that another one followed, or is to follow.
        error: why it failed, in one line.
        ended: why it was stopped, where not by a decision on its last report; or why it was cut
            short, where that is known.
        ended_at: when, in seconds since the epoch.
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
        """Of the last attempt, where another one is to come."""
        return self.failures.get(len(self.attempts))

    @property
    def was_refused(self) -> bool:
        """The space's function failed, so that the trial has no configuration of its own."""
        return self.error is not None and not self.attempts

    @property
    def why(self) -> str:
        """Why it stands as it does, in words."""
        if self.state == "interrupted":
            # Its last report has no part in that.
            failed = self.failure.reason if self.failure else None
            return self.ended or failed or "the search ended first"
        last = self.decisions[-1].reason if self.decisions else ""
        return self.error or self.ended or last

    @property
    def kept(self) -> Report | None:
        """The report whose checkpoint the trial keeps so far."""
        good = (r for r in reversed(self.reports) if r.kept and math.isfinite(r.score))
        return next(good, None)

    @property
    def score(self) -> float | None:
        """Score of the checkpoint that the trial keeps so far."""
        return self.kept.score if self.kept else None

    @property
    def reports_in_all(self) -> int:
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
        """Its loss weights of the tasks that it is trained on, scaled to add up to 1."""
        return self.config.loss_weights.normalised(1.0, self.config.train_tasks)

    def machine_of(self, attempt: int) -> str:
        """Machine that an attempt ran on; empty where it came to no report."""
        return next((d.machine for d in self.decisions if d.attempt == attempt), "")

    @property
    def machines(self) -> list[str]:
        """Machines that its reports came from, in their order."""
        return list(dict.fromkeys(d.machine for d in self.decisions if d.machine))

    def went_on_from(self, rung: int) -> bool:
        """Whether it was trained, or may be trained, beyond the rung at this step."""
        if len(self.decisions) < rung:
            return False
        if self.decisions[rung - 1].verdict in ("continue", "promote"):
            return True
        return any(attempt.rung == rung for attempt in self.attempts)

    @property
    def paused_at(self) -> int | None:
        """Step of the rung that it waits at, None where it does not."""
        step = len(self.reports)
        if not step or self.is_over or self.decisions[-1].verdict != "pause":
            return None
        return None if self.went_on_from(step) else step


@dataclass
class SearchRecord:
    """All trials of a search.

    Attributes:
        planned: trials there will be if nothing ends the search early.
        slots: attempts that can run at once, as things stand.
    """

    planned: int
    trials: list[TrialRecord] = field(default_factory=list)
    slots: int = 0

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those that are scored, in the order of columns."""
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
        """The trial that scores highest of those in one of the states; of equals the first."""
        return next((trial for trial in self.ranked if trial.kept and trial.state in states), None)

    @property
    def winner(self) -> TrialRecord | None:
        """The trial that scores highest so far, of those that did not fail."""
        return self.best("running", "finished", "stopped", "interrupted", "paused")

    @property
    def left(self) -> int:
        """Trials that are not over, or not begun, of those that there will be."""
        return self.planned - self.count(*OVER)

    @property
    def counts(self) -> dict[State, int]:
        """Trials in each state that there is any in."""
        return {state: n for state in get_args(State) if (n := self.count(state))}

    @property
    def baseline(self) -> TrialRecord | None:
        return self.trials[0] if self.trials else None

    def departures(self, trial: TrialRecord) -> dict[str, Any]:
        """The fields that the space set otherwise than the recipe, with their values."""
        recipe, config = self.trials[0].config.effective(), trial.config.effective()
        return {
            name: value
            for name, value in trial.fields.items()
            if getattr(recipe, name) != getattr(config, name)
        }

    def count(self, *states: State) -> int:
        return sum(trial.state in states for trial in self.trials)


def field_texts(fields: Mapping[str, Any], tasks: Sequence[Task] = TASK_NAMES) -> list[str]:
    """Fields as people read them: ``lr=2e-05``, and loss weights as α, β, γ that add up to 1.

    Args:
        fields: with their values.
        tasks: that are trained on; only they have loss weights.
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
    """How many trials can run, in words."""
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
