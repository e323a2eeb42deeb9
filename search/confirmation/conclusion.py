"""What a confirmation shows, from its plan, its trials and their predictions alone."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from minbert.errors import InputError
from minbert.evaluate import grade
from minbert.output import counted
from minbert.settings import Settings
from minbert.tasks import Task
from minbert.weights import weighted_score
from search.analysis.verdict import Interval, in_words, interval_of
from search.record import TrialRecord
from search.storage.predictions import DevPredictions, TaskArrays

from .trainings import ConfirmationPlan, race_of, training_of

Ending = Literal["better", "not shown", "worse", "recipe", "failed"]


class Pair(Settings):
    """A judged pair: the rival and the recipe, with the same seed and fold."""

    seed: int
    """of both trainings"""
    fold: int
    """number of the fold that judged them, from 0"""
    examples: int
    """of the fold, in the tasks with a weight in the objective"""
    scores: dict[Task, float]
    """the rival's task scores minus the recipe's"""
    difference: float
    """the same for the score under the objective"""


class Conclusion(Settings):
    """How a confirmation ended."""

    ending: Ending
    """better, not shown (to be better) or worse than the recipe; recipe: it led the race; failed:
    a training failed"""
    rival: int | None
    """number of the search's trial that was judged; None if the race ended it"""
    words: str
    """for people, in a sentence or two"""
    finalists: tuple[int, ...]
    """numbers of the search's trials that raced, the recipe's first"""
    pairs: tuple[Pair, ...] = ()
    """the judged pairs; empty if the race ended it"""
    interval: Interval | None = None
    """of the mean difference; None without pairs"""
    tasks: dict[Task, Interval] = Field(default_factory=dict)
    """the same by task"""


def conclude(
    plan: ConfirmationPlan, trials: Sequence[TrialRecord], predictions: DevPredictions
) -> Conclusion | None:
    """The conclusion; None while trainings are missing.

    Args:
        plan: of the confirmation.
        trials: of the confirmation.
        predictions: its predictions and the labels of the folds.

    Raises:
        InputError: predictions or labels are missing or damaged.
    """
    race = race_of(plan, trials)
    if race is None:
        return None
    ended = partial(Conclusion, rival=race.rival, finalists=plan.finalists)
    if race.is_void:
        return ended(ending="failed", words=_not_confirmed(trials))
    if race.rival is None:
        words = "With a new seed no finalist scored above the recipe. Keep the recipe."
        return ended(ending="recipe", words=words)
    judged = trials[len(plan.finalists) :]
    if any(trial.state == "failed" for trial in judged):
        if all(trial.is_over for trial in judged):
            return ended(ending="failed", words=_not_confirmed(trials))
        return None
    if len(trials) < plan.trainings or not all(trial.is_over for trial in judged):
        return None
    pairs = [
        _pair(plan, trials, number, race.rival, predictions)
        for number in range(len(plan.finalists), plan.trainings, 2)
    ]
    interval = interval_of([pair.difference for pair in pairs])
    by_fold = {pair.fold: pair.examples for pair in pairs}
    return ended(
        ending=interval.finding,
        words=in_words(interval, sum(by_fold.values())),
        pairs=tuple(pairs),
        interval=interval,
        tasks={task: interval_of([p.scores[task] for p in pairs]) for task in pairs[0].scores},
    )


def _not_confirmed(trials: Sequence[TrialRecord]) -> str:
    failed = [trial for trial in trials if trial.state == "failed"]
    return (
        f"Not confirmed: {len(failed)} of {counted(len(trials), 'training')} failed "
        f"({failed[0].name}: {failed[0].error})."
    )


def _pair(
    plan: ConfirmationPlan,
    trials: Sequence[TrialRecord],
    number: int,
    rival: int,
    predictions: DevPredictions,
) -> Pair:
    """The pair whose first training, the recipe's, has this number."""
    training = training_of(plan, number, rival)
    assert training.fold is not None
    labels = predictions.fold(training.fold.number)
    ours, theirs = (predictions.judged(each) for each in (number + 1, number))
    if labels is None or ours is None or theirs is None:
        raise InputError(
            f"{predictions.directory}: predictions for fold {training.fold.number + 1} of the "
            "confirmation are missing or damaged"
        )
    objective = trials[number].config.objective
    by_task = [_scores(labels, each) for each in (ours, theirs)]
    gained = {task: by_task[0][task] - by_task[1][task] for task in labels}
    total = [weighted_score(scores, objective) for scores in by_task]
    examples = sum(len(each) for task, each in labels.items() if objective.of(task))
    return Pair(
        seed=training.seed,
        fold=training.fold.number,
        examples=examples,
        scores=gained,
        difference=total[0] - total[1],
    )


def _scores(labels: TaskArrays, predictions: TaskArrays) -> dict[Task, float]:
    """Task scores; InputError if the predictions are of other examples."""
    if {t: len(p) for t, p in predictions.items()} != {t: len(g) for t, g in labels.items()}:
        raise InputError("the confirmation's predictions are of other examples than its labels")
    classes = 1 + int(max(np.max(each.get("sst", np.zeros(1))) for each in (labels, predictions)))
    return {task: grade(task, predictions[task], labels[task], classes).score for task in labels}
