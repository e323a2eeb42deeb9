"""Proposals from a list of recorded trials: of each proposed point, the closest one not yet tried.

A replay has reports of these trials only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler

from minbert.config import TrainConfig

from .proposals import Proposal, Proposer
from .recipe import ORIGIN
from .spaces import Fields, Space, built_in_spaces, load_space


@dataclass(frozen=True)
class RecordedPoint:
    """A configuration of a recorded trial, with its point of the space."""

    fields: Fields
    config: TrainConfig
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]


class RecordedProposer(Proposer):
    """Asks a sampler for points of ``recorded_space``, and proposes recorded trials.

    Args:
        recorded: the configurations to propose, each once; the other arguments are those of
            ``Proposer``.
    """

    def __init__(self, recorded: Sequence[RecordedPoint], *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self._left = {point.config.effective(): point for point in recorded}

    def _ask(self, sampler: BaseSampler, origin: str) -> Proposal | None:
        for config in self._tried & self._left.keys():
            del self._left[config]
        if not self._left:
            return None
        trial = self._begin(sampler)
        self._space.propose(trial)
        asked = self._view.get_trial(trial._trial_id)
        wanted = asked.params
        point = min(self._left.values(), key=lambda each: _distance(wanted, each))
        return Proposal(
            fields=dict(point.fields),
            config=point.config,
            origin=asked.system_attrs.get(ORIGIN, origin),
            params=dict(point.params),
            distributions=dict(point.distributions),
            system_attrs=asked.system_attrs,
        )


def recorded_space(name: str, points: Sequence[RecordedPoint]) -> Space:
    """A space of all parameters of recorded trials, each of which always exists.

    Args:
        name: name of the space that the trials are of.
        points: the trials.
    """
    distributions: dict[str, BaseDistribution] = {}
    for point in points:
        distributions = dict(point.distributions) | distributions

    def ask(trial: optuna.Trial) -> Fields:
        for parameter, distribution in distributions.items():
            _suggest(trial, parameter, distribution)
        # Which fields follow is known for the recorded trials only.
        return {}

    known = load_space(name) if name in built_in_spaces() else None
    return Space(
        name,
        Path(name),
        "",
        ask,
        inverse=known.inverse if known else None,
        shown=known.shown if known else {},
    )


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
        return
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution):
        trial.suggest_int(name, int(low), int(high), step=distribution.step, log=distribution.log)
    else:
        trial.suggest_float(name, low, high, step=distribution.step, log=distribution.log)


def _distance(params: Mapping[str, Any], point: RecordedPoint) -> float:
    """Mean squared distance over the point's parameters, each in units of its range."""
    squares = [
        _apart(distribution, params[name], point.params[name]) ** 2
        for name, distribution in point.distributions.items()
    ]
    return float(np.mean(squares)) if squares else 0.0


def _apart(distribution: BaseDistribution, one: Any, other: Any) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return float(one != other)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.low == distribution.high:
        return 0.0
    values = (one, other, distribution.low, distribution.high)
    first, second, low, high = (math.log(v) if distribution.log else float(v) for v in values)
    return abs(first - second) / (high - low)
