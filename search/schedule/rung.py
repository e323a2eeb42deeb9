"""A rung of successive halving: the scores at one step, and which trials may continue.

Everything here is a pure function of the scores and of the status of each trial.
"""

import math
import re
from bisect import bisect_left, insort
from collections.abc import Collection, Mapping

from minbert.output import ordinal
from search.ordered import discard


def plan_rungs(first: int, factor: int, last: int, trials: int, fixed: int) -> dict[int, int]:
    """Steps (report numbers) of the rungs: first, first·η, first·η² and so on, below the last.

    A rung where all or none of the trials would continue decides nothing and is left out. So in a
    search of two trials both are trained to their end.

    Args:
        first: step of the first rung.
        factor: η.
        last: last step of a trial.
        trials: number of planned trials, fixed ones included.
        fixed: number of trials that are never paused or stopped.

    Returns:
        For each step, the most trials that can ever report there.
    """
    rungs = {}
    step, contenders = first, trials - fixed
    while step < last:
        places = (contenders + fixed) // factor
        if 1 <= places < contenders:
            rungs[step] = contenders + fixed
            contenders = places
        step *= factor
    return rungs


def at_rung(number: int, standing: str) -> str:
    """A trial's rank at a rung, as a part of the reason of a decision."""
    return f"rung {number}: {standing}"


def names_rung(reason: str) -> bool:
    """Whether the reason of a decision has an ``at_rung``."""
    return re.search(r"\brung \d+: ", reason) is not None


# Sort key of a trial, best first: the negative score, then the number.
_Place = tuple[float, int]


def _place_of(number: int, score: float) -> _Place:
    return (math.inf if math.isnan(score) else -score), number


def ranked(scores: Mapping[int, float]) -> list[int]:
    """Numbers of trials as a rung ranks them, best first."""
    return sorted(scores, key=lambda number: _place_of(number, scores[number]))


class Rung:
    """The trials at a rung, sorted by score, so that a change costs O(log n).

    Args:
        scores: score of every trial that reported there, by trial number; NaN counts as the lowest.
        factor: η.
        fixed: trials that continue in any case.
        continued: other trials that have continued from here.
        over: other trials that can no longer continue: failed, or stopped for another reason.

    Attributes:
        scores: as given, with all changes since.
        factor: η.
    """

    def __init__(
        self,
        scores: Mapping[int, float],
        factor: int,
        fixed: Collection[int] = (),
        continued: Collection[int] = (),
        over: Collection[int] = (),
    ):
        self.scores: dict[int, float] = {}
        self.factor = factor
        # Trials that are not fixed, and those of them that may still continue from here.
        self._ranked: list[_Place] = []
        self._open: list[_Place] = []
        self._continued: set[int] = set()
        for number, score in scores.items():
            self.put(
                number,
                score,
                fixed=number in fixed,
                continued=number in continued,
                over=number in over,
            )

    def put(
        self,
        number: int,
        score: float,
        *,
        fixed: bool = False,
        continued: bool = False,
        over: bool = False,
    ) -> None:
        """Add a trial to the rung, or replace its score and status there."""
        self.remove(number)
        self.scores[number] = score
        if fixed:
            return
        insort(self._ranked, self._place(number))
        if continued:
            self._continued.add(number)
        elif not over:
            insort(self._open, self._place(number))

    def remove(self, number: int) -> None:
        """Remove a trial from the rung, if it is there."""
        if number not in self.scores:
            return
        for places in (self._ranked, self._open):
            discard(places, self._place(number))
        self._continued.discard(number)
        del self.scores[number]

    @property
    def places(self) -> int:
        """How many trials may continue from here: ⌊n/η⌋."""
        return len(self.scores) // self.factor

    @property
    def ranking(self) -> list[int]:
        """Trials that are not fixed, best first; with equal scores, the lower number first."""
        return [number for _, number in self._ranked]

    def promotable(self) -> int | None:
        """The best trial that may continue now; None if there is none."""
        if not self._open or len(self._continued) >= self.places:
            return None
        number = self._open[0][1]
        return number if self._rank(number) < self.places else None

    def hopeless(self, trials: int) -> list[int]:
        """Trials that may not continue now and can never be promoted later, best first.

        Later scores can only lower a trial's rank, so it must be within ⌊trials/η⌋ now.

        Args:
            trials: the most trials that can ever report here.
        """
        hopeful = trials // self.factor
        if hopeful >= len(self._ranked):
            return []
        first = bisect_left(self._open, self._ranked[hopeful])
        return [number for _, number in self._open[first:]]

    def continues_at_once(self, number: int) -> bool:
        """The rule of stopping without pauses: in the top 1/η so far, or as good as the best."""
        above = bisect_left(self._ranked, (self._place(number)[0], -1))
        return above < max(1, self.places)

    def standing(self, number: int) -> str:
        """A trial's rank in words: ``7th of 9, the top 3 continue``."""
        places = self.places
        top = f"the top {places} continue{'s' if places == 1 else ''}"
        if not places:
            top = "none continues yet"
        return f"{ordinal(self._rank(number) + 1)} of {len(self._ranked)}, {top}"

    def _rank(self, number: int) -> int:
        return bisect_left(self._ranked, self._place(number))

    def _place(self, number: int) -> _Place:
        return _place_of(number, self.scores[number])
