"""What every scheduler of the table keeps to, whatever else it does."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from minbert.tasks import Task
from search.driver import Driver
from search.record import TrialRecord
from search.schedule.base import Scheduler
from search.schedule.table import SCHEDULERS, make_scheduler
from search.settings import StudySettings
from search.storage.study import Study
from testkit.simulation import equal_scores, report_of, simulate
from tests.search.simulated import by_number, finish, hashed, open_driver, rows

# The curves of a search: for each trial by number, in turn, the scores of its reports, in turn.
scores = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
curves = st.lists(st.lists(scores | st.just(math.nan), min_size=1, max_size=9), min_size=1)
searches = st.fixed_dictionaries(
    {
        "trials": st.integers(1, 16),
        "epochs": st.sampled_from([1, 4, 9]),
        "grace_period": st.just(1),
        "reduction_factor": st.integers(2, 3),
        "pruner": st.sampled_from(["none", "median"]),
        "sampler": st.just("random"),
    }
)
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


def curve_of(values: list[list[float]]) -> Any:
    def curve(trial: TrialRecord, step: int) -> dict[Task, float]:
        own = values[trial.number % len(values)]
        return equal_scores(own[(step - 1) % len(own)])

    return curve


def rebuilt(driver: Driver, storage: BaseStorage) -> tuple[Scheduler, Study]:
    """The driver's scheduler as it is made from what the storage holds."""
    study = Study.load(storage, "s")
    settings, plan = driver.settings, driver.plan
    name, planned = settings.scheduler, driver.record.planned
    return make_scheduler(settings, name, study, plan.most_reports, planned), study


def verdicts(scheduler: Scheduler, study: Study) -> dict[str, Any]:
    """Everything that a scheduler can be asked as its study stands."""
    promoted = scheduler.promotable()
    steps = range(1, 10)
    going = [t for t in study.trials if not t.is_over and not t.fixed and t.attempts]
    coming = [
        (trial, report_of(trial, len(trial.reports) + 1, equal_scores(score)))
        for trial in going
        if len(trial.reports) < trial.total_reports - 1
        for score in (0.15, 0.35, 0.55)
    ]
    return {
        "promotable": promoted and (promoted.trial.number, promoted.step, promoted.reason),
        "pauses": [scheduler.pause_steps(trial) for trial in study.trials],
        "hopeless": [[(t.number, why) for t, why in scheduler.hopeless(step)] for step in steps],
        "verdicts": [(t.number, scheduler.verdict(t, report)) for t, report in coming],
    }


@every_scheduler
@given(searches, curves, st.integers(1, 3), st.integers(0, 60))
def test_it_is_a_function_of_the_record(
    name: str, options: dict[str, Any], values: list[list[float]], slots: int, most: int
) -> None:
    storage = InMemoryStorage()
    driver = open_driver(storage, scheduler=name, **options)
    for _ in range(2):
        live = verdicts(driver._scheduler, driver.study)
        again = verdicts(*rebuilt(driver, storage))
        assert again == live
        # Asking changes nothing.
        assert verdicts(driver._scheduler, driver.study) == live
        simulate(driver, curve_of(values), slots, most=most)


@every_scheduler
@given(searches, curves, st.integers(1, 3))
def test_every_trial_ends(
    name: str, options: dict[str, Any], values: list[list[float]], slots: int
) -> None:
    driver = open_driver(InMemoryStorage(), scheduler=name, **options)
    simulate(driver, curve_of(values), slots)
    assert driver.record.left == 0
    for trial in driver.study.trials:
        pauses = driver._scheduler.pause_steps(trial)
        for step, decision in enumerate(trial.decisions, start=1):
            assert decision.verdict not in ("pause", "promote") or step in pauses
            assert decision.verdict == "continue" or decision.reason
        if trial.fixed:
            assert pauses == ()
            assert {d.verdict for d in trial.decisions} <= {"continue", "finish", "fail"}
        if not all(math.isfinite(report.score) for report in trial.reports):
            # It is never promoted, and never continues in another way.
            assert (trial.state, trial.decisions[-1].verdict) == ("failed", "fail")
            assert trial.attempts[-1].number == trial.decisions[-1].attempt
        elif not SCHEDULERS[name].ends_trials and driver.settings.pruner == "none":
            assert (trial.state, len(trial.reports)) == ("finished", trial.total_reports)


@every_scheduler
@given(cut=st.integers(0, 45))
def test_a_search_that_was_left_continues_as_it_would_have(name: str, cut: int) -> None:
    whole = open_driver(InMemoryStorage(), trials=9, scheduler=name)
    finish(whole)
    storage = InMemoryStorage()
    # As a kill leaves it: the study was not told that the driver ended.
    simulate(open_driver(storage, trials=9, scheduler=name), hashed, 1, most=cut)
    resumed = open_driver(storage, trials=9, scheduler=name)
    finish(resumed)
    assert rows(resumed) == rows(whole)
    assert resumed.pareto_front.points == whole.pareto_front.points


@every_scheduler
def test_every_trial_ends_in_optunas_terms_too(name: str) -> None:
    storage = InMemoryStorage()
    driver = open_driver(storage, trials=27, scheduler=name)
    finish(driver, slots=3)
    told = storage.get_all_trials(0)
    counts = Counter(trial.state for trial in told)
    assert counts[TrialState.RUNNING] == counts[TrialState.WAITING] == 0
    assert counts[TrialState.COMPLETE] >= 1
    assert (counts[TrialState.PRUNED] > 15) == SCHEDULERS[name].ends_trials
    for trial, mine in zip(told, driver.study.trials, strict=True):
        assert trial.intermediate_values == {r.step: r.score for r in mine.reports}
        if trial.state == TrialState.PRUNED:
            assert trial.value == mine.reports[-1].score
        if trial.state == TrialState.COMPLETE:
            assert trial.value == mine.score
            assert len(mine.reports) == 9


@every_scheduler
@pytest.mark.parametrize("trials", [1, 2])
def test_where_there_is_nothing_to_choose_all_are_trained(name: str, trials: int) -> None:
    driver = open_driver(InMemoryStorage(), trials=trials, scheduler=name)
    finish(driver)
    assert [t.state for t in driver.study.trials] == ["finished"] * trials


@every_scheduler
def test_a_fixed_list_is_trained_whole(name: str) -> None:
    list_of_the_paper: dict[str, Any] = {"space": "paper", "epochs": None}
    driver = open_driver(
        InMemoryStorage(), scheduler=name, reports_per_epoch=None, **list_of_the_paper
    )
    finish(driver, by_number(0.9, 0.1, 0.2, 0.3), slots=2)
    assert [trial.state for trial in driver.study.trials] == ["finished"] * 8


@every_scheduler
def test_its_options_are_settings(name: str) -> None:
    assert set(SCHEDULERS[name].options) <= set(StudySettings.model_fields)
    assert StudySettings.check({"scheduler": name}).scheduler == name
