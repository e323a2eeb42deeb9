"""Runs a search without training: reports are given, and time is simulated."""

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from minbert.report import Report

from .driver import Driver, Job
from .record import TrialRecord

# A trial's report at a step; None if there is none, which ends the trial.
GivenReport = Callable[[TrialRecord, int], Report | None]


@dataclass(frozen=True)
class Happened:
    """A report of a simulated search.

    Attributes:
        time: seconds since the search began.
        kept: the trial selects this report's checkpoint.
        reports: number of reports up to this one, over all trials.
    """

    time: float
    trial: int
    step: int
    score: float
    kept: bool
    reports: int


def simulate(
    driver: Driver,
    given: GivenReport,
    slots: int,
    *,
    most: int | None = None,
    until: float = math.inf,
    predictions: Callable[[TrialRecord, int], bytes] = lambda trial, step: b"",  # noqa: ARG005
) -> list[Happened]:
    """Run a driver's search on ``slots`` simulated workers.

    A report takes the seconds that it says it took.

    Args:
        driver: decides.
        given: the reports.
        slots: workers.
        most: stop after this many reports.
        until: stop when a report scores this much.
        predictions: dev predictions that come with a report.
    """
    happened: list[Happened] = []
    tie = itertools.count()
    events: list[tuple[float, int, Job, Report]] = []
    running: set[int] = set()
    now = 0.0

    def begin(job: Job, step: int) -> None:
        report = given(job.trial, step)
        if report is None:
            driver.study.end(job.trial, "stopped", "there is no further report of it")
            return
        running.add(job.trial.number)
        then = now + report.train_seconds + report.dev_seconds
        heapq.heappush(events, (then, next(tie), job, report))

    while most is None or len(happened) < most:
        while len(running) < slots:
            job = driver.next_job(busy=bool(running))
            if not isinstance(job, Job):
                break
            begin(job, len(job.trial.reports) + 1)
        if not events:
            break
        now, _, job, report = heapq.heappop(events)
        trial = job.trial
        running.discard(trial.number)
        happened.append(
            Happened(now, trial.number, report.step, report.score, report.kept, len(happened) + 1)
        )
        if report.score >= until:
            break
        packed = predictions(trial, report.step)
        if driver.reported(trial.number, job.attempt.number, report, packed):
            begin(job, report.step + 1)
    return happened
