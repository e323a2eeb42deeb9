"""Searches without training: scores come from curves, and time passes only on paper."""

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from minbert.report import Report
from minbert.tasks import TASK_NAMES, Task
from search.directory import Directory
from search.driver import Driver, Job
from search.record import TrialRecord

# The task scores of a trial at a step.
Curve = Callable[[TrialRecord, int], dict[Task, float]]


def report_of(trial: TrialRecord, step: int, scores: dict[Task, float]) -> Report:
    """A report with these scores under equal weights, kept if it is the best of the trial."""
    score = sum(scores.values()) / len(scores)
    before = [report.score for report in trial.reports[: step - 1]]
    return Report(
        step=step,
        epoch=step / trial.config.reports_per_epoch,
        examples=step,
        scores=scores,
        score=score,
        kept=not before or score > max(before),
        metrics={},
        losses={},
        negatives=0,
        lr=trial.config.lr,
        grad_norm=1.0,
        tokens=1,
        train_seconds=1.0,
        dev_seconds=0.0,
    )


def equal_scores(score: float) -> dict[Task, float]:
    return dict.fromkeys(TASK_NAMES, score)


class EveryCheckpoint(Directory):
    """A directory that has the checkpoint of every report, whole, and no files.

    Attributes:
        removed: names that were removed, of a checkpoint or of its state.
    """

    where = address = "nowhere"

    def __init__(self, removed: list[str] | None = None, name: str = ""):
        self.removed = [] if removed is None else removed
        self._name = name

    def __truediv__(self, name: str) -> "EveryCheckpoint":
        return EveryCheckpoint(self.removed, name)

    def read(self, name: str) -> bytes:
        raise FileNotFoundError(name)

    def write(self, name: str, content: bytes) -> None:  # noqa: ARG002
        raise PermissionError(name)

    def files(self) -> list[str]:
        return ["checkpoint.json", "state.pt", "weights.safetensors"] if self._name else []

    def directories(self) -> list[str]:
        return []

    def modified(self, name: str) -> float | None:  # noqa: ARG002
        return None

    def remove(self, name: str = "") -> None:
        self.removed.append(name)


@dataclass(frozen=True)
class Happened:
    """A report of a simulated search: when, of which trial, and how much was trained by then."""

    time: float
    trial: int
    step: int
    score: float
    trained: int


def simulate(
    driver: Driver,
    curve: Curve,
    slots: int,
    *,
    seconds: Callable[[TrialRecord], float] = lambda trial: 1.0,  # noqa: ARG005
    most: int | None = None,
    until: float = math.inf,
    answers: Callable[[TrialRecord, int], bytes] = lambda trial, step: b"",  # noqa: ARG005
) -> list[Happened]:
    """Run a driver's search on ``slots`` workers that take their scores from a curve.

    Args:
        driver: decides.
        curve: the scores.
        slots: workers.
        seconds: that a trial takes for a report.
        most: stop after so many reports.
        until: stop when a report scores this much.
        answers: dev answers that come with a report.
    """
    happened: list[Happened] = []
    tie = itertools.count()
    events: list[tuple[float, int, Job, int]] = []
    running: set[int] = set()
    now = 0.0

    def begin(job: Job, step: int) -> None:
        running.add(job.trial.number)
        heapq.heappush(events, (now + seconds(job.trial), next(tie), job, step))

    while most is None or len(happened) < most:
        while len(running) < slots:
            job = driver.next_job(busy=bool(running))
            if not isinstance(job, Job):
                break
            begin(job, len(job.trial.reports) + 1)
        if not events:
            break
        now, _, job, step = heapq.heappop(events)
        trial = job.trial
        running.discard(trial.number)
        report = report_of(trial, step, curve(trial, step))
        happened.append(Happened(now, trial.number, step, report.score, len(happened) + 1))
        if report.score >= until:
            break
        packed = answers(trial, step)
        if driver.reported(trial.number, job.attempt.number, report, packed):
            begin(job, step + 1)
    return happened
