"""Optuna's exhaustive search over a finite space, in random order."""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BruteForceSampler
from optuna.trial import FrozenTrial


class _WithAsked:
    """The study as Optuna's sampler reads it, which expects to find the trial being sampled in it.

    Trials without parameters, and trials of earlier searches, are left out of the sampler's tree.
    """

    def __init__(self, study: Any, asked: FrozenTrial):
        self._storage, self._study, self._asked = self, study, asked
        self._study_id: int = study._study_id

    def get_all_trials(self, study_id: int, **how: Any) -> list[FrozenTrial]:
        seen = self._study._storage.get_all_trials(study_id, **how)
        return [*(trial for trial in seen if trial.params and trial.number >= 0), self._asked]


class ViewedBruteForce(BruteForceSampler):
    """Optuna's sampler on a view of the study that lacks the trial being sampled."""

    def sample_independent(
        self,
        study: Any,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        viewed: Any = _WithAsked(study, trial)
        return super().sample_independent(viewed, trial, param_name, param_distribution)
