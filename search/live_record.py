"""The record of a running search, indexed for its driver.

Each result equals what ``SearchRecord`` computes from all trials, but takes O(log n).
"""

from bisect import bisect_right, insort
from typing import Any, NamedTuple, get_args

from search.storage.study import Study

from .ordered import discard
from .record import SearchRecord, State, TrialRecord


class _Standing(NamedTuple):
    """What the indexes hold of a trial.

    Attributes:
        score: the negative score, so that the best comes first; None without a score.
        ended: ``order`` of the last report of a finished trial; None for others.
    """

    state: State
    score: float | None
    ended: int | None


class LiveRecord(SearchRecord):
    """The trials of a study that a driver runs.

    Args:
        planned: trials that will run if nothing ends the search early.
        study: the record; this object follows its changes.
    """

    def __init__(self, planned: int, study: Study):
        super().__init__(planned, study.trials)
        states: tuple[State, ...] = get_args(State)
        self._numbers: dict[State, list[int]] = {state: [] for state in states}
        self._scores: dict[State, list[tuple[float, int]]] = {state: [] for state in states}
        self._ended: list[int] = []
        self._standings: dict[int, _Standing] = {}
        study.follow(self._update)

    def count(self, *states: State) -> int:
        return sum(len(self._numbers[state]) for state in set(states))

    def first(self, state: State) -> TrialRecord | None:
        """The trial with the lowest number in a state; None if there is none."""
        numbers = self._numbers[state]
        return self.trials[numbers[0]] if numbers else None

    def best(self, *states: State) -> TrialRecord | None:
        leaders = [self._scores[state][0] for state in states if self._scores[state]]
        return self.trials[min(leaders)[1]] if leaders else None

    def finished_after(self, order: int) -> int:
        """Number of finished trials whose last report came after the report with this order."""
        return len(self._ended) - bisect_right(self._ended, order)

    def _update(self, trial: TrialRecord) -> None:
        score = trial.score
        is_finished = trial.state == "finished" and bool(trial.decisions)
        new = _Standing(
            trial.state,
            None if score is None else -score,
            trial.decisions[-1].order if is_finished else None,
        )
        old = self._standings.get(trial.number)
        if new == old:
            return
        if old is not None:
            self._move(trial.number, old, discard)
        self._move(trial.number, new, insort)
        self._standings[trial.number] = new

    def _move(self, number: int, standing: _Standing, move: Any) -> None:
        move(self._numbers[standing.state], number)
        if standing.score is not None:
            move(self._scores[standing.state], (standing.score, number))
        if standing.ended is not None:
            move(self._ended, standing.ended)
