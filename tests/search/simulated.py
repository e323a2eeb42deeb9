"""Drivers whose trials are simulated."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from minbert.config import InputSettings
from minbert.tasks import Task
from search.driver import Driver
from search.plan import Plan, make_plan
from search.propose.spaces import load_space
from search.record import TrialRecord
from search.settings import StudySettings
from search.simulation import Happened
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from testkit.simulation import equal_scores, simulate

NOWHERE = LocalDirectory(Path("/nonexistent"))


def open_driver(
    storage: BaseStorage, *, tell: Callable[[str], None] = lambda _: None, **settings: Any
) -> Driver:
    """A driver of the study in ``storage``, which is made where it is not there yet."""
    checked = StudySettings.check({"space": "lr", "epochs": 9, "reports_per_epoch": 1, **settings})
    plan = make_plan(checked, InputSettings(), load_space(checked.space))
    try:
        study = Study.load(storage, "s")
    except Exception:
        study = Study.create(storage, "s", {})
    return Driver(
        study,
        plan,
        checked,
        CheckpointStore(NOWHERE),
        DevPredictions(NOWHERE),
        tell=tell,
    ).open()


def plan_of(driver: Driver) -> Plan:
    assert isinstance(driver.plan, Plan)
    return driver.plan


def by_number(*scores: float, rise: float = 0.0) -> Callable[[TrialRecord, int], dict[Task, float]]:
    """The same score at every report, by the trial's number, rising a little each time."""
    return lambda trial, step: equal_scores(scores[trial.number % len(scores)] + rise * step)


def hashed(trial: TrialRecord, step: int) -> dict[Task, float]:
    """Scores that look random and are a function of the trial alone."""
    x = math.sin(trial.number * 12.9898) * 43758.5453
    return equal_scores(0.3 + 0.3 * (x - math.floor(x)) * (1 - 0.5**step))


def rows(driver: Driver) -> list[tuple[Any, ...]]:
    """The record, without what differs from run to run: times, and numbers of attempts."""
    return [
        (
            *(trial.number, trial.name, trial.state, trial.error),
            *(report.step, report.score),
            *(decision.verdict, decision.reason, decision.order),
        )
        for trial in driver.study.trials
        for report, decision in zip(trial.reports, trial.decisions, strict=True)
    ]


def finish(driver: Driver, curve: Any = hashed, slots: int = 1, **more: Any) -> list[Happened]:
    happened = simulate(driver, curve, slots, **more)
    driver.leave()
    return happened
