"""Quasi-random points by index."""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import QMCSampler


class PlacedQMC(QMCSampler):
    """The point of the sequence at an index, which Optuna's sampler stores in the study instead.

    The sequence covers all parameters of the space. Optuna's sampler uses the parameters of the
    first trial, which need not lie in the space.
    """

    def __init__(self, seed: int, place: int, parameters: dict[str, BaseDistribution]):
        super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self._place, self._parameters = place, parameters

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self._parameters

    def _find_sample_id(self, study: Any, search_space: Any) -> int:  # noqa: ARG002
        return self._place
