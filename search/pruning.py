"""An Optuna pruner, asked about one report.

The pruner's view counts the reports of paused and pruned trials too. Stock pruners count finished
trials alone, which beside halving are so few that they would hardly ever fire.
"""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.pruners import (
    BasePruner,
    MedianPruner,
    PatientPruner,
    PercentilePruner,
    ThresholdPruner,
)

from minbert.errors import InputError

from .proposals import pruners_study
from .record import TrialRecord
from .study import Study

# So many other trials must have come to the same report before it can end a trial there.
_OTHERS = 4


def _patient(patience: float = 3, min_delta: float = 0.0) -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PatientPruner(None, int(patience), min_delta)


def _median(n_min_trials: float = _OTHERS, n_warmup_steps: float = 0) -> BasePruner:
    return MedianPruner(0, int(n_warmup_steps), n_min_trials=int(n_min_trials))


def _percentile(
    percentile: float = 25.0, n_min_trials: float = _OTHERS, n_warmup_steps: float = 0
) -> BasePruner:
    return PercentilePruner(percentile, 0, int(n_warmup_steps), n_min_trials=int(n_min_trials))


def _threshold(
    lower: float | None = None, upper: float | None = None, n_warmup_steps: float = 0
) -> BasePruner:
    return ThresholdPruner(lower=lower, upper=upper, n_warmup_steps=int(n_warmup_steps))


PRUNERS: dict[str, Callable[..., BasePruner]] = {
    "median": _median,
    "percentile": _percentile,
    "patient": _patient,
    "threshold": _threshold,
}


def make_pruner(text: str) -> BasePruner | None:
    """The pruner of a text such as ``percentile`` or ``percentile:percentile=50``.

    Returns:
        None for ``none``.

    Raises:
        InputError: no such pruner, or it does not take these options.
    """
    name, _, options = text.partition(":")
    if name == "none" and not options:
        return None
    if name not in PRUNERS:
        known = ", ".join([*PRUNERS, "none"])
        raise InputError(f"--pruner: unknown pruner '{name}'; there are: {known}")
    values: dict[str, Any] = {}
    for part in filter(None, options.split(",")):
        key, _, value = part.partition("=")
        try:
            values[key.strip()] = float(value)
        except ValueError:
            raise InputError(f"--pruner {text}: give numbers, such as {name}:key=3") from None
    try:
        return PRUNERS[name](**values)
    except TypeError as error:
        raise InputError(f"--pruner {text}: {str(error).partition(') ')[2] or error}") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"--pruner {text}: {error}") from None


class Pruning:
    """Asks a pruner whether a trial should go on.

    Args:
        study: the record that it compares with.
        text: see ``make_pruner``.
    """

    def __init__(self, study: Study, text: str):
        self._study, self._text = study, text
        self._pruner = make_pruner(text)
        self._seen: optuna.Study = pruners_study(study)

    def says(self, trial: TrialRecord, step: int, score: float) -> str | None:
        """Why the trial should end after a report that is not recorded yet; None to go on.

        Args:
            trial: not a fixed one.
            step: of the report.
            score: of the report.
        """
        if self._pruner is None:
            return None
        frozen = self._study.frozen(trial)
        frozen.intermediate_values[step] = score
        try:
            # The pruner has no state of its own: it looks at the study and at this trial.
            if not self._pruner.prune(self._seen, frozen):
                return None
        finally:
            del frozen.intermediate_values[step]
        return f"pruner {self._text}: {score:.3f} at report {step}"
