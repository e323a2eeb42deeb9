"""What a confirmation shows, from its plan, its trials and their predictions alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from minbert.errors import InputError
from minbert.evaluate import grade
from minbert.output import counted
from minbert.settings import Settings
from minbert.tasks import Task
from minbert.weights import Weights, weighted_score
from search.analysis.noise import Bootstrap
from search.analysis.verdict import (
    Interval,
    in_words,
    interval_of,
    part_shared,
    shared_by_examples,
)
from search.inputs import Fold, Judge
from search.record import TrialRecord
from search.storage.predictions import DevPredictions, TaskArrays

from .trainings import ConfirmationPlan, Training, file_of, named, race_of, training_of

# The standard error of a bootstrap variance is then about .05 of it.
_RESAMPLES = 1000

Ending = Literal["better", "not shown", "worse", "recipe", "failed"]


class Pair(Settings):
    """A judged pair: the rival and the recipe, with the same seed and the same judge."""

    seed: int
    """of both trainings"""
    fold: int | None
    """number of the fold that judged them, from 0; None if the labelled test files did"""
    examples: int
    """that judged them, in the tasks with a weight in the objective"""
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
    """numbers of the search's trials that were planned to be trained, the recipe's first"""
    pairs: tuple[Pair, ...] = ()
    """the judged pairs; empty if the race ended it or a training failed"""
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
    judged = trials[plan.race_trainings :]
    if any(trial.state == "failed" for trial in judged):
        if all(trial.is_over for trial in judged):
            return ended(ending="failed", words=_not_confirmed(trials))
        return None
    if len(trials) < plan.trainings or not all(trial.is_over for trial in judged):
        return None
    read = [
        _read(plan, number, race.rival, predictions)
        for number in range(plan.race_trainings, plan.trainings, 2)
    ]
    objective = trials[0].config.objective
    pairs = [_pair(each, objective) for each in read]
    shared = _shared_by_examples(read, objective)
    interval = interval_of(
        [pair.difference for pair in pairs], shared_variance=shared.get("score", 0.0)
    )
    by_fold = {pair.fold: pair.examples for pair in pairs}
    return ended(
        ending=interval.finding,
        words=in_words(interval, sum(by_fold.values())),
        pairs=tuple(pairs),
        interval=interval,
        tasks={
            task: interval_of(
                [pair.scores[task] for pair in pairs], shared_variance=shared.get(task, 0.0)
            )
            for task in pairs[0].scores
        },
    )


def _not_confirmed(trials: Sequence[TrialRecord]) -> str:
    failed = [trial for trial in trials if trial.state == "failed"]
    return (
        f"Not confirmed: {len(failed)} of {counted(len(trials), 'training')} failed "
        f"({failed[0].name}: {failed[0].error})."
    )


@dataclass(frozen=True)
class _Judged:
    """A judged pair as it is stored: what both predicted for the same examples."""

    training: Training
    labels: TaskArrays
    rival: TaskArrays
    recipe: TaskArrays


def _read(plan: ConfirmationPlan, number: int, rival: int, predictions: DevPredictions) -> _Judged:
    """The pair whose first training, the recipe's, has this number."""
    training = training_of(plan, number, rival)
    assert training.judge is not None
    labels = predictions.judge(file_of(training.judge))
    ours, theirs = (predictions.judged(each) for each in (number + 1, number))
    if labels is None or ours is None or theirs is None:
        raise InputError(
            f"{predictions.directory}: the confirmation's predictions for "
            f"{named(training.judge)} are missing or damaged"
        )
    return _Judged(training, labels, ours, theirs)


def _pair(judged: _Judged, objective: Weights) -> Pair:
    labels, judge = judged.labels, judged.training.judge
    ours, theirs = (_scores(labels, each) for each in (judged.rival, judged.recipe))
    return Pair(
        seed=judged.training.seed,
        fold=judge.number if isinstance(judge, Fold) else None,
        examples=sum(len(each) for task, each in labels.items() if objective.of(task)),
        scores={task: ours[task] - theirs[task] for task in labels},
        difference=weighted_score(ours, objective) - weighted_score(theirs, objective),
    )


def _shared_by_examples(
    judged: Sequence[_Judged], objective: Weights
) -> dict[Task | Literal["score"], float]:
    """What examples that judge several pairs add to the variance of the mean difference."""
    by_judge: dict[Judge | None, list[_Judged]] = {}
    for each in judged:
        by_judge.setdefault(each.training.judge, []).append(each)
    shared: dict[Task | Literal["score"], float] = {}
    for alike in by_judge.values():
        if len(alike) > 1:
            part = part_shared(len(alike), len(judged))
            for name, variance in _shared_by_all(alike, objective).items():
                shared[name] = shared.get(name, 0.0) + part * variance
    return shared


def _shared_by_all(
    judged: Sequence[_Judged], objective: Weights
) -> dict[Task | Literal["score"], float]:
    """What pairs that the same examples judge have in common, as a variance."""
    labels, seeds = judged[0].labels, len(judged)
    bootstrap = Bootstrap(labels, _RESAMPLES)
    given = [each.rival for each in judged] + [each.recipe for each in judged]
    scores: dict[Task | Literal["score"], np.ndarray] = {
        task: bootstrap.task_scores(task, [each[task] for each in given]) for task in labels
    }
    scores["score"] = bootstrap.scores(given, objective)
    shared = {}
    for name, found in scores.items():
        differences = found[1:, :seeds] - found[1:, seeds:]
        one, mean = differences.var(axis=0).mean(), differences.mean(axis=1).var()
        shared[name] = shared_by_examples(float(one), float(mean), seeds)
    return shared


def _scores(labels: TaskArrays, predictions: TaskArrays) -> dict[Task, float]:
    """Task scores; InputError if the predictions are of other examples."""
    if {t: len(p) for t, p in predictions.items()} != {t: len(g) for t, g in labels.items()}:
        raise InputError("the confirmation's predictions are of other examples than its labels")
    classes = 1 + int(max(np.max(each.get("sst", np.zeros(1))) for each in (labels, predictions)))
    return {task: grade(task, predictions[task], labels[task], classes).score for task in labels}
