"""Optuna's pruners by name, one row each; Optuna is imported when a pruner is made."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minbert.errors import InputError
from minbert.settings import choose

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

# A trial can be pruned at a report only if this many other trials have made the same report.
_OTHERS = 4


@dataclass(frozen=True)
class PrunerRow:
    """A pruner to choose.

    Attributes:
        help: what it does, in a few words.
        make: makes the pruner; takes its options as keywords.
    """

    help: str
    make: "Callable[..., BasePruner | None]"


def _median(n_min_trials: float = _OTHERS, n_warmup_steps: float = 0) -> "BasePruner":
    from optuna.pruners import MedianPruner

    return MedianPruner(0, int(n_warmup_steps), n_min_trials=int(n_min_trials))


def _percentile(
    percentile: float = 25.0, n_min_trials: float = _OTHERS, n_warmup_steps: float = 0
) -> "BasePruner":
    from optuna.pruners import PercentilePruner

    return PercentilePruner(percentile, 0, int(n_warmup_steps), n_min_trials=int(n_min_trials))


def _patient(patience: float = 3, min_delta: float = 0.0) -> "BasePruner":
    from optuna.exceptions import ExperimentalWarning
    from optuna.pruners import PatientPruner

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientPruner(None, int(patience), min_delta)


def _threshold(
    lower: float | None = None, upper: float | None = None, n_warmup_steps: float = 0
) -> "BasePruner":
    from optuna.pruners import ThresholdPruner

    return ThresholdPruner(lower=lower, upper=upper, n_warmup_steps=int(n_warmup_steps))


def _none() -> None:
    return None


PRUNERS: Mapping[str, PrunerRow] = {
    "median": PrunerRow("end a trial whose best score is below the others' median", _median),
    "percentile": PrunerRow("end it below the top 25 % of the others", _percentile),
    "patient": PrunerRow("end it after 3 reports without a better score", _patient),
    "threshold": PrunerRow("end it outside the bounds lower and upper", _threshold),
    "none": PrunerRow("end none", _none),
}


def make_pruner(text: str) -> "BasePruner | None":
    """The pruner that a text such as ``percentile`` or ``percentile:percentile=50`` names.

    Returns:
        None for ``none``.

    Raises:
        InputError: no such pruner, or it does not take these options.
    """
    name, _, options = text.partition(":")
    row = choose("pruner", name, PRUNERS)
    values: dict[str, Any] = {}
    for part in filter(None, options.split(",")):
        key, _, value = part.partition("=")
        try:
            values[key.strip()] = float(value)
        except ValueError:
            raise InputError(f"give numbers, such as {name}:key=3") from None
    try:
        return row.make(**values)
    except TypeError as error:
        raise InputError(str(error).partition(") ")[2] or str(error)) from None
    except (ValueError, OverflowError) as error:
        raise InputError(str(error)) from None
