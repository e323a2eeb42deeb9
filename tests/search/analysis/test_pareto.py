"""The Pareto front: what is on it, and what is dropped when there are too many points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbert.tasks import Task
from search.analysis.pareto import ParetoFront, Point, cheapest, simplex

values = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])


def point(number: int, sst: float, para: float, sts: float) -> Point:
    scores: dict[Task, float] = {"sst": sst, "para": para, "sts": sts}
    return Point(number, 1, scores)


def test_a_point_that_another_beats_on_all_tasks_is_not_on_it() -> None:
    front = ParetoFront(9)
    for one in (
        point(0, 0.5, 0.5, 0.5),
        point(1, 0.6, 0.4, 0.5),
        point(2, 0.5, 0.4, 0.5),
        point(3, 0.5, 0.5, 0.5),
        point(4, 0.5, 0.6, 0.5),
    ):
        front.offer(one)
    # 2 is beaten by 0, 3 equals 0 and came later, 4 beats 0.
    assert [one.trial for one in front.points] == [1, 4]
    assert front.dropped == []


def test_over_the_limit_the_point_that_costs_least_goes() -> None:
    front = ParetoFront(3)
    corners = [point(0, 0.9, 0.1, 0.1), point(1, 0.1, 0.9, 0.1), point(2, 0.1, 0.1, 0.9)]
    # In the middle of the triangle it is the best by a little: (.37 − .367).
    for one in (*corners, point(3, 0.37, 0.37, 0.37)):
        front.offer(one)
    assert [one.trial for one in front.points] == [0, 1, 2]
    assert front.dropped == [(3, 1)]


def test_a_point_that_wins_under_no_weights_costs_nothing() -> None:
    # On the line between the other two, below it: no weighting prefers it.
    points = [point(0, 0.8, 0.2, 0.5), point(1, 0.2, 0.8, 0.5), point(2, 0.49, 0.49, 0.5)]
    assert cheapest(points) == 2


def test_simplex_is_a_triangle_of_weights() -> None:
    weights = simplex(3, 20)
    assert weights.shape == (231, 3)
    assert weights.sum(axis=1) == pytest.approx(1)
    assert len(np.unique(weights, axis=0)) == 231
    assert simplex(1).tolist() == [[1.0]]


@given(st.lists(st.tuples(values, values, values), max_size=25))
def test_front_has_the_best_point_for_every_weighting(offered: list[tuple[float, ...]]) -> None:
    front = ParetoFront(1000)
    points = [point(number, *scores) for number, scores in enumerate(offered)]
    for one in points:
        front.offer(one)
    tasks: tuple[Task, ...] = ("sst", "para", "sts")
    for weights in simplex(3, 5):
        if points:
            best_kept, best = (
                max(weights @ [one.scores[task] for task in tasks] for one in some)
                for some in (front.points, points)
            )
            assert best_kept == pytest.approx(best)


@given(st.lists(st.tuples(values, values, values), max_size=25), st.integers(1, 5))
def test_limit_is_kept(offered: list[tuple[float, ...]], limit: int) -> None:
    front = ParetoFront(limit)
    for number, scores in enumerate(offered):
        front.offer(point(number, *scores))
        assert len(front.points) <= limit
    assert not set(front.dropped) & front.keys
