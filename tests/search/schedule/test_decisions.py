"""Decisions from what is kept in order are those of looking at all trials each time."""

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.config import InputSettings
from minbert.tasks import TASK_NAMES, Task
from search.driver import Driver, Job
from search.failures import FailureKind
from search.live_record import LiveRecord
from search.ordered import percentile
from search.plan import make_plan
from search.propose.modelled import Modelled
from search.propose.spaces import load_space
from search.record import SearchRecord, State
from search.retention import Retention
from search.schedule.pruning import Pruning
from search.schedule.rung import Rung
from search.schedule.table import make_scheduler
from search.settings import StudySettings
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from testkit.simulation import PaperDirectory, report_of, save_on_paper

from .looking_driver import LookingDriver, LookingPruning, LookingRung

NOWHERE = LocalDirectory(Path("/nonexistent"))
STATES: tuple[State, ...] = get_args(State)
ALIVE: tuple[State, ...] = ("running", "finished", "stopped", "interrupted", "paused")

# Few, so that many are equal.
task_scores = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -0.0, math.nan])
good_scores = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
which = st.integers(0, 30)
events = st.one_of(
    st.just(("next",)),
    st.tuples(st.just("report"), which, st.tuples(good_scores, good_scores, good_scores)),
    st.tuples(st.just("report"), which, st.tuples(good_scores, good_scores, good_scores)),
    st.tuples(st.just("report"), which, st.tuples(task_scores, task_scores, task_scores)),
    st.tuples(st.just("repeat"), which, which),
    st.tuples(st.just("fail"), which, st.sampled_from(get_args(FailureKind))),
    st.tuples(st.just("resume"), st.booleans()),
    st.tuples(st.just("leave")),
    st.tuples(st.just("disk"), st.booleans()),
)
searches = st.fixed_dictionaries(
    {
        "trials": st.integers(1, 20),
        "reduction_factor": st.integers(2, 3),
        "scheduler": st.sampled_from(["asha", "asha", "asha-stop", "none"]),
        "pruner": st.sampled_from(
            [
                *("none", "median", "median:n_min_trials=1", "patient:patience=1"),
                *("percentile:percentile=60,n_min_trials=2", "threshold:lower=0.2"),
            ]
        ),
        "sampler": st.sampled_from(["random", "random", "random", "tpe", "qmc"]),
        "keep_models": st.integers(1, 3),
        "pareto_models": st.integers(1, 4),
        "patience": st.none() | st.integers(1, 4),
        "target": st.none() | st.just(0.55),
        "retries": st.integers(0, 1),
    }
)


class StubbornDirectory(PaperDirectory):
    """One that for a while lets nothing be removed."""

    refuses = False

    def remove(self, name: str = "") -> None:
        if self.refuses:
            raise OSError(name)
        super().remove(name)


class OnPaper:
    """A search on paper, driven event by event."""

    def __init__(self, kind: type[Driver], options: dict[str, Any]):
        self._kind = kind
        self._settings = StudySettings.check(
            {"space": "lr", "epochs": 5, "reports_per_epoch": 1, **options}
        )
        self._plan = make_plan(self._settings, InputSettings(), load_space("lr"))
        self._storage: BaseStorage = InMemoryStorage()
        Study.create(self._storage, "s", {})
        self.directory = StubbornDirectory()
        self.told: list[str] = []
        self._open()

    def _open(self) -> None:
        self.running: dict[int, int] = {}
        self.driver = self._kind(
            Study.load(self._storage, "s"),
            self._plan,
            self._settings,
            CheckpointStore(self.directory),
            DevPredictions(NOWHERE),
            tell=self.told.append,
        ).open()

    def happens(self, event: tuple[Any, ...]) -> Any:
        """What the driver answers to an event; None if no running trial can have sent it."""
        if event[0] == "next":
            return self._next()
        if event[0] == "disk":
            self.directory.refuses = event[1]
            return None
        if event[0] == "leave":
            # Its driver stays at hand, and what ran is interrupted.
            self.running.clear()
            return self.driver.leave()
        if event[0] == "resume":
            # Left, or killed.
            if event[1]:
                self.driver.leave()
            return self._open()
        if not self.running:
            return None
        number = sorted(self.running)[event[1] % len(self.running)]
        if event[0] == "fail":
            return self.driver.failed(number, self.running.pop(number), event[2], f"it {event[2]}")
        return self._reports(number, event[0] == "repeat", event[2])

    def _next(self) -> Any:
        job = self.driver.next_job(busy=bool(self.running))
        if not isinstance(job, Job):
            return job
        self.running[job.trial.number] = job.attempt.number
        about = job.attempt.model_dump(exclude={"at"})
        known = self.driver.study.frozen(job.trial).params
        return job.trial.number, job.trial.name, job.trial.origin, about, str(job.state), known

    def _reports(self, number: int, is_repeat: bool, what: Any) -> bool | None:
        trial, attempt = self.driver.study.trials[number], self.running[number]
        if is_repeat and not trial.reports:
            return None
        step = what % len(trial.reports) + 1 if is_repeat else len(trial.reports) + 1
        scores: dict[Task, float] = dict(
            trial.reports[step - 1].scores if is_repeat else zip(TASK_NAMES, what, strict=True)
        )
        save_on_paper(self.directory, number, step, attempt)
        continues = self.driver.reported(number, attempt, report_of(trial, step, scores), b"")
        if not continues:
            del self.running[number]
        return continues

    def stands(self) -> dict[str, Any]:
        """All that came of it so far."""
        driver, record = self.driver, self.driver.record
        winner = record.winner
        return {
            "trials": [
                (
                    *(t.number, t.name, t.origin, t.state, t.error, t.ended, t.score),
                    [(d.verdict, d.reason, d.attempt, d.order) for d in t.decisions],
                    [(a.why, a.reason, a.rung, a.micro_batch) for a in t.attempts],
                )
                for t in record.trials
            ],
            "counts": (record.planned, record.counts, record.left, driver.backlog),
            "winner": winner and winner.number,
            "best": [best and best.number for best in map(record.best, STATES)],
            "ended": driver.ended_because,
            "front": (driver.pareto_front.points, driver.pareto_front.dropped),
            "files": self.directory.folders,
            "told": self.told,
        }


@settings(max_examples=150)
@given(searches, st.lists(events, min_size=20, max_size=90))
def test_decisions_are_those_of_looking_at_all_trials(
    options: dict[str, Any], happening: list[tuple[Any, ...]]
) -> None:
    mine, reference = OnPaper(Driver, options), OnPaper(LookingDriver, options)
    assert repr(mine.stands()) == repr(reference.stands())
    for event in happening:
        assert repr(mine.happens(event)) == repr(reference.happens(event)), event
        assert repr(mine.stands()) == repr(reference.stands()), event
    _assert_equal_to_a_new_one(mine.driver)


def _assert_equal_to_a_new_one(driver: Driver) -> None:
    study, plan = driver.study, driver.plan
    planned = driver.record.planned
    assert vars(LiveRecord(planned, study)) == vars(driver.record) | {"planned": planned}
    pure = SearchRecord(planned, study.trials)
    assert driver.record.ranked == pure.ranked
    assert driver.record.best(*ALIVE) is pure.best(*ALIVE) is driver.record.winner
    name = driver.settings.scheduler
    new = make_scheduler(driver.settings, name, study, plan.most_reports, planned)
    for step, rung in getattr(driver._scheduler, "_rungs", {}).items():
        assert repr(_in_order(rung)) == repr(_in_order(vars(new)["_rungs"][step]))
    pruning = Pruning(study, driver.settings.pruner)
    assert {s: v for s, v in driver._pruning._scores.items() if v} == pruning._scores
    looking = LookingPruning(study, driver.settings.pruner)
    for trial in study.trials:
        if trial.state == "running" and not trial.fixed:
            for score in (0.1, 0.25, 0.4):
                asked = trial, len(trial.reports) + 1, score
                assert driver._pruning.reason_to_prune(*asked) == looking.reason_to_prune(*asked)
    retention = Retention(
        study, driver._store, driver.settings.keep_models, driver.settings.pareto_models
    )
    assert driver._retention._over == retention._over
    assert driver._retention._places == retention._places


def _in_order(rung: Any) -> Any:
    return rung._ranked, rung._open, sorted(rung._continued), sorted(rung.scores.items())


stands = st.sampled_from(["open", "fixed", "continued", "over"])


@given(st.lists(st.tuples(st.integers(0, 9), task_scores, stands), max_size=40), st.integers(2, 4))
def test_a_rung_in_order_answers_as_one_that_is_sorted_each_time(
    puts: list[tuple[int, float, str]], factor: int
) -> None:
    rung = Rung({}, factor)
    known: dict[int, tuple[float, str]] = {}
    for number, score, how in puts:
        rung.put(number, score, **({} if how == "open" else {how: True}))
        known[number] = score, how
        standing = {
            how: {n for n, (_, each) in known.items() if each == how} for _, how in known.values()
        }
        standing.pop("open", None)
        looking = LookingRung({n: s for n, (s, _) in known.items()}, factor, **standing)
        assert rung.promotable() == looking.promotable()
        assert rung.ranking == looking.ranking
        for trials in range(len(known), 13):
            low = [n for n in looking.ranking if n not in looking.hopeful(trials)]
            assert rung.hopeless(trials) == [n for n in low if known[n][1] == "open"]
        for contender in looking.ranking:
            assert rung.standing(contender) == looking.standing(contender)
            assert rung.continues_at_once(contender) == looking.continues_at_once(contender)
    for number in list(known):
        rung.remove(number)
    assert _in_order(rung) == ([], [], [], [])


numbers = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.1, 0.2, 0.3])


@given(st.lists(numbers, min_size=1, max_size=60), st.floats(0, 100) | st.sampled_from([25, 50]))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    assert percentile(sorted(values), percent) == float(np.nanpercentile(values, percent))


def frozen(number: int, state: TrialState, step: int, score: float) -> FrozenTrial:
    trial = create_trial(
        state=state,
        value=score if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        intermediate_values={step: score},
    )
    trial.number = number
    return trial


@given(
    st.lists(
        st.tuples(
            st.integers(-5, 15),
            st.sampled_from([s for s in TrialState if s != TrialState.WAITING]),
            st.integers(1, 3),
            good_scores,
        ),
        max_size=50,
    ),
    st.integers(2, 9),
)
def test_tpe_models_the_best_the_newest_and_what_runs(
    puts: list[tuple[int, TrialState, int, float]], most: int
) -> None:
    modelled, known = Modelled(most), dict[int, FrozenTrial]()
    for put in puts:
        known[put[0]] = frozen(*put)
        modelled.put(known[put[0]])
    trials = [known[number] for number in sorted(known)]
    finished = [t for t in trials if t.state == TrialState.COMPLETE]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    finished.sort(key=lambda t: -(t.value or 0))
    pruned.sort(key=lambda t: (-(t.last_step or 0), -(t.value or 0)))
    ranked = finished + pruned
    chosen = [t.number for t in ranked[: most // 2]]
    newest = sorted(t.number for t in ranked if t.number not in chosen)
    chosen += newest[-(most - len(chosen)) :]
    running = [t.number for t in trials if t.state == TrialState.RUNNING]
    found = modelled.trials()
    assert [t.number for t in found] == sorted(chosen + running)
    assert all(trial is known[trial.number] for trial in found)


@pytest.mark.parametrize("trials", [1, 7, 40])
def test_a_study_tells_who_follows_it_of_every_trial(trials: int) -> None:
    search = OnPaper(Driver, {"trials": trials})
    seen: dict[int, tuple[State, int, int]] = {}
    study = search.driver.study
    study.follow(lambda t: seen.update({t.number: (t.state, len(t.reports), len(t.attempts))}))
    for round_ in range(3 * trials):
        for event in (("next",), ("next",), ("report", round_, (0.1 * (round_ % 7), 0.2, 0.3))):
            search.happens(event)
            assert seen == {
                t.number: (t.state, len(t.reports), len(t.attempts)) for t in study.trials
            }
