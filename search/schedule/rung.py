"""A rung of successive halving: the scores at one step, and who of the trials may continue.

All of it is a pure function of the scores and of how each trial stands.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Collection, Mapping

from search.ordered import discard


def plan_rungs(first: int, factor: int, last: int, trials: int, fixed: int) -> dict[int, int]:
    """Steps (report numbers) of the rungs: first, first·η, first·η² and so on, before the last.

    A rung where all or none of those that can come would go on decides nothing and is left out;
    so in a search of two trials both are trained to their end.

    Args:
        first: step of the first rung.
        factor: η.
        last: last step of a trial.
        trials: how many there will be, fixed ones included.
        fixed: those that are never paused or stopped.

    Returns:
        For each step the most trials that can ever report there.
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


# By which trials are ordered, best first: the score's negative, then the number.
_Place = tuple[float, int]


class Rung:
    """What a rung's decisions depend on, kept in order, so that a change costs O(log n).

    Args:
        scores: of every trial that reported there, by trial number; a score that is no number is
            the lowest.
        factor: η.
        fixed: trials that go on in any case.
        gone_on: the others that went on from here.
        over: the others that can no longer go on: failed, or stopped for another reason.

    Attributes:
        scores: as given and put since.
        factor: η.
    """

    def __init__(
        self,
        scores: Mapping[int, float],
        factor: int,
        fixed: Collection[int] = (),
        gone_on: Collection[int] = (),
        over: Collection[int] = (),
    ):
        self.scores: dict[int, float] = {}
        self.factor = factor
        # Trials that are not fixed, and of these the ones that may still go on from here.
        self._ranked: list[_Place] = []
        self._open: list[_Place] = []
        self._gone_on: set[int] = set()
        for number, score in scores.items():
            self.put(
                number,
                score,
                fixed=number in fixed,
                gone_on=number in gone_on,
                over=number in over,
            )

    def put(
        self,
        number: int,
        score: float,
        *,
        fixed: bool = False,
        gone_on: bool = False,
        over: bool = False,
    ) -> None:
        """Let a trial stand at the rung like this, whether it stood there otherwise or not yet."""
        self.remove(number)
        self.scores[number] = score
        if fixed:
            return
        insort(self._ranked, self._place(number))
        if gone_on:
            self._gone_on.add(number)
        elif not over:
            insort(self._open, self._place(number))

    def remove(self, number: int) -> None:
        """Forget a trial, if it stands there."""
        if number not in self.scores:
            return
        for places in (self._ranked, self._open):
            discard(places, self._place(number))
        self._gone_on.discard(number)
        del self.scores[number]

    @property
    def places(self) -> int:
        """How many may go on from here: ⌊n/η⌋."""
        return len(self.scores) // self.factor

    @property
    def ranking(self) -> list[int]:
        """Trials that are not fixed, best first; of equal scores the lower number first."""
        return [number for _, number in self._ranked]

    def promotable(self) -> int | None:
        """The best trial that may go on now, None where there is none."""
        if not self._open or len(self._gone_on) >= self.places:
            return None
        number = self._open[0][1]
        return number if self._rank(number) < self.places else None

    def hopeless(self, trials: int) -> list[int]:
        """Trials that may not go on now and for which no place can come free, best first.

        Later scores only push a trial down, so its rank has to be within ⌊trials/η⌋ now.

        Args:
            trials: the most that can ever report here.
        """
        hopeful = trials // self.factor
        if hopeful >= len(self._ranked):
            return []
        first = bisect_left(self._open, self._ranked[hopeful])
        return [number for _, number in self._open[first:]]

    def goes_on_at_once(self, number: int) -> bool:
        """The rule that stops without pausing: in the top 1/η so far, or as good as the best."""
        above = bisect_left(self._ranked, (self._place(number)[0], -1))
        return above < max(1, self.places)

    def standing(self, number: int) -> str:
        """A trial's rank in words: ``7th of 9, 3 go on``."""
        go_on = f"{self.places} go{'es' if self.places == 1 else ''} on"
        return f"{_ordinal(self._rank(number) + 1)} of {len(self._ranked)}, {go_on}"

    def _rank(self, number: int) -> int:
        return bisect_left(self._ranked, self._place(number))

    def _place(self, number: int) -> _Place:
        score = self.scores[number]
        return (math.inf if math.isnan(score) else -score), number


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"
