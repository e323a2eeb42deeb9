"""Asynchronous successive halving (ASHA), as pure functions of the scores at each rung.

Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934).
``promote`` is its Algorithm 2: every trial pauses at a rung, and whenever a slot is free the best
of those in the top 1/η of a rung goes on. ``stop`` never pauses: a trial goes on at once or never.
Ours differs in two ways. Trials that must run to their end (the baseline, fixed lists) are among
the scores of a rung but take none of its places, and of a rung of n never more than ⌊n/η⌋ are
promoted, where the paper's rule can promote more as later trials push earlier ones from the top.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

HalvingMode = Literal["promote", "stop", "none"]


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


@dataclass(frozen=True)
class Rung:
    """What a rung's decisions depend on.

    Attributes:
        scores: of every trial that reported there, by trial number; a score that is no number is
            the lowest.
        factor: η.
        fixed: trials that go on in any case.
        gone_on: the others that went on from here.
        over: the others that can no longer go on: failed, or stopped for another reason.
    """

    scores: Mapping[int, float]
    factor: int
    fixed: Collection[int] = ()
    gone_on: Collection[int] = ()
    over: Collection[int] = ()

    @property
    def places(self) -> int:
        """How many may go on from here: ⌊n/η⌋."""
        return len(self.scores) // self.factor

    @cached_property
    def ranking(self) -> list[int]:
        """Trials that are not fixed, best first; of equal scores the lower number first."""
        contenders = [number for number in self.scores if number not in self.fixed]
        return sorted(contenders, key=lambda number: (-self._value(number), number))

    def promotable(self) -> int | None:
        """The best trial that may go on now, None where there is none."""
        if len(self.gone_on) >= self.places:
            return None
        for number in self.ranking[: self.places]:
            if number not in self.gone_on and number not in self.over:
                return number
        return None

    def hopeful(self, trials: int) -> set[int]:
        """Trials for which a place is there or can still come free.

        Later scores only push a trial down, so its rank has to be within ⌊trials/η⌋ now.

        Args:
            trials: the most that can ever report here.
        """
        return set(self.ranking[: trials // self.factor])

    def goes_on_at_once(self, number: int) -> bool:
        """The rule that stops without pausing: in the top 1/η so far, or as good as the best."""
        above = sum(self._value(other) > self._value(number) for other in self.ranking)
        return above < max(1, self.places)

    def standing(self, number: int) -> str:
        """A trial's rank in words: ``7th of 9, 3 go on``."""
        ranking = self.ranking
        go_on = f"{self.places} go{'es' if self.places == 1 else ''} on"
        return f"{_ordinal(ranking.index(number) + 1)} of {len(ranking)}, {go_on}"

    def _value(self, number: int) -> float:
        score = self.scores[number]
        return -math.inf if math.isnan(score) else score


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"
