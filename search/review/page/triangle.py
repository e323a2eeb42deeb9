"""The weight triangle: for every weighting of three tasks, the checkpoint that scores highest."""

from collections.abc import Sequence
from dataclasses import dataclass

from minbert.report import Report
from minbert.tasks import TASK_NAMES
from search.analysis.pareto import ParetoFront, Point
from search.record import TrialRecord, reports_in_order

# A point of the simplex: weights of sst, para and sts that add up to 1.
Corner = tuple[float, float, float]

_WHOLE: tuple[Corner, ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
# Rounding errors of scores and weights are well below this.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Region:
    """The weightings for which one checkpoint scores highest.

    Attributes:
        corners: of the region, a convex polygon, in order.
    """

    trial: TrialRecord
    report: Report
    corners: tuple[Corner, ...]

    @property
    def share(self) -> float:
        """Share of all weightings, from 0 to 1."""
        twice = sum(
            self.corners[index - 1][0] * corner[1] - corner[0] * self.corners[index - 1][1]
            for index, corner in enumerate(self.corners)
        )
        return abs(twice)


def regions(trials: Sequence[TrialRecord]) -> list[Region]:
    """Divide the simplex among the checkpoints of all reports, largest region first.

    A score is linear in the weights, so one checkpoint beats another on a half-plane. It beats all
    others on what is left of the triangle after a cut for each of them.

    Returns:
        Regions that cover the simplex; empty if the trials were not scored on three tasks.
    """
    front = ParetoFront(limit=2**31)
    for trial, report in reports_in_order(trials):
        if len(report.scores) < len(TASK_NAMES):
            return []
        front.offer(Point(trial.number, report.step, report.scores))
    scores = {point.key: [point.scores[task] for task in TASK_NAMES] for point in front.points}
    # Checkpoints with high scores cut off most, so they come first.
    keys = sorted(scores, key=lambda key: -sum(scores[key]))
    found = []
    for key in keys:
        corners = _WHOLE
        for other in keys:
            if other != key:
                lead = [a - b for a, b in zip(scores[key], scores[other], strict=True)]
                corners = _cut(corners, lead)
            if not corners:
                break
        trial = trials[key[0]]
        region = Region(trial, trial.reports[key[1] - 1], corners)
        if region.share > _NOTHING:
            found.append(region)
    return sorted(found, key=lambda region: -region.share)


def _cut(corners: tuple[Corner, ...], lead: Sequence[float]) -> tuple[Corner, ...]:
    """The part of a polygon where the weighted lead is not negative (Sutherland, Hodgman)."""
    left: list[Corner] = []
    leads = [sum(w * d for w, d in zip(corner, lead, strict=True)) for corner in corners]
    for index, (corner, here) in enumerate(zip(corners, leads, strict=True)):
        before, there = corners[index - 1], leads[index - 1]
        if (here > _NOTHING and there < -_NOTHING) or (here < -_NOTHING and there > _NOTHING):
            share = there / (there - here)
            a, b, c = (p + share * (q - p) for p, q in zip(before, corner, strict=True))
            left.append((a, b, c))
        if here >= -_NOTHING:
            left.append(corner)
    return tuple(left)
