"""Points of a space: where a configuration lies in it, and the grid of all of them."""

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from minbert.config import TrainConfig
from minbert.errors import InputError
from spaces.weights import UNIT_SQUARE, unit_square_at

from .branches import Chosen, contains, every_value, explore, size_of
from .spaces import Space

# No search trains more, so a grid of more points is a mistake.
LARGEST_GRID = 10_000


class _NotThereError(Exception):
    """A value lies outside of the space."""


class _Wanted(Chosen):
    """Gives each parameter the value that a configuration has in the field of its name."""

    def __init__(self, config: TrainConfig):
        super().__init__({})
        self._config = config
        self._square = dict(zip(UNIT_SQUARE, unit_square_at(config.loss_weights), strict=True))

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._square:
            return self._square[param_name]
        # A parameter such as adamw_lr is named after the field that it becomes.
        fields = [f for f in TrainConfig.model_fields if f"_{param_name}".endswith(f"_{f}")]
        if not fields:
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._value_in(param_distribution, max(fields, key=len))

    def _value_in(self, distribution: BaseDistribution, field: str) -> Any:
        """The parameter's value that makes the field what it is in the configuration."""
        wanted = getattr(self._config, field)
        if contains(distribution, wanted):
            return wanted
        if isinstance(distribution, CategoricalDistribution):
            # It may be written otherwise, such as weights as text.
            for choice in distribution.choices:
                with contextlib.suppress(InputError):
                    if getattr(self._config.replace(**{field: choice}), field) == wanted:
                        return choice
        raise _NotThereError


def locate(
    space: Space, config: TrainConfig, base: TrainConfig
) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
    """The point of the space where a configuration lies, None where it lies outside.

    Returns:
        Its parameters, and their distributions.
    """
    if space.function is None:
        return None
    trial = optuna.create_study(sampler=_Wanted(config)).ask()
    try:
        there = space.configure(space.propose(trial), base)
    except (InputError, optuna.TrialPruned):
        return None
    shares, wanted = (c.loss_weights.normalised(1.0) for c in (there, config))
    same_weights = all(abs(shares[task] - wanted[task]) < 1e-9 for task in shares)
    if not same_weights or there.replace(loss_weights=config.loss_weights) != config:
        return None
    return trial.params, trial.distributions


class Grid:
    """Every point of a space whose parameters all have a list of values, made as it is asked for.

    Raises:
        InputError: a parameter is continuous, or there are too many points; or as
            ``Space.propose``.

    Attributes:
        size: how many points there are.
    """

    def __init__(self, space: Space):
        self._space = space
        self._parameters = explore(space).parameters
        for name, distribution in self._parameters.items():
            self._check(name, distribution)
        self.size = self._count()
        self._made: list[dict[str, Any]] = []
        self._rest = iter(self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._below({})

    def point(self, index: int) -> dict[str, Any] | None:
        """The point at a place of the grid, None behind its end."""
        self._made += itertools.islice(self._rest, max(0, index + 1 - len(self._made)))
        return self._made[index] if index < len(self._made) else None

    def _count(self) -> int:
        in_all = math.prod(size_of(each) or 0 for each in self._parameters.values())
        shown = f"{in_all:,}"
        if any(values.keys() != self._parameters.keys() for values in explore(self._space).values):
            # Not all of these are there, so that they are counted one by one.
            in_all = sum(1 for _ in itertools.islice(self, LARGEST_GRID + 1))
            shown = f"more than {LARGEST_GRID:,}"
        if in_all > LARGEST_GRID:
            raise InputError(
                f"--sampler grid: the space {self._space.name} has {shown} points, too many to "
                "try; give it steps or fewer choices, or take another sampler"
            )
        return in_all

    def _below(self, chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The points with these values."""
        trial = optuna.create_study(sampler=Chosen(chosen)).ask()
        wanted = True
        try:
            self._space.propose(trial)
        except optuna.TrialPruned:
            wanted = False
        open_ones = [name for name in trial.params if name not in chosen]
        if not open_ones:
            if wanted:
                yield trial.params
            return
        name, distribution = open_ones[0], trial.distributions[open_ones[0]]
        self._check(name, distribution)
        for value in every_value(distribution):
            yield from self._below({**chosen, name: value})

    def _check(self, name: str, distribution: BaseDistribution) -> None:
        if size_of(distribution) is None:
            raise InputError(
                f"--sampler grid: {name} of space {self._space.name} is continuous; give it a "
                "step, or take another sampler"
            )
