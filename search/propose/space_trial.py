"""The trial that a space's function receives; it converts or rejects what would fail later."""

import enum
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)

from minbert.errors import InputError
from minbert.output import encodable

_DEEPEST = 4


def plain_value(value: Any) -> Any:
    """A value without numpy types and enums, which JSON and databases do not support."""
    return _plain(value, 0)


def _plain(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise InputError("a field's value cannot be lists nested this deeply")
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth + 1)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return tuple(_plain(part, depth + 1) for part in value)
    return value


def value_on_step(low: float, step: float, index: int) -> float:
    """``low + index * step`` in decimal arithmetic: .3 instead of .30000000000000004."""
    return float(Decimal(repr(low)) + index * Decimal(repr(step)))


class SpaceTrial:
    """An Optuna trial for a space's function, which accepts more values.

    - Numpy numbers are accepted wherever numbers are.
    - A choice that a storage would not return unchanged, such as a tuple or an enum, is stored as
      text.
    - A float with a step is exactly on a step.
    - The names that ``suggest_float`` had in older versions of Optuna work.

    Args:
        trial: Optuna's trial.
        known: distributions of the parameters in the study; new ones are added.
    """

    def __init__(self, trial: optuna.Trial, known: dict[str, BaseDistribution]):
        self._trial, self._known = trial, known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        low, high, step = plain_value(low), plain_value(high), plain_value(step)
        if not all(map(math.isfinite, (low, high))):
            raise InputError(f"'{name}': its range must have finite ends (got {low} to {high})")
        distribution = FloatDistribution(low, high, log=log, step=step)
        self._check(name, distribution)
        value = self._trial.suggest_float(name, low, high, step=step, log=log)
        if step is None:
            return value
        return value_on_step(distribution.low, step, round((value - distribution.low) / step))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        low, high, step = plain_value(low), plain_value(high), plain_value(step)
        if any(value != round(value) for value in (low, high, step)):
            raise InputError(f"'{name}': its range must be of whole numbers (got {low} to {high})")
        self._check(name, IntDistribution(low, high, log=log, step=step))
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if isinstance(choices, set | frozenset):
            raise InputError(f"choices of '{name}' are a set, which has no order; give a list")
        given = list(choices)
        stored = [_stored(name, choice) for choice in given]
        if len(set(map(repr, stored))) < len(stored):
            raise InputError(f"choices of '{name}': two of them are the same: {given!r}")
        self._check(name, CategoricalDistribution(stored))
        chosen = self._trial.suggest_categorical(name, stored)
        return given[_index(stored, chosen)]

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        return self.suggest_float(name, low, high, step=q)

    def _check(self, name: str, distribution: BaseDistribution) -> None:
        """Reject what the study's storage or its sampler would reject in the middle of a search."""
        if not isinstance(name, str) or not name or encodable(name, "utf-8") != name:
            raise InputError(f"a parameter's name must be non-empty text (got {name!r})")
        if self._trial.distributions.get(name, distribution) != distribution:
            raise InputError(
                f"'{name}' is asked for twice with different choices or ranges; give them "
                "different names"
            )
        known = self._known.setdefault(name, distribution)
        if not are_compatible(known, distribution):
            raise InputError(
                f"'{name}' is {described(distribution)} here and {described(known)} elsewhere; "
                "give the two different names"
            )


def are_compatible(one: BaseDistribution, other: BaseDistribution) -> bool:
    """Whether Optuna accepts both for one parameter: ranges may differ, choices may not."""
    try:
        check_distribution_compatibility(one, other)
    except ValueError:
        return False
    return True


def _stored(name: str, choice: Any) -> Any:
    """A choice in the form in which a storage holds it."""
    plain = plain_value(choice)
    if isinstance(plain, tuple):
        parts = ((part, str(_stored(name, part))) for part in plain)
        return ",".join(f"({t})" if isinstance(part, tuple) else t for part, t in parts)
    if plain is None or isinstance(plain, bool | int | str):
        return plain
    if isinstance(plain, float) and not math.isnan(plain):
        return plain
    raise InputError(
        f"choices of '{name}' must be None, bool, int, float, str, or tuples of these "
        f"(got {choice!r})"
    )


def _index(stored: Sequence[Any], chosen: Any) -> int:
    # Compare by repr, because True equals 1, and 1 equals 1.0.
    same = [i for i, choice in enumerate(stored) if repr(choice) == repr(chosen)]
    return same[0] if same else stored.index(chosen)


def described(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {list(distribution.choices)}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "a float" if isinstance(distribution, FloatDistribution) else "an int"
    log = ", log" if distribution.log else ""
    return f"{kind} of {distribution.low:g} to {distribution.high:g}{log}"
