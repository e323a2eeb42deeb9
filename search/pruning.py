"""An Optuna pruner, asked about one report.

The reports of paused and pruned trials count too. Stock pruners count finished trials alone, which
beside halving are so few that they would hardly ever fire.
"""

import math
import warnings
from bisect import insort
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.pruners import (
    BasePruner,
    MedianPruner,
    PatientPruner,
    PercentilePruner,
    ThresholdPruner,
)
from optuna.study import StudyDirection

from minbert.errors import InputError
from minbert.settings import choose

from .ordered import discard
from .record import State, TrialRecord
from .study import Study

# So many other trials must have come to the same report before it can end a trial there.
_OTHERS = 4

# Trials in these states are compared with.
_DO_NOT_RUN: tuple[State, ...] = ("finished", "paused", "cut short", "stopped")


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


def _none() -> None:
    return None


PRUNERS: dict[str, Callable[..., BasePruner | None]] = {
    "median": _median,
    "percentile": _percentile,
    "patient": _patient,
    "threshold": _threshold,
    "none": _none,
}


def make_pruner(text: str) -> BasePruner | None:
    """The pruner of a text such as ``percentile`` or ``percentile:percentile=50``.

    Returns:
        None for ``none``.

    Raises:
        InputError: no such pruner, or it does not take these options.
    """
    name, _, options = text.partition(":")
    make = choose("pruner", name, PRUNERS)
    values: dict[str, Any] = {}
    for part in filter(None, options.split(",")):
        key, _, value = part.partition("=")
        try:
            values[key.strip()] = float(value)
        except ValueError:
            raise InputError(f"give numbers, such as {name}:key=3") from None
    try:
        return make(**values)
    except TypeError as error:
        raise InputError(str(error).partition(") ")[2] or str(error)) from None
    except (ValueError, OverflowError) as error:
        raise InputError(str(error)) from None


class Pruning:
    """Asks a pruner whether a trial should go on.

    Args:
        study: the record that it compares with, and follows.
        text: see ``make_pruner``.
    """

    def __init__(self, study: Study, text: str):
        self._study, self._text = study, text
        self._pruner = make_pruner(text)
        self._alone = optuna.create_study(direction=StudyDirection.MAXIMIZE)
        # Scores of the trials that have reports and do not run, in order, by step; and how many
        # reports of each trial are among them.
        self._scores: dict[int, list[float]] = {}
        self._counted: dict[int, int] = {}
        if isinstance(self._pruner, PercentilePruner):
            study.follow(self._update)

    def says(self, trial: TrialRecord, step: int, score: float) -> str | None:
        """Why the trial should end after a report that is not recorded yet; None to go on.

        Args:
            trial: not a fixed one.
            step: of the report.
            score: of the report.
        """
        if self._pruner is None:
            return None
        if isinstance(self._pruner, PercentilePruner):
            ends = self._is_low(self._pruner, trial, step, score)
        else:
            ends = self._prunes_alone(self._pruner, trial, step, score)
        return f"pruner {self._text}: {score:.3f} at report {step}" if ends else None

    def _is_low(
        self, pruner: PercentilePruner, trial: TrialRecord, step: int, score: float
    ) -> bool:
        """What ``PercentilePruner.prune`` says, which would look at all trials each time."""
        scores = self._scores.get(step, [])
        if step < pruner._n_warmup_steps or len(scores) < pruner._n_min_trials:
            return False
        best = max([score, *(report.score for report in trial.reports)])
        return best < percentile(scores, 100 - pruner._percentile)

    def _prunes_alone(
        self, pruner: BasePruner, trial: TrialRecord, step: int, score: float
    ) -> bool:
        """What a pruner says that looks at the trial's own curve and at no other trial."""
        frozen = self._study.frozen(trial)
        frozen.intermediate_values[step] = score
        try:
            return pruner.prune(self._alone, frozen)
        finally:
            del frozen.intermediate_values[step]

    def _update(self, trial: TrialRecord) -> None:
        before = self._counted.get(trial.number, 0)
        now = len(trial.reports) if trial.state in _DO_NOT_RUN else 0
        for report in trial.reports[before:now]:
            insort(self._scores.setdefault(report.step, []), report.score)
        for report in trial.reports[now:before]:
            discard(self._scores[report.step], report.score)
        self._counted[trial.number] = now


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of numbers in order, to the last bit as ``numpy.percentile`` has it."""
    place = (len(ordered) - 1) * (percent / 100)
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    share = place - below
    # Numpy reckons from the nearer of the two.
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
