"""Which models to keep for score weights that someone may ask for later.

A checkpoint is on the Pareto front if no other checkpoint dominates it, that is, equals or exceeds
it on every task. For any score weights, the best model is on the Pareto front.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minbert.tasks import TASK_NAMES, Task

# Weightings over which the loss of a point is summed: 231 for three tasks.
_STEPS = 20


@dataclass(frozen=True)
class Point:
    """A checkpoint by trial and step, with its dev scores."""

    trial: int
    step: int
    scores: dict[Task, float]

    @property
    def key(self) -> tuple[int, int]:
        return self.trial, self.step


@functools.cache
def simplex(tasks: int, steps: int = _STEPS) -> np.ndarray:
    """All weightings (n, tasks) whose weights are multiples of 1/steps and add up to 1."""
    counts = [
        count for count in itertools.product(range(steps + 1), repeat=tasks) if sum(count) == steps
    ]
    weightings = np.array(counts, dtype=np.float64) / steps
    weightings.flags.writeable = False
    return weightings


class ParetoFront:
    """The Pareto front of the points offered so far, up to a limit.

    The order of the points matters once the limit is reached, so a front is rebuilt by offering the
    study's reports in the order of the record.

    Attributes:
        points: the points on the front, in the order in which they were offered.
        dropped: keys of points that were removed from the front because of the limit.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self.points: list[Point] = []
        self.dropped: list[tuple[int, int]] = []

    def offer(self, point: Point) -> list[tuple[int, int]]:
        """Add the point unless another one dominates it, and remove those that it dominates.

        Returns:
            Keys of the removed points; may include this one, because of the limit.
        """
        if any(_covers(other, point) for other in self.points):
            return []
        gone = [other.key for other in self.points if _covers(point, other)]
        self.points = [other for other in self.points if other.key not in gone]
        self.points.append(point)
        while len(self.points) > self._limit:
            self.dropped.append(self.points.pop(cheapest(self.points)).key)
            gone.append(self.dropped[-1])
        return gone

    @property
    def keys(self) -> set[tuple[int, int]]:
        return {point.key for point in self.points}


def _covers(one: Point, other: Point) -> bool:
    """At least as good on every task."""
    return all(one.scores[task] >= score for task, score in other.scores.items())


def cheapest(points: Sequence[Point]) -> int:
    """Index of the point whose removal costs least, as the score lost, summed over all weightings.

    Of equal points, the one with the lowest mean score, then the latest.
    """
    tasks = [task for task in TASK_NAMES if task in points[0].scores]
    scores = np.array([[point.scores[task] for task in tasks] for point in points])  # (P, T)
    values = simplex(len(tasks)) @ scores.T  # (weightings, P)
    best = values.argmax(axis=1)
    two_best = np.sort(values, axis=1)[:, -2:]
    costs = np.zeros(len(points))
    np.add.at(costs, best, two_best[:, 1] - two_best[:, 0])
    ranked = [(cost, scores[i].mean(), -i) for i, cost in enumerate(costs)]
    return ranked.index(min(ranked))
