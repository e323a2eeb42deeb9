"""Regions of the triangle of loss weights."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.weights import Weights, weighted_score
from search.analysis.weighting import rank
from search.review.page.triangle import regions
from tests.search.review.test_review import report, trial

scores = st.floats(0, 1).map(lambda value: round(value, 2))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(scores, scores, scores), min_size=1, max_size=8), st.integers(0, 2**32 - 1)
)
def test_regions_cover_the_simplex_and_name_the_highest(points: Any, seed: int) -> None:
    trials = [trial(number, [report(1, *each)]) for number, each in enumerate(points)]
    for number, each in enumerate(trials):
        each.decisions[0] = each.decisions[0].replace(order=number)
    divided = regions(trials)
    assert sum(region.share for region in divided) == pytest.approx(1, abs=1e-6)
    for drawn in np.random.default_rng(seed).dirichlet([1, 1, 1], size=20):
        weights = Weights(*drawn)
        highest = rank(trials, weights)[0].score
        inside = [region for region in divided if _contains(region.corners, weights)]
        assert inside
        for region in inside:
            score = weighted_score(region.report.scores, weights)
            assert score == pytest.approx(highest, abs=1e-6)


def _contains(corners: Any, weights: Weights) -> bool:
    sides = []
    for index, (x, y, _) in enumerate(corners):
        before_x, before_y, _ = corners[index - 1]
        sides.append((x - before_x) * (weights[1] - y) - (y - before_y) * (weights[0] - x))
    return bool(min(sides) >= -1e-9 or max(sides) <= 1e-9)


def test_regions_worked_out_by_hand() -> None:
    # On sst the first leads by .2, on para the second by .2, on sts they are equal.
    trials = [trial(0, [report(1, 0.8, 0.6, 0.5)]), trial(1, [report(1, 0.6, 0.8, 0.5)])]
    first, second = regions(trials)
    assert {first.trial.number, second.trial.number} == {0, 1}
    assert [first.share, second.share] == pytest.approx([0.5, 0.5])
    middle = (0.5, 0.5, 0.0)
    assert any(corner == pytest.approx(middle) for corner in first.corners)
