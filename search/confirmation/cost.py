"""What a confirmation costs, and what it can show, before it starts."""

import math

import numpy as np

from minbert.output import counted
from search.analysis.noise import Bootstrap
from search.analysis.verdict import detectable
from search.review.reading import Run

from .trainings import FOLDS

_RESAMPLES = 400


def cost_in_words(run: Run, trainings: int, seeds: int, slots: int, test: int | None = None) -> str:
    """Trainings, time and the difference that would be shown, in a line.

    Args:
        run: the search.
        trainings: the most trainings that are left.
        seeds: judged pairs.
        slots: trainings at once.
        test: number of labelled test examples that judge; None if folds judge.
    """
    minutes = seconds_of_a_training(run) * math.ceil(trainings / max(1, slots)) / 60
    time = f"about {minutes:.0f} min" if minutes >= 1 else "less than a minute"
    said = f"{counted(trainings, 'training')}, {time} on {counted(slots, 'slot')}."
    variance = variance_of_examples(run, test or training_examples(run) // FOLDS)
    if variance is None:
        return said
    # What seeds add is not known before the confirmation; as much again is assumed. Each fold has
    # other examples, and the test examples are the same for all pairs.
    shared = 0.0 if test is None else variance
    spread = math.sqrt(variance if test else 2 * variance)
    points = 100 * detectable(spread, seeds, shared_variance=shared)
    return (
        f"{said} A difference of {points:.1f} points or more would be shown in 4 of 5 cases "
        "(spread assumed from the dev predictions, and as much again from seeds)."
    )


def training_examples(run: Run) -> int:
    """Number of training examples in the tasks with a weight in the objective."""
    by_task = run.driver_runs[-1].data.sizes if run.driver_runs else {}
    return sum(by_task[task]["train"] for task in run.inputs.tasks if run.objective.of(task))


def seconds_of_a_training(run: Run) -> float:
    """Seconds of a training to its end: the mean over the recipe and the winner."""
    trials = {trial.number: trial for trial in (run.record.trials[0], run.record.winner) if trial}
    per_report = [
        trial.seconds / len(trial.reports) * trial.total_reports
        for trial in trials.values()
        if trial.reports
    ]
    return float(np.mean(per_report)) if per_report else 0.0


def variance_of_examples(run: Run, examples: int) -> float | None:
    """What examples that judge add to the variance of a difference; None if the search lacks it.

    It is that of the winner's lead on dev, for as many examples.

    Args:
        run: the search.
        examples: that judge.
    """
    labels, winner, recipe = run.predictions.labels(), run.record.winner, run.record.trials[0]
    if labels is None or winner is None or winner.kept is None or recipe.kept is None:
        return None
    ours = run.predictions.read(winner.number, winner.kept.step)
    theirs = run.predictions.read(recipe.number, recipe.kept.step)
    if ours is None or theirs is None:
        return None
    weighed = {task: given for task, given in labels.items() if run.objective.of(task)}
    scores = Bootstrap(weighed, _RESAMPLES).scores([ours, theirs], run.objective)[1:]
    in_dev = float((scores[:, 0] - scores[:, 1]).var())
    return in_dev * sum(map(len, weighed.values())) / max(1, examples)
