"""Inspects a space: its branches, whether all of them can be trained, and what it varies."""

import contextlib
import functools
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from minbert.config import TrainConfig, recipe
from minbert.errors import InputError

from .space_trial import value_on_step
from .spaces import Fields, Space

# Parameters with at most this many values are tried value by value to find a space's branches.
_MOST_VALUES = 20
_MOST_CHOICES = 100
# Limits for spaces that keep returning new parameters.
_MOST_PARAMETERS = 100
_MOST_RUNS = 5000
_MOST_RANGES_SHOWN = 3
# Random points find branches that depend on two parameters at once, or on a value inside a range.
_RANDOM_RUNS = 100


@dataclass(frozen=True)
class Branches:
    """The result of running a space's function over its branches.

    Attributes:
        seen: the distributions of each parameter, in the order in which parameters were first
            seen; there are several if a range depends on another parameter.
        values: values of the parameters, for each run.
        proposals: the fields returned, for each run.
        pruned: values of the parameters for which the function raised ``TrialPruned``.
    """

    seen: dict[str, list[BaseDistribution]]
    values: list[dict[str, Any]]
    proposals: list[Fields]
    pruned: list[dict[str, Any]] = field(default_factory=list)

    @property
    def parameters(self) -> dict[str, BaseDistribution]:
        """The first distribution of each parameter."""
        return {name: distributions[0] for name, distributions in self.seen.items()}


class Chosen(optuna.samplers.BaseSampler):
    """A sampler of given values; for other parameters, of the first or lowest value."""

    def __init__(self, values: Mapping[str, Any]):
        self.values = values

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def sample_independent(
        self,
        study: Any,  # noqa: ARG002
        trial: Any,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        value = self.values.get(param_name, _NOTHING)
        if value is not _NOTHING and contains(param_distribution, value):
            return value
        return next(_values(param_distribution))


_NOTHING = object()


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter can have a value, up to rounding of steps."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if not isinstance(value, int | float) or not low <= value <= high:
        return False
    return not step or abs((value - low) / step - round((value - low) / step)) < 1e-9


def size_of(distribution: BaseDistribution) -> int | None:
    """Number of values that a parameter can have; None for a continuous one."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def every_value(distribution: BaseDistribution) -> Iterator[Any]:
    """All values of a parameter that is not continuous, in order."""
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
        return
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(distribution, IntDistribution):
        yield from range(distribution.low, distribution.high + 1, distribution.step)
    elif distribution.step is not None:
        for index in range(size_of(distribution) or 0):
            yield value_on_step(distribution.low, distribution.step, index)


def _values(distribution: BaseDistribution) -> Iterator[Any]:
    """All values of a small distribution; both ends of a large range, or a part of many choices."""
    size = size_of(distribution)
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        yield from choices[:: -(-len(choices) // _MOST_CHOICES)]
    elif size and size <= _MOST_VALUES:
        yield from every_value(distribution)
    else:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        yield from (distribution.low, distribution.high)


@functools.lru_cache(maxsize=4)
def explore(space: Space) -> Branches:
    """Run a space's function over its branches.

    Tries every value of a small parameter and both ends of a large one, one at a time, starting
    from the configuration in which the parameter was first seen; then random points. These find
    branches that need two values at once, or a value inside a range, unless they are rare.

    Raises:
        InputError: as ``Space.propose``.
    """
    if space.function is None:
        return Branches({}, [], [experiment.changes for experiment in space.experiments])
    found = Branches({}, [], [])
    known: dict[str, BaseDistribution] = {}
    waiting: list[dict[str, Any]] = [{}]
    at_random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    runs = 0
    # Suppress what the function prints; it prints again for its trials.
    with contextlib.redirect_stdout(io.StringIO()):
        for _ in range(_RANDOM_RUNS):
            while waiting:
                runs += 1
                if runs > _MOST_RUNS or len(found.seen) > _MOST_PARAMETERS:
                    raise InputError(
                        f"{space.path}: the space has too many parameters; the last is "
                        f"'{list(found.seen)[-1]}'"
                    )
                chosen = optuna.create_study(sampler=Chosen(waiting.pop(0)))
                waiting += _run(space, chosen.ask(), known, found)
            waiting += _run(space, at_random.ask(), known, found)
    return found


def _run(
    space: Space, trial: optuna.Trial, known: dict[str, BaseDistribution], found: Branches
) -> list[dict[str, Any]]:
    """Run the function once; returns the points to run next because of new parameters."""
    try:
        found.proposals.append(space.propose(trial, known))
        found.values.append(trial.params)
    except optuna.TrialPruned:
        # A rejected point still shows which parameters the function asks for.
        found.pruned.append(trial.params)
    new = {
        name: distribution
        for name, distribution in trial.distributions.items()
        if name not in found.seen
    }
    for name, distribution in trial.distributions.items():
        before = found.seen.setdefault(name, [])
        if distribution not in before:
            before.append(distribution)
    return [
        {**trial.params, name: value}
        for name, distribution in new.items()
        for value in _values(distribution)
        # Compare by repr, because True equals 1.
        if repr(value) != repr(trial.params[name])
    ]


def check_space(space: Space, base: TrainConfig) -> list[TrainConfig]:
    """Configurations over all branches of the space; InputError for the first invalid one."""
    # Find an error in ``at`` now, not in the middle of a search.
    space.at(base)
    proposals = explore(space).proposals
    if not proposals:
        raise InputError(f"{space.path}: the space rejects all points that were tried")
    return [space.configure(fields, base) for fields in proposals]


def describe(space: Space) -> list[tuple[str, str]]:
    """What the space varies, as (name, range) texts for people.

    Raises:
        InputError: as ``Space.propose``.
    """
    if space.function is None:
        base = recipe(space.recipe or "strong")
        same = base.effective()
        return [
            (
                f"{number}. {experiment.name}",
                _as_text(experiment.changes)
                + ", the recipe itself: trial 0"
                * (space.configure(experiment.changes, base).effective() == same),
            )
            for number, experiment in enumerate(space.experiments, start=1)
        ]
    rows = []
    found = explore(space)
    for name, distributions in found.seen.items():
        ranges = [_range(each) for each in distributions[:_MOST_RANGES_SHOWN]]
        more = " …" if len(distributions) > len(ranges) else ""
        text = " or ".join(ranges) + more + _condition(name, found)
        rows.append(space.shown.get(name, (name, text)))
    # Several parameters may be shown as one.
    return list(dict.fromkeys(rows))


def _condition(name: str, found: Branches) -> str:
    """When the parameter exists, if one other parameter decides that; empty if always."""
    if all(name in values for values in found.values):
        return ""
    for other, distribution in found.parameters.items():
        # Parameters with more values were not tried with all of them.
        if other == name or (size_of(distribution) or math.inf) > _MOST_VALUES:
            continue
        if not all(other in values for values in found.values):
            continue
        present = {values[other] for values in found.values if name in values}
        absent = {values[other] for values in found.values if name not in values}
        if present.isdisjoint(absent):
            if len(absent) == 1 < len(present):
                return f" (unless {other}={absent.pop()})"
            return f" (with {other}={' or '.join(sorted(map(str, present)))})"
    return " (in some configurations)"


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    text = f"{distribution.low:g} to {distribution.high:g}"
    if distribution.log:
        return f"{text}, log-uniform"
    if distribution.step and distribution.step != 1:
        return f"{text} in steps of {distribution.step:g}"
    return text


def _as_text(fields: Fields) -> str:
    parts = []
    for name, value in fields.items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        parts.append(f"{name}={shown}")
    return ", ".join(parts)
