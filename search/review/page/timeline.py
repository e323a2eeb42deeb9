"""The timeline of a search or a confirmation: every attempt on its slot."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.record import TrialRecord, Verdict
from search.storage.provenance import DriverRun

_OUTCOMES: dict[Verdict, str] = {
    "pause": "paused",
    "stop": "stopped",
    "prune": "stopped",
    "finish": "finished",
    "fail": "failed",
}


@dataclass(frozen=True)
class Stay:
    """An attempt on its slot.

    Attributes:
        start: in seconds of searching, which exclude the time between runs of the driver.
        end: as ``start``.
        outcome: how the attempt ended, in a word.
    """

    trial: TrialRecord
    attempt: int
    slot: int
    start: float
    end: float
    outcome: str


@dataclass(frozen=True)
class Timeline:
    """All attempts of a search or a confirmation.

    Attributes:
        stays: ordered by start.
        slots: the largest number in any run of the driver.
        seconds: of searching.
        busy: share of the slots' time in which an attempt ran.
        resumed: when the search was resumed, in seconds of searching.
    """

    stays: tuple[Stay, ...]
    slots: int
    seconds: float
    busy: float
    resumed: tuple[float, ...]


def make_timeline(
    trials: Sequence[TrialRecord], runs: Sequence[DriverRun], now: float
) -> Timeline | None:
    """Assign the attempts of trials to slots; None if nothing ran, or no run was noted.

    Args:
        trials: of a search or of a confirmation.
        runs: of the driver, in order.
        now: seconds since the epoch; running attempts are drawn up to here.
    """
    spans = [
        (attempt.at, *_end_of(trial, index, now), trial, attempt.number)
        for trial in trials
        for index, attempt in enumerate(trial.attempts)
    ]
    spans.sort(key=lambda span: span[0])
    if not spans or not runs:
        return None
    clock = _Clock(runs, [moment for span in spans for moment in (span[0], span[1])], now)
    free_at: list[float] = []
    stays = []
    for begin, end, outcome, trial, number in spans:
        start = clock.seconds(begin)
        # A training that was taken from an earlier confirmation may have ended before it.
        stop = max(start, clock.seconds(end))
        # The next start on a slot may come a moment after the end before it.
        slot = next((i for i, free in enumerate(free_at) if free <= start), len(free_at))
        free_at[slot : slot + 1] = [stop]
        stays.append(Stay(trial, number, slot, start, stop, outcome))
    used = sum(stay.end - stay.start for stay in stays)
    offered = sum(run.slots * length for run, length in zip(runs, clock.lengths, strict=True))
    return Timeline(
        stays=tuple(stays),
        slots=max(len(free_at), *(run.slots for run in runs)),
        seconds=sum(clock.lengths),
        busy=min(1.0, used / offered) if offered else 0.0,
        resumed=tuple(clock.offsets[1:]),
    )


class _Clock:
    """Seconds of searching: time passes only while a driver runs."""

    def __init__(self, runs: Sequence[DriverRun], moments: Sequence[float], now: float):
        self._starts = [run.at for run in runs]
        self.offsets: list[float] = []
        self.lengths: list[float] = []
        total = 0.0
        for index, run in enumerate(runs):
            following = runs[index + 1].at if index + 1 < len(runs) else now
            # After a kill no end is noted. Use the time of the last event instead.
            happened = [moment for moment in moments if run.at <= moment <= following]
            end = run.until or max(happened, default=run.at)
            self.offsets.append(total)
            self.lengths.append(max(0.0, end - run.at))
            total += self.lengths[-1]

    def seconds(self, moment: float) -> float:
        run = max((i for i, at in enumerate(self._starts) if at <= moment), default=0)
        passed = min(max(0.0, moment - self._starts[run]), self.lengths[run])
        return self.offsets[run] + passed


def _end_of(trial: TrialRecord, index: int, now: float) -> tuple[float, str]:
    """When an attempt ended, as far as is known, and how."""
    attempt = trial.attempts[index]
    is_last = index + 1 == len(trial.attempts)
    if is_last and trial.state == "running":
        return now, "running"
    failure = trial.failures.get(attempt.number)
    if failure is not None:
        return failure.at or attempt.at, "failed"
    if is_last and trial.state == "failed" and trial.ended_at is not None:
        return trial.ended_at, "failed"
    decisions = [d for d in trial.decisions if d.attempt == attempt.number]
    if not decisions:
        return attempt.at, "interrupted"
    outcome = _OUTCOMES.get(decisions[-1].verdict, "interrupted")
    step = trial.decisions.index(decisions[-1]) + 1
    if outcome == "paused" and any(each.rung == step for each in trial.attempts):
        outcome = "promoted"
    return decisions[-1].at, outcome
