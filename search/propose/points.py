"""Points of a space: where a configuration lies in it, and the grid of all of them."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from minbert.config import TrainConfig
from minbert.errors import InputError

from .branches import Chosen, contains, every_value, explore, size_of
from .spaces import Space, built_in_spaces

# No search trains more, so a grid of more points is a mistake.
LARGEST_GRID = 10_000


class _NotThereError(Exception):
    """A value lies outside of the space."""


class _Wanted(Chosen):
    """Gives each parameter the value that makes a configuration what it is.

    Args:
        config: the configuration.
        params: values of parameters; others have the value of the field of their name.
    """

    def __init__(self, config: TrainConfig, params: Mapping[str, Any]):
        super().__init__({})
        self._config, self._params = config, params

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._params:
            if not contains(param_distribution, self._params[param_name]):
                raise _NotThereError
            return self._params[param_name]
        if param_name in TrainConfig.model_fields:
            return self._value_in(param_distribution, param_name)
        return super().sample_independent(study, trial, param_name, param_distribution)

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

    Raises:
        InputError: as ``Space.at``.
    """
    params = space.at(config)
    if space.function is None or params is None:
        return None
    trial = optuna.create_study(sampler=_Wanted(config, params)).ask()
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

    A point at which the space's function fails is one of them, for its trial to say so.

    Args:
        space: with a function.
        sampler: that needs the grid, for messages.

    Raises:
        InputError: a parameter is continuous, or there are too many points.

    Attributes:
        size: how many points there are.
    """

    def __init__(self, space: Space, sampler: str = "grid"):
        self._space, self._sampler = space, sampler
        self._branches = explore(space)
        for name, distributions in self._branches.seen.items():
            for distribution in distributions:
                self._check(name, distribution)
        self._study = optuna.create_study()
        self.size = self._count()
        self._made: list[dict[str, Any]] = []
        self._rest = iter(self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (point for point, is_wanted in self._below({}) if is_wanted)

    def point(self, index: int) -> dict[str, Any] | None:
        """The point at a place of the grid, None behind its end."""
        self._made += itertools.islice(self._rest, max(0, index + 1 - len(self._made)))
        return self._made[index] if index < len(self._made) else None

    def _count(self) -> int:
        found = self._branches
        in_all = math.prod(size_of(each) or 0 for each in found.parameters.values())
        shown = f"{in_all:,}"
        always_all = all(values.keys() == found.seen.keys() for values in found.values)
        if found.pruned or not always_all or any(len(each) > 1 for each in found.seen.values()):
            # Not the product, so that they are counted one by one.
            visited = list(itertools.islice(self._below({}), LARGEST_GRID + 1))
            in_all = sum(is_wanted for _, is_wanted in visited)
            shown = f"more than {LARGEST_GRID:,}"
            if len(visited) > LARGEST_GRID:
                in_all = len(visited)
        if in_all > LARGEST_GRID:
            raise InputError(
                f"--sampler {self._sampler}: the space {self._space.name} has {shown} points, too "
                "many to try; give it steps or fewer choices, or take another sampler"
            )
        return in_all

    def _below(self, chosen: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
        """The points with these values, and whether the space wants them."""
        self._study.sampler = Chosen(chosen)
        trial = self._study.ask()
        is_wanted = True
        try:
            self._space.propose(trial)
        except optuna.TrialPruned:
            is_wanted = False
        except InputError:
            pass
        params, distributions = trial.params, trial.distributions
        open_ones = [name for name in params if name not in chosen]
        if not open_ones:
            yield params, is_wanted
            return
        name = open_ones[0]
        self._check(name, distributions[name])
        for value in every_value(distributions[name]):
            yield from self._below({**chosen, name: value})

    def _check(self, name: str, distribution: BaseDistribution) -> None:
        if size_of(distribution) is None:
            shown, _ = self._space.shown.get(name, (name, ""))
            remedy = "give it a step in the space's file, or take another --sampler"
            if self._space.name in built_in_spaces():
                remedy = "take another --sampler, or a space file of your own with steps"
            raise InputError(
                f"--sampler {self._sampler}: {shown} of space {self._space.name} can have any "
                f"value in a range, and this sampler tries each value; {remedy}"
            )
