"""The timeline of a search's slots."""

from typing import Any

import pytest

from search.record import Attempt, Decision, Failure
from search.review.page.timeline import make_timeline
from tests.search.review.test_review import report, trial

from .driver_runs import driver_run


def decided(verdict: Any, attempt: int, at: float) -> Decision:
    return Decision(verdict=verdict, reason="", attempt=attempt, order=0, at=at)


def test_timeline_worked_out_by_hand() -> None:
    """Two slots; a retry; a promotion; a kill at 130; the search is resumed at 1000."""
    made = [report(1, 0.5, 0.5, 0.5), report(2, 0.5, 0.5, 0.5)]
    paused = trial(0, list(made))
    paused.attempts = [
        Attempt(number=1, why="start", at=100),
        Attempt(number=2, why="promoted", rung=1, at=120),
    ]
    paused.decisions = [decided("pause", 1, 110), decided("finish", 2, 130)]
    retried = trial(1, made[:1])
    retried.attempts = [
        Attempt(number=1, why="start", at=100),
        Attempt(number=2, why="retry", at=106),
        Attempt(number=3, why="resumed", at=1000),
    ]
    retried.failures = {1: Failure(next="retry", reason="", micro_batch=None, at=105)}
    retried.decisions = [decided("stop", 3, 1030)]
    timeline = make_timeline(
        [paused, retried], [driver_run(100, None), driver_run(990, 1040)], 2000
    )
    assert timeline is not None
    stays = [
        (stay.trial.number, stay.attempt, stay.slot, stay.start, stay.end, stay.outcome)
        for stay in timeline.stays
    ]
    assert stays == [
        (0, 1, 0, 0, 10, "promoted"),
        (1, 1, 1, 0, 5, "failed"),
        (1, 2, 1, 6, 6, "interrupted"),
        (0, 2, 0, 20, 30, "finished"),
        # The first run was seen to last 30 s; ten seconds into the next this attempt began.
        (1, 3, 0, 40, 70, "stopped"),
    ]
    assert timeline.slots == 2
    assert timeline.seconds == 80
    assert timeline.resumed == (30,)
    assert timeline.busy == pytest.approx((10 + 5 + 0 + 10 + 30) / (2 * 80))
