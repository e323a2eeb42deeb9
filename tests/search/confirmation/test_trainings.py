"""What a confirmation trains, as a function of its plan and its trials."""

from search.confirmation.trainings import (
    Training,
    finalists_of,
    most_trainings,
    next_confirmation,
    race_of,
    seeds_for,
)
from search.inputs import Fold
from search.record import SearchRecord

from .made import all_trainings, make_plan, make_trial


def test_the_best_rival_of_the_race_is_judged_beside_the_recipe_in_pairs() -> None:
    trainings, _ = all_trainings(make_plan(), race=[0.6, 0.5, 0.7])
    assert trainings == [
        Training("race", 0, 100),
        Training("race", 4, 100),
        Training("race", 2, 100),
        Training("judge", 0, 101, Fold(0, 5)),
        Training("judge", 2, 101, Fold(0, 5)),
        Training("judge", 0, 102, Fold(1, 5)),
        Training("judge", 2, 102, Fold(1, 5)),
        Training("judge", 0, 103, Fold(2, 5)),
        Training("judge", 2, 103, Fold(2, 5)),
    ]


def test_a_single_rival_is_judged_without_a_race() -> None:
    trainings, trials = all_trainings(make_plan([0, 4]))
    assert trainings == [
        Training("judge", of, seed, Fold(seed - 101, 5))
        for seed in (101, 102, 103)
        for of in (0, 4)
    ]
    assert len(trials) == make_plan([0, 4]).trainings == most_trainings(1, 3) == 6
    # The same pairs as after a race.
    raced, _ = all_trainings(make_plan([0, 4, 2]), race=[0.5, 0.6, 0.4])
    assert raced[3:] == trainings
    assert len(raced) == most_trainings(2, 3) == 9


def test_a_plan_with_a_race_of_one_rival_has_that_race() -> None:
    plan = make_plan([0, 4]).replace(race_seed=100)
    trainings, _ = all_trainings(plan, race=[0.5, 0.6])
    assert trainings[:2] == [Training("race", 0, 100), Training("race", 4, 100)]
    assert len(trainings) == plan.trainings == 8
    assert len(all_trainings(plan, race=[0.6, 0.5])[0]) == 2


def test_a_second_round_judges_by_the_same_folds_with_other_seeds() -> None:
    trainings, _ = all_trainings(make_plan([0, 1], seeds=7))
    judged = [(each.seed, each.judge) for each in trainings if each.judge and each.of]
    folds = [(101, 0), (102, 1), (103, 2), (104, 3), (105, 4), (106, 0), (107, 1)]
    assert judged == [(seed, Fold(number, 5)) for seed, number in folds]


def test_labelled_test_files_judge_all_pairs() -> None:
    trainings, _ = all_trainings(make_plan([0, 1], judge="test"))
    assert trainings == [
        Training("judge", of, seed, "test") for seed in (101, 102, 103) for of in (0, 1)
    ]
    assert trainings[1].name == "trial 1, seed 101, test"


def test_a_recipe_that_leads_the_race_or_ties_ends_the_confirmation() -> None:
    for race in ([0.7, 0.6, 0.5], [0.6, 0.6, 0.5]):
        trainings, trials = all_trainings(make_plan(), race)
        assert len(trainings) == 3
        race_over = race_of(make_plan(), trials)
        assert race_over is not None
        assert race_over.rival is None


def test_nothing_is_judged_before_the_race_is_over() -> None:
    plan, trials = make_plan(), [make_trial(0), make_trial(1), make_trial(2, state="running")]
    assert next_confirmation(plan, trials) == "wait"
    assert race_of(plan, trials) is None


def test_a_rival_that_failed_in_the_race_drops_out_and_the_recipe_cannot() -> None:
    plan = make_plan()
    trials = [make_trial(0, 0.5), make_trial(1, 0.9, "failed"), make_trial(2, 0.6)]
    assert next_confirmation(plan, trials) == Training("judge", 0, 101, Fold(0, 5))
    race = race_of(plan, trials)
    assert race is not None
    assert race.rival == 2
    for failed in ([0], [1, 2]):
        states = ["failed" if number in failed else "finished" for number in range(3)]
        trials = [make_trial(n, 0.5 + n / 10, state) for n, state in enumerate(states)]  # type: ignore[arg-type]
        race = race_of(plan, trials)
        assert race is not None
        assert race.is_void
        assert next_confirmation(plan, trials) == "done"


def test_nothing_more_is_trained_after_a_judged_training_failed() -> None:
    trials = [make_trial(0, 0.5), make_trial(1, 0.6), make_trial(2, 0.4)]
    trials += [make_trial(3), make_trial(4, state="failed")]
    assert next_confirmation(make_plan(), trials) == "done"


def test_finalists_are_the_recipe_and_the_best_of_those_that_did_not_fail() -> None:
    trials = [make_trial(0, 0.9), make_trial(1, 0.3), make_trial(2, 0.6), make_trial(3, 0.5)]
    trials.append(make_trial(4, state="failed"))
    found = finalists_of(SearchRecord(5, trials), 2)
    assert [trial.number for trial in found] == [0, 2, 3]


def test_no_seed_of_a_confirmation_is_that_of_the_search() -> None:
    race, judge = seeds_for(0, rivals=3, pairs=4)
    assert (race, judge) == seeds_for(7, rivals=3, pairs=4)
    assert len({race, *judge}) == 5
    for taken in (race, judge[1]):
        assert taken is not None
        other_race, other = seeds_for(taken, rivals=3, pairs=4)
        assert taken not in (other_race, *other)
        assert len({other_race, *other}) == 5
    # The pairs of a single rival have the same seeds, so that others can take their trainings.
    assert seeds_for(0, rivals=1, pairs=4) == (None, judge)
