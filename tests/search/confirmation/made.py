"""Plans and trials of confirmations, without training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minbert.config import recipe
from minbert.tasks import TASK_NAMES, Task
from search.confirmation.trainings import (
    RULE,
    ConfirmationPlan,
    JudgedOn,
    Training,
    next_confirmation,
)
from search.record import Attempt, Decision, State, TrialRecord
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions, pack_predictions
from testkit.simulation import equal_scores, made_up_report

CONFIG = recipe("strong").replace(epochs=1, reports_per_epoch=1)


def make_plan(
    finalists: Sequence[int] = (0, 4, 2), seeds: int = 3, judge: JudgedOn = "folds"
) -> ConfirmationPlan:
    return ConfirmationPlan(
        rule=RULE,
        finalists=tuple(finalists),
        asked_finalists=len(finalists) - 1,
        configs=("",) * len(finalists),
        race_seed=100 if len(finalists) > 2 else None,
        judge_seeds=tuple(range(101, 101 + seeds)),
        judge=judge,
        folds=5 if judge == "folds" else 0,
        folds_sha256="",
        data={},
    )


def make_trial(number: int, score: float = 0.5, state: State = "finished") -> TrialRecord:
    trial = TrialRecord(number, f"training {number}", {}, CONFIG, fixed=True, state=state)
    trial.attempts.append(Attempt(number=1, why="start", at=0))
    if state == "finished":
        trial.reports.append(made_up_report(CONFIG, 1, equal_scores(score), kept=True))
        about: dict[str, Any] = {"verdict": "finish", "reason": "", "attempt": 1, "at": 0}
        trial.decisions.append(Decision(order=number, **about))
    if state == "failed":
        trial.error = "it crashed"
    return trial


def all_trainings(
    plan: ConfirmationPlan, race: Sequence[float] = ()
) -> tuple[list[Training], list[TrialRecord]]:
    """What a confirmation trains one by one, if the race has these scores, and its trials."""
    trainings: list[Training] = []
    trials: list[TrialRecord] = []
    while isinstance(training := next_confirmation(plan, trials), Training):
        trainings.append(training)
        score = race[len(trials)] if len(trials) < len(race) else 0.5
        trials.append(make_trial(len(trials), score))
    assert training == "done"
    return trainings, trials


def write_judged(
    predictions: DevPredictions, number: int, right: Mapping[Task, float], examples: int
) -> None:
    """Write predictions of which these shares are right, for labels that are all 1."""
    judged = {
        task: (np.arange(examples) < round(share * examples)).astype(np.float32)
        for task, share in right.items()
    }
    predictions.write_judged(number, pack_predictions(judged))


def labels(examples: int, tasks: Sequence[Task] = TASK_NAMES) -> dict[Task, np.ndarray]:
    return {task: np.ones(examples, np.float32) for task in tasks}


def predictions_in(folder: Any) -> DevPredictions:
    return DevPredictions(LocalDirectory(folder))
