"""Quasi-random points by their place in the sequence."""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import QMCSampler


class PlacedQMC(QMCSampler):
    """A point of the sequence by its place, which the stock sampler keeps in the study instead.

    The sequence is over all parameters of the space, where the stock sampler takes those of the
    first trial, which need not lie in the space.
    """

    def __init__(self, seed: int, place: int, parameters: dict[str, BaseDistribution]):
        super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self._place, self._parameters = place, parameters

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self._parameters

    def _find_sample_id(self, study: Any, search_space: Any) -> int:  # noqa: ARG002
        return self._place
