"""Intervals of a confirmation by hand, by simulation, and in words."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.analysis.verdict import (
    Interval,
    detectable,
    in_words,
    interval_of,
    part_shared,
    shared_by_examples,
)


def test_an_interval_by_hand() -> None:
    # Mean 2, standard deviation 1; Student's t with 2 degrees of freedom is 4.3027 at .975.
    found = interval_of([0.01, 0.02, 0.03])
    assert found.mean == pytest.approx(0.02)
    assert found.half_width == pytest.approx(0.043027 / math.sqrt(3), rel=1e-4)
    assert found.finding == "not shown"
    # Five differences with the same spread: t is 2.7764.
    five = interval_of([0.01, 0.02, 0.03, 0.02, 0.02])
    spread = math.sqrt(0.0002 / 4)
    assert five.half_width == pytest.approx(2.7764 * spread / math.sqrt(5), rel=1e-4)
    assert five.finding == "better"
    assert interval_of([-0.01, -0.02, -0.03, -0.02, -0.02]).finding == "worse"


def test_what_examples_share_widens_the_interval() -> None:
    # With two seeds, B1 = a + b and B2 = a / 2 + b leave b = B2 - (B1 - B2).
    assert shared_by_examples(one=5.0, mean=3.0, seeds=2) == 1.0
    assert shared_by_examples(one=5.0, mean=1.0, seeds=5) == 0.0
    plain = interval_of([0.01, 0.02, 0.03])
    wider = interval_of([0.01, 0.02, 0.03], shared_variance=1e-4)
    assert wider.half_width == pytest.approx(math.hypot(plain.half_width, 1.959964 * 0.01))
    assert wider.detectable > plain.detectable


def test_what_pairs_share_completes_the_variance_of_their_mean() -> None:
    assert part_shared(1, 7) == 0
    assert part_shared(7, 7) == 1
    draw = np.random.default_rng(0)
    folds = np.arange(7) % 5
    of_fold = 0.8 * draw.standard_normal((40_000, 5))
    differences = of_fold[:, folds] + draw.standard_normal((40_000, 7))
    estimated = differences.var(axis=1, ddof=1).mean() / 7
    missing = 0.8**2 * sum(part_shared(int(count), 7) for count in np.bincount(folds))
    assert differences.mean(axis=1).var() == pytest.approx(estimated + missing, rel=0.02)
    assert missing > 0.2 * estimated


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_detectable_difference_is_found_in_4_of_5_cases(seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    cases = detectable(1.0, seeds) + draw.standard_normal((4000, seeds))
    found = [interval_of(case).finding == "better" for case in cases]
    assert np.mean(found) == pytest.approx(0.8, abs=0.025)


def test_of_equal_configurations_one_in_40_is_called_better() -> None:
    draw = np.random.default_rng(0)
    found = [interval_of(case).finding for case in draw.standard_normal((8000, 5))]
    assert found.count("better") / 8000 == pytest.approx(0.025, abs=0.006)
    assert found.count("worse") / 8000 == pytest.approx(0.025, abs=0.006)


def test_fewer_than_three_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 3 differences or more, not 2"):
        interval_of([0.1, 0.2])


def test_the_words() -> None:
    better = Interval(mean=0.014, half_width=0.011, seeds=5, detectable=0.016)
    assert in_words(better, 32_845) == (
        "Better than the recipe: trained this way it scores 1.4 points more on average (95 % "
        "interval 0.3 to 2.5), over 5 training seeds, on 32,845 examples that played no part in "
        "choosing it."
    )
    unclear = Interval(mean=0.004, half_width=0.011, seeds=5, detectable=0.015)
    assert in_words(unclear, 900) == (
        "Not shown to be better. The difference is +0.4 points (−0.7 to +1.5). A difference of 1.5 "
        "points would have been shown in 4 of 5 cases."
    )
    worse = Interval(mean=-0.014, half_width=0.011, seeds=5, detectable=0.016)
    assert in_words(worse, 900).startswith(
        "Worse than the recipe: trained this way it scores 1.4 points less on average (95 % "
        "interval 0.3 to 2.5), over 5"
    )


@given(mean=st.floats(-0.1, 0.1), half_width=st.floats(0, 0.1))
def test_the_word_better_agrees_with_the_numbers_shown(mean: float, half_width: float) -> None:
    words = in_words(Interval(mean, half_width, 5, 0.01), 100)
    assert words.startswith("Better") == (mean - half_width > 0)
    assert words.startswith("Worse") == (mean + half_width < 0)
    assert "-" not in words
