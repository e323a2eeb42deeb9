"""What a confirmation costs, and what it can show, before it starts."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from minbert.output import counted
from minbert.tasks import Task
from search.analysis.noise import Bootstrap
from search.analysis.verdict import detectable, part_shared
from search.review.reading import Run

from .trainings import FOLDS

_RESAMPLES = 400
# What seeds add is not known before a confirmation. These are about what bench.components finds in
# real trainings: the standard deviation over seeds of a pair's difference, apart from what examples
# add (.0069 with 800 training examples of each task, .0055 with all of the course's), and the part
# of what examples add that is the same for all seeds.
_OF_SEEDS = 0.0065
_SHARED = 0.2


def cost_in_words(
    run: Run,
    trainings: int,
    pairs: int,
    slots: int,
    judge: Mapping[Task, int] | None,
    *,
    same: bool = False,
) -> str:
    """Trainings, time and the difference that would be shown, in a line.

    Args:
        run: the search.
        trainings: the most trainings that are left.
        pairs: that are judged.
        slots: trainings at once.
        judge: number of examples that judge a pair, by task; None if that is not known.
        same: whether the same examples judge all pairs, and not the next fold each time.
    """
    minutes = seconds_of_a_training(run) * math.ceil(trainings / max(1, slots)) / 60
    time = f"about {minutes:.0f} min" if minutes >= 1 else "less than a minute"
    said = f"{counted(trainings, 'training')}, {time} on {counted(slots, 'slot')}."
    variance = None if judge is None else variance_of_examples(run, judge)
    if variance is None:
        return said
    alike = Counter("all" if same else pair % FOLDS for pair in range(pairs))
    shared = _SHARED * variance * sum(part_shared(count, pairs) for count in alike.values())
    spread = math.sqrt(variance - shared + _OF_SEEDS**2)
    points = 100 * detectable(spread, pairs, shared_variance=shared)
    return (
        f"{said} A difference of {points:.1f} points or more would be shown in 4 of 5 cases "
        f"(spread assumed from the dev predictions, and {100 * _OF_SEEDS:.1f} points from seeds)."
    )


def examples_of_a_fold(run: Run) -> dict[Task, int]:
    """About how many training examples of each task a fold has."""
    by_task = run.driver_runs[-1].data.sizes if run.driver_runs else {}
    tasks = [task for task in run.inputs.tasks if task in by_task]
    return {task: by_task[task]["train"] // FOLDS for task in tasks}


def seconds_of_a_training(run: Run) -> float:
    """Seconds of a training to its end: the mean over the recipe and the winner."""
    trials = {trial.number: trial for trial in (run.record.trials[0], run.record.winner) if trial}
    per_report = [
        trial.seconds / len(trial.reports) * trial.total_reports
        for trial in trials.values()
        if trial.reports
    ]
    return float(np.mean(per_report)) if per_report else 0.0


def variance_of_examples(run: Run, judge: Mapping[Task, int]) -> float | None:
    """What examples that judge add to the variance of a difference; None if the search lacks it.

    It is that of the winner's lead on dev, for as many examples of each task.

    Args:
        run: the search.
        judge: number of examples that judge, by task.
    """
    labels, winner, recipe = run.predictions.labels(), run.record.winner, run.record.trials[0]
    if labels is None or winner is None or winner.kept is None or recipe.kept is None:
        return None
    ours = run.predictions.read(winner.number, winner.kept.step)
    theirs = run.predictions.read(recipe.number, recipe.kept.step)
    if ours is None or theirs is None:
        return None
    weighed = {task: given for task, given in labels.items() if run.objective.of(task)}
    bootstrap = Bootstrap(weighed, _RESAMPLES)
    variance = 0.0
    for task, share in run.objective.normalised(1.0, list(weighed)).items():
        scores = bootstrap.task_scores(task, [ours[task], theirs[task]])[1:]
        in_dev = float((scores[:, 0] - scores[:, 1]).var())
        variance += share**2 * in_dev * len(weighed[task]) / max(1, judge.get(task, 0))
    return variance
