"""Successive halving: values worked out by hand, and what holds for any order of reports."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.schedule.rung import Rung, plan_rungs

scores = st.floats(0, 1) | st.just(math.nan)


@pytest.mark.parametrize(
    ("first", "last", "trials", "fixed", "rungs"),
    [
        # 27 come to report 1, 9 to report 3, 3 to report 9; one is trained to report 27.
        (1, 27, 27, 0, {1: 27, 3: 9, 9: 3}),
        # The baseline comes along everywhere: (27 + 1) / 3 = 9 and (9 + 1) / 3 = 3 continue.
        (1, 27, 28, 1, {1: 28, 3: 10, 9: 4}),
        # No rung at the last report: the trial is over there.
        (1, 3, 27, 0, {1: 27}),
        (2, 9, 9, 0, {2: 9, 6: 3}),
        # Of two trials, or of three with the baseline and one place for two, who would decide?
        (1, 9, 2, 0, {}),
        (1, 9, 2, 1, {}),
        (1, 9, 3, 1, {1: 3}),
        (1, 9, 8, 8, {}),
    ],
)
def test_rungs(first: int, last: int, trials: int, fixed: int, rungs: dict[int, int]) -> None:
    assert plan_rungs(first, 3, last, trials, fixed) == rungs


def test_best_of_the_top_third_is_promoted_until_its_places_are_taken() -> None:
    seven = {0: 0.5, 1: 0.9, 2: 0.7, 3: 0.8, 4: 0.1, 5: 0.2, 6: 0.3}
    assert Rung({0: 0.5, 1: 0.9}, 3).promotable() is None
    assert Rung(seven, 3).promotable() == 1
    assert Rung(seven, 3, continued={1}).promotable() == 3
    assert Rung(seven, 3, continued={1, 3}).promotable() is None
    # Trial 2 went on when it was among the best; its place is taken though it would not be now.
    assert Rung(seven, 3, continued={1, 2}).promotable() is None


def test_what_failed_keeps_its_rank_and_is_not_promoted() -> None:
    seven = {0: 0.5, 1: 0.9, 2: 0.7, 3: 0.8, 4: 0.1, 5: 0.2, 6: 0.3}
    assert Rung(seven, 3, over={1}).promotable() == 3
    assert Rung(seven, 3, over={1, 3}).promotable() is None


def test_fixed_trials_count_but_take_no_place() -> None:
    three = {0: 0.9, 1: 0.5, 2: 0.6}
    assert Rung(three, 3, fixed={0}).promotable() == 2
    assert Rung(three, 3, fixed={0}).standing(1) == "2nd of 2, the top 1 continues"
    assert Rung({1: 0.5, 2: 0.6}, 3).promotable() is None


def test_of_equal_scores_the_lower_number_goes_on() -> None:
    assert Rung({2: 0.5, 0: 0.5, 1: 0.5}, 3).promotable() == 0


def test_nan_is_the_lowest_score() -> None:
    rung = Rung({0: math.nan, 1: 0.1, 2: math.nan}, 3)
    assert rung.ranking == [1, 0, 2]
    assert rung.promotable() == 1
    assert not rung.continues_at_once(0)


def test_a_paused_trial_is_hopeless_once_too_many_are_above_it() -> None:
    rung = Rung({0: 0.4, 1: 0.5, 2: 0.6}, 3)
    # Of 6 trials at most 2 continue; trial 0 is third already.
    assert rung.hopeless(6) == [0]
    assert rung.hopeless(9) == []


def test_stopping_rule_lets_the_first_ones_go_on() -> None:
    assert Rung({0: 0.1}, 3).continues_at_once(0)
    assert Rung({0: 0.1, 1: 0.2}, 3).continues_at_once(1)
    assert not Rung({0: 0.2, 1: 0.1}, 3).continues_at_once(1)
    # As good as the best is good enough, whichever came first.
    assert Rung({0: 0.2, 1: 0.2}, 3).continues_at_once(1)
    six = {0: 0.6, 1: 0.5, 2: 0.4, 3: 0.3, 4: 0.2, 5: 0.1}
    assert [Rung(six, 3).continues_at_once(number) for number in six] == [True, True] + [False] * 4


def test_standing_in_words() -> None:
    rung = Rung({number: -float(number) for number in range(12)}, 3)
    assert rung.standing(0) == "1st of 12, the top 4 continue"
    assert rung.standing(10) == "11th of 12, the top 4 continue"


@given(st.lists(scores, max_size=40), st.integers(2, 5), st.randoms(use_true_random=False))
def test_never_more_than_a_share_is_promoted_and_always_from_the_top(
    arriving: list[float], factor: int, chance: random.Random
) -> None:
    known: dict[int, float] = {}
    continued: set[int] = set()
    for number, score in enumerate(arriving):
        known[number] = score
        while chance.random() < 0.7:
            rung = Rung(dict(known), factor, continued=set(continued))
            promoted = rung.promotable()
            if promoted is None:
                break
            above = [other for other in known if not known[other] <= known[promoted]]
            above = [other for other in above if not math.isnan(known[other])]
            if not math.isnan(score) and not math.isnan(known[promoted]):
                assert len(above) < len(known) // factor
            assert promoted not in continued
            continued.add(promoted)
        assert len(continued) <= len(known) // factor


@given(st.dictionaries(st.integers(0, 30), scores, max_size=20), st.integers(2, 5), st.data())
def test_order_of_the_reports_does_not_matter(
    known: dict[int, float], factor: int, data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(known.items()))))
    assert Rung(known, factor).promotable() == Rung(shuffled, factor).promotable()
    assert Rung(known, factor).ranking == Rung(shuffled, factor).ranking


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(2, 4), st.integers(0, 29))
def test_hopeless_trials_would_never_have_been_promoted(
    arriving: list[float], factor: int, seen: int
) -> None:
    seen = min(seen, len(arriving))
    early = Rung(dict(enumerate(arriving[:seen])), factor)
    given_up = set(early.hopeless(len(arriving)))
    continued: set[int] = set()
    for count in range(seen, len(arriving) + 1):
        rung = Rung(dict(enumerate(arriving[:count])), factor, continued=continued)
        while (promoted := rung.promotable()) is not None:
            continued.add(promoted)
            rung = Rung(rung.scores, factor, continued=continued)
    assert not given_up & continued
