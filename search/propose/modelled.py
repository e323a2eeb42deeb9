"""The trials that TPE models: each one makes a proposal slower, so their number is limited."""

import math
from bisect import insort

from optuna.trial import FrozenTrial, TrialState

from search.ordered import discard

# The most trials with a score. TPE takes at most 25 as good ones, and gives old ones less weight.
MOST_TO_MODEL = 300

# TPE's order: finished trials by score, then others by their last step and then by score. Ties are
# broken by number.
_Place = tuple[int, int, float, int]


class Modelled:
    """Chooses half the best and half the newest trials with a score, and all running trials.

    Args:
        most: the most trials with a score.
    """

    def __init__(self, most: int = MOST_TO_MODEL):
        self._most = most
        self._known: dict[int, FrozenTrial] = {}
        self._places: dict[int, _Place] = {}
        self._ranked: list[_Place] = []
        self._numbers: list[int] = []
        self._running: set[int] = set()

    def put(self, trial: FrozenTrial) -> None:
        """Add a trial, or replace it."""
        number = trial.number
        self._known[number] = trial
        self._running.discard(number)
        old, new = self._places.pop(number, None), _place(trial)
        if old is not None:
            discard(self._ranked, old)
            discard(self._numbers, number)
        if new is not None:
            self._places[number] = new
            insort(self._ranked, new)
            insort(self._numbers, number)
        elif trial.state == TrialState.RUNNING:
            self._running.add(number)

    def trials(self) -> list[FrozenTrial]:
        """The chosen trials, by number."""
        chosen = {place[-1] for place in self._ranked[: self._most // 2]}
        for number in reversed(self._numbers):
            if len(chosen) >= self._most:
                break
            chosen.add(number)
        return [self._known[number] for number in sorted(chosen | self._running)]


def _place(trial: FrozenTrial) -> _Place | None:
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return None
    value = -math.inf if trial.value is None or math.isnan(trial.value) else trial.value
    if trial.state == TrialState.COMPLETE:
        return 0, 0, -value, trial.number
    return 1, -(trial.last_step or 0), -value, trial.number
