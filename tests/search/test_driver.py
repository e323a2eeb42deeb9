"""The driver on simulated trials: what it runs, what it decides, what the study then says."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from minbert.tasks import TASK_NAMES
from minbert.weights import Weights
from search.driver import Driver, Job
from search.propose.earlier import trials_to_learn_from
from search.propose.spaces import load_space
from search.simulation import Happened
from search.storage.checkpoints import CheckpointStore
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from testkit.simulation import equal_scores, report_of, simulate

from .simulated import NOWHERE, by_number, finish, open_driver, plan_of, rows


def log(driver: Driver, happened: list[Happened]) -> list[str]:
    trials = driver.study.trials
    return [
        f"{one.trial}:{one.step} {trials[one.trial].decisions[one.step - 1].verdict}"
        for one in happened
    ]


def test_decisions_of_a_small_search_on_one_slot() -> None:
    driver = open_driver(InMemoryStorage(), trials=7, epochs=4, pruner="none")
    happened = finish(driver, by_number(0.5, 0.1, 0.6, 0.2, 0.9, 0.3, 0.4))
    # Rungs at reports 1 (7 trials, 2 places) and 3 (2 and the baseline, 1 place).
    assert log(driver, happened) == [
        *("0:1 continue", "0:2 continue", "0:3 continue", "0:4 finish"),
        "1:1 pause",
        # The best of three, the baseline among them, has a place at once. At report 3 it has to
        # wait: of the two there, so far, no place comes.
        *("2:1 promote", "2:2 continue", "2:3 pause"),
        "3:1 pause",
        "4:1 pause",
        # Six at the first rung: a second place, and trial 4 is the first of the two at the top.
        "5:1 pause",
        *("4:2 continue", "4:3 promote", "4:4 finish"),
        "6:1 pause",
    ]
    trials = driver.study.trials
    assert [trial.state for trial in trials] == [
        *("finished", "stopped", "stopped", "stopped", "finished", "stopped", "stopped")
    ]
    # Told in words, and ended as soon as no place can come free: 2 places of 7, and it is third.
    assert trials[2].decisions[0].reason == "rung 1: 1st of 2, the top 1 continues"
    assert trials[4].attempts[1].reason == "rung 1: 1st of 5, the top 2 continue"
    assert driver.record.winner is trials[4]


def test_finished_trials_are_told_with_the_score_they_keep() -> None:
    storage = InMemoryStorage()
    driver = open_driver(storage, trials=1, epochs=2)
    finish(driver, lambda trial, step: equal_scores(0.6 if step == 1 else 0.4))  # noqa: ARG005
    assert storage.get_trial(0).value == 0.6


def test_baseline_is_never_paused_and_comes_first() -> None:
    driver = open_driver(InMemoryStorage(), trials=9)
    happened = finish(driver, by_number(0.1, *[0.5] * 8), slots=2)
    assert happened[0].trial in (0, 1)
    baseline = driver.study.trials[0]
    assert (baseline.state, len(baseline.reports)) == ("finished", 9)
    assert {d.verdict for d in baseline.decisions} == {"continue", "finish"}


def test_a_finished_search_is_extended() -> None:
    storage = InMemoryStorage()
    first = open_driver(storage, trials=6)
    finish(first)
    before = rows(first)
    more = open_driver(storage, trials=12)
    finish(more)
    assert set(before) <= set(rows(more))
    assert len(more.study.trials) == 12


def test_sampler_learns_from_paused_trials() -> None:
    driver = open_driver(InMemoryStorage(), trials=27, sampler="tpe")
    finish(driver)
    origins = Counter(trial.origin for trial in driver.study.trials)
    # The recipe lies in the space, so it is one of the nine that TPE waits for.
    assert origins == {"recipe": 1, "random start": 8, "tpe": 18}
    assert driver.study.frozen(driver.study.trials[0]).params == {"lr": 2e-4}


@pytest.mark.parametrize(
    ("sampler", "origins"),
    [("tpe", {"tpe"}), ("recipe", {"random", "model of the scores"})],
)
def test_an_earlier_search_is_learnt_from(sampler: str, origins: set[str]) -> None:
    earlier = open_driver(InMemoryStorage(), trials=12)
    finish(earlier)
    space = load_space("lr")
    learnt = trials_to_learn_from(earlier.study, space, Weights(1, 0, 0), TASK_NAMES)
    assert len(learnt) == 12
    # Scored again, by the objective of the search that learns.
    winner = earlier.record.winner
    assert winner is not None
    assert winner.kept is not None
    assert max(t.value for t in learnt if t.value) == pytest.approx(winner.kept.scores["sst"])
    others = load_space("weights")
    assert trials_to_learn_from(earlier.study, others, Weights(1, 0, 0), TASK_NAMES) == []
    assert trials_to_learn_from(earlier.study, space, Weights(1, 0, 0), ["sst"]) == []
    driver = open_driver(InMemoryStorage(), trials=7, sampler=sampler)
    plan = replace(plan_of(driver), earlier=tuple(learnt))
    study = Study.create(InMemoryStorage(), "s", {})
    later = Driver(
        study,
        plan,
        driver.settings,
        CheckpointStore(NOWHERE),
        DevPredictions(NOWHERE),
    ).open()
    finish(later)
    assert {trial.origin for trial in later.study.trials[1:]} >= origins


def test_late_and_repeated_reports_change_nothing() -> None:
    driver = open_driver(InMemoryStorage(), trials=1)
    job = driver.next_job(busy=False)
    assert isinstance(job, Job)
    assert driver.reported(0, 1, report_of(job.trial, 1, equal_scores(0.5)), b"")
    driver.failed(0, 1, "crashed", "the worker died")
    assert isinstance(driver.next_job(busy=False), Job)
    before = rows(driver)
    # The first attempt's worker was not dead after all.
    assert not driver.reported(0, 1, report_of(job.trial, 2, equal_scores(0.9)), b"")
    # The second begins where there is a state, which may be before the last report.
    assert driver.reported(0, 2, report_of(job.trial, 1, equal_scores(0.7)), b"")
    assert rows(driver) == before
    assert driver.reported(0, 2, report_of(job.trial, 2, equal_scores(0.6)), b"")
    assert [report.score for report in job.trial.reports] == pytest.approx([0.5, 0.6])


def test_a_score_that_is_no_number_fails_the_trial_and_counts_at_the_rung() -> None:
    storage = InMemoryStorage()
    driver = open_driver(storage, trials=6, pruner="none")
    finish(driver, by_number(0.5, math.nan, 0.6, 0.2, 0.3, 0.4))
    nan = driver.study.trials[1]
    assert (nan.state, nan.error) == ("failed", "the score of report 1 is nan")
    assert storage.get_trial(1).state == TrialState.FAIL
    # Three came to the rung, so one of them went on.
    assert driver.study.trials[2].decisions[0].reason == "rung 1: 1st of 2, the top 1 continues"


def test_search_ends_at_its_target_and_can_be_resumed() -> None:
    storage = InMemoryStorage()
    driver = open_driver(storage, trials=9, target=0.55)
    simulate(driver, by_number(0.5, 0.6, 0.5), 1)
    assert driver.ended_because == "the target 0.55 is reached"
    driver.leave()
    states = [trial.state for trial in storage.get_all_trials(0)]
    assert TrialState.RUNNING not in states
    finish(open_driver(storage, trials=9))
    assert len(storage.get_all_trials(0)) == 9


def test_search_ends_when_patience_is_out() -> None:
    driver = open_driver(InMemoryStorage(), trials=30, patience=3, scheduler="none", epochs=1)
    simulate(driver, by_number(0.5, 0.4, 0.6, 0.1, 0.2, 0.3, 0.9), 1)
    assert driver.ended_because == "3 finished trials in a row did not score higher"
    assert len(driver.study.trials) == 6


def test_pruner_stops_beside_halving_and_the_record_says_which() -> None:
    driver = open_driver(
        InMemoryStorage(), trials=9, scheduler="none", pruner="percentile:percentile=50"
    )
    finish(driver, by_number(0.5, 0.6, 0.7, 0.8, 0.9, 0.1))
    low = driver.study.trials[5]
    assert (low.state, low.decisions[-1].verdict) == ("stopped", "prune")
    assert low.decisions[-1].reason == "pruner percentile:percentile=50: 0.100 at report 1"
    assert driver.study.trials[0].state == "finished"


def test_patient_pruner_looks_at_the_trials_own_curve() -> None:
    driver = open_driver(InMemoryStorage(), trials=2, scheduler="none", pruner="patient:patience=2")
    finish(driver, lambda trial, step: equal_scores(0.5 - 0.01 * step * trial.number))
    assert len(driver.study.trials[1].reports) == 4


def test_tries_come_after_the_recipe_and_are_points_of_the_space() -> None:
    driver = open_driver(
        InMemoryStorage(), space="weights", trials=3, try_=("loss_weights=.2/.3/.5",)
    )
    weighted = driver.study.trials[1]
    assert weighted.weights == pytest.approx({"sst": 0.2, "para": 0.3, "sts": 0.5})
    params = driver.study.frozen(weighted).params
    assert params == pytest.approx({"u": 0.64, "v": 0.375})
    finish(driver)
    assert not weighted.fixed
    assert len(driver.study.trials) == 3


def test_a_try_outside_of_a_range_is_run_though_the_sampler_cannot_learn_from_it() -> None:
    driver = open_driver(InMemoryStorage(), space="lr", trials=3, try_=("lr=1e-6",))
    slower = driver.study.trials[1]
    assert slower.config.lr == 1e-6
    assert driver.study.frozen(slower).params == {}
    finish(driver)
    assert len(driver.study.trials) == 3


def test_grid_goes_through_every_point_once_and_then_ends(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(
        "def space(trial):\n"
        "    fields = {'batch_size': trial.suggest_categorical('batch_size', [8, 16])}\n"
        "    if fields['batch_size'] == 8:\n"
        "        fields['para_hidden_layers'] = trial.suggest_int('para_hidden_layers', 0, 2)\n"
        "    return fields\n"
    )
    driver = open_driver(InMemoryStorage(), space=str(tmp_path / "s.py"), sampler="grid", trials=20)
    finish(driver)
    assert driver.record.planned == 5
    assert sorted(trial.name for trial in driver.study.trials[1:]) == [
        "batch_size=16",
        # The recipe has no hidden layers, and a name says what differs from it.
        "batch_size=8",
        "batch_size=8 para_hidden_layers=1",
        "batch_size=8 para_hidden_layers=2",
    ]


def test_qmc_goes_through_a_space_that_the_recipe_is_not_in(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(
        "def space(trial):\n"
        "    return {'lr': trial.suggest_float('lr', 1e-3, 1e-2),\n"
        "            'dropout': trial.suggest_float('dropout', 0.2, 0.4)}\n"
    )
    driver = open_driver(InMemoryStorage(), space=str(tmp_path / "s.py"), sampler="qmc", trials=9)
    finish(driver)
    drawn = driver.study.trials[1:]
    assert len({trial.config.lr for trial in drawn}) == 8
    # A sequence of low discrepancy: eight points lie in eight different eighths.
    eighths = {int((trial.config.dropout - 0.2) / 0.2 * 8) for trial in drawn}
    assert len(eighths) == 8


def test_a_fixed_list_takes_any_sampler() -> None:
    driver = open_driver(
        InMemoryStorage(), space="paper", epochs=None, reports_per_epoch=None, sampler="grid"
    )
    finish(driver)
    assert [trial.state for trial in driver.study.trials] == ["finished"] * 8


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_samplers_that_need_full_trials(sampler: str) -> None:
    driver = open_driver(InMemoryStorage(), sampler=sampler, scheduler="none", trials=14, epochs=1)
    finish(driver)
    origins = Counter(trial.origin for trial in driver.study.trials)
    # Where the sampler proposes what is known, a point is drawn at random in its place.
    assert origins[sampler] + origins["random"] == 10
    assert origins[sampler] > 0
    assert len({trial.config.effective() for trial in driver.study.trials}) == 14
