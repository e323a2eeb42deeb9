"""Points of a space: the point of a configuration, and the grid of all points."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from minbert.config import TrainConfig
from minbert.errors import InputError

from .branches import Chosen, contains, every_value, explore, size_of
from .spaces import Space, built_in_spaces

# No search runs more trials, so a larger grid is a mistake.
LARGEST_GRID = 10_000


class _NotThereError(Exception):
    """A value lies outside the space."""


class _Wanted(Chosen):
    """A sampler that gives each parameter the value that leads to a configuration.

    Args:
        config: the configuration.
        params: values of parameters; other parameters get the value of the field of their name.
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
        """The parameter's value that leads to the field's value in the configuration."""
        wanted = getattr(self._config, field)
        if contains(distribution, wanted):
            return wanted
        if isinstance(distribution, CategoricalDistribution):
            # A choice may be written differently, such as weights as text.
            for choice in distribution.choices:
                with contextlib.suppress(InputError):
                    if getattr(self._config.replace(**{field: choice}), field) == wanted:
                        return choice
        raise _NotThereError


class _Nearest(_Wanted):
    """Gives each parameter the value closest to the configuration's.

    Attributes:
        found: these values; a parameter without one is drawn at random.
    """

    def __init__(self, config: TrainConfig, params: Mapping[str, Any]):
        super().__init__(config, params)
        self.found: dict[str, Any] = {}

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        wanted = self._params.get(param_name, getattr(self._config, param_name, None))
        try:
            value = super().sample_independent(study, trial, param_name, param_distribution)
        except _NotThereError:
            value = closest(param_distribution, wanted)
        if value is None or wanted is None:
            return Chosen({}).sample_independent(study, trial, param_name, param_distribution)
        self.found[param_name] = value
        return value


def nearest(space: Space, config: TrainConfig) -> dict[str, Any]:
    """The point of a space that is closest to a configuration, parameter by parameter.

    Numbers outside their range take the end of it, and numbers among choices the closest choice.

    Returns:
        Values by parameter. A parameter is missing if nothing in the configuration corresponds to
        it, or if the space does not offer its value.
    """
    if space.function is None:
        return {}
    sampler = _Nearest(config, space.at(config) or {})
    with contextlib.suppress(InputError, optuna.TrialPruned):
        space.propose(optuna.create_study(sampler=sampler).ask())
    return sampler.found


def closest(distribution: BaseDistribution, wanted: Any) -> Any:
    """The value of a distribution that is closest to a number; None if there is none."""
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        return None
    if isinstance(distribution, CategoricalDistribution):
        numbers = [c for c in distribution.choices if isinstance(c, int | float)]
        return min(numbers, key=lambda choice: abs(choice - wanted), default=None)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    value = min(max(wanted, distribution.low), distribution.high)
    if distribution.step is not None:
        steps = round((value - distribution.low) / distribution.step)
        value = min(distribution.low + steps * distribution.step, distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def locate(
    space: Space, config: TrainConfig, base: TrainConfig
) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
    """The point of the space at which a configuration lies; None if it lies outside.

    Returns:
        The parameters, and their distributions.

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
    """All points of a space without continuous parameters, generated as they are needed.

    Points at which the space's function fails are included; their trials show the error.

    Args:
        space: a space with a function.
        sampler: name of the sampler that needs the grid, for messages.

    Raises:
        InputError: a parameter is continuous, or there are too many points.

    Attributes:
        size: number of points.
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
        """The point with an index in the grid; None beyond the last one."""
        self._made += itertools.islice(self._rest, max(0, index + 1 - len(self._made)))
        return self._made[index] if index < len(self._made) else None

    def _count(self) -> int:
        found = self._branches
        total = math.prod(size_of(each) or 0 for each in found.parameters.values())
        shown = f"{total:,}"
        always_all = all(values.keys() == found.seen.keys() for values in found.values)
        if found.pruned or not always_all or any(len(each) > 1 for each in found.seen.values()):
            # The number is not the product of the sizes, so count the points one by one.
            visited = list(itertools.islice(self._below({}), LARGEST_GRID + 1))
            total = sum(is_wanted for _, is_wanted in visited)
            shown = f"more than {LARGEST_GRID:,}"
            if len(visited) > LARGEST_GRID:
                total = len(visited)
        if total > LARGEST_GRID:
            raise InputError(
                f"--sampler {self._sampler}: the space {self._space.name} has {shown} points, too "
                "many to try; give it steps or fewer choices, or use another sampler"
            )
        return total

    def _below(self, chosen: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
        """The points with these values, and whether the space accepts them."""
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
            remedy = "give it a step in the space's file, or use another --sampler"
            if self._space.name in built_in_spaces():
                remedy = "use another --sampler, or a space file of your own with steps"
            raise InputError(
                f"--sampler {self._sampler}: {shown} of space {self._space.name} can have any "
                f"value in a range, and this sampler tries each value; {remedy}"
            )
