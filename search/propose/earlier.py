"""Trials of an earlier search that a sampler learns from."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.tasks import Task
from minbert.weights import Weights, weighted_score
from search.storage.study import Study

from .branches import explore
from .space_trial import are_compatible
from .spaces import Space


def trials_to_learn_from(
    study: Study, space: Space, objective: Weights, tasks: Sequence[Task]
) -> list[FrozenTrial]:
    """Trials of an earlier study that lie in this space, scored by this search's objective.

    Args:
        study: the earlier study.
        space: the space of this search.
        objective: the objective of this search.
        tasks: the scored tasks of this search; trials that scored other tasks are left out.
    """
    parameters = explore(space).parameters
    found = []
    for trial in study.trials:
        frozen = study.frozen(trial)
        if trial.kept is None or not frozen.params or trial.state == "failed":
            continue
        if not all(
            name in parameters and are_compatible(parameters[name], distribution)
            for name, distribution in frozen.distributions.items()
        ):
            continue
        if set(trial.kept.scores) != set(tasks):
            continue
        scores = [weighted_score(report.scores, objective) for report in trial.reports]
        finished = trial.state == "finished"
        value = weighted_score(trial.kept.scores, objective) if finished else scores[-1]
        found.append(
            create_trial(
                state=TrialState.COMPLETE if finished else TrialState.PRUNED,
                value=value,
                params=frozen.params,
                distributions=frozen.distributions,
                intermediate_values=dict(enumerate(scores, start=1)),
            )
        )
    for number, frozen in enumerate(found):
        # Negative, so that no number is one of this study's trials.
        frozen.number = number - len(found)
    return found
