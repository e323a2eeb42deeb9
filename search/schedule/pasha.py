"""PASHA: ASHA that trains longer only while longer training changes the ranking.

Bohdal et al. 2023, "PASHA: Efficient HPO and NAS with Progressive Resource Allocation"
(arXiv 2207.06940), Algorithm 1, with the soft ranking and the noise-based ε of section 4.
"""

import itertools
import math
from bisect import insort
from collections.abc import Mapping, Sequence

from minbert.report import Report
from search.ordered import percentile
from search.record import TrialRecord, Verdict
from search.storage.study import Study

from .asha import Asha
from .rung import Rung

# ε is this percentile of the differences of noisy pairs: N, with the value of Bohdal et al.
_NOISE_PERCENTILE = 90


class Pasha(Asha):
    """Progressive ASHA.

    Trials pause and are promoted as by ``Asha``, but never beyond the top rung, which is the second
    rung at first. After each report at the top rung, the trials there are ranked by their scores at
    the top rung and by their scores at the rung below. If the two rankings differ by more than
    noise, the next rung becomes the top rung; above the last rung is the end of training. The top
    rung never goes down again.

    The noise level is ε: scores at the rung below that differ by at most ε have equal rank. It is
    estimated from pairs of trials at the top rung whose order changed along their curves and
    changed back. ε is the 90th percentile of the differences between their scores at the top rung.
    It is 0 at first, and stays the same while there is no such pair.

    The top rung is a function of the reports in the order in which they were recorded. Fixed trials
    count in the rankings like any others, and run to their end.

    The search is over when all trials were proposed and none can be promoted. The trials at the top
    rung are stopped then, so, as in Bohdal et al., the best of them may not be fully trained. The
    search keeps the model with the best score so far; ``search.review --trial`` prints the command
    that trains its configuration to the end.

    With fewer than two rungs there is nothing to compare, and PASHA equals ASHA.
    """

    def __init__(
        self,
        study: Study,
        most_reports: int,
        planned: int,
        *,
        grace_period: int,
        reduction_factor: int,
    ):
        # Finite scores of the reports so far, by trial.
        self._curves: dict[int, list[float]] = {}
        # Differences between noisy pairs at the top rung, sorted.
        self._noisy: list[float] = []
        self._epsilon = 0.0
        # Index of the top rung; an index beyond the last rung means that there is no limit.
        self._top = 1
        self._follows = False
        super().__init__(
            study,
            most_reports,
            planned,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
        )
        reports = [
            (decision.order, trial.number, report.score)
            for trial in study.trials
            for report, decision in zip(trial.reports, trial.decisions, strict=True)
        ]
        for _, number, score in sorted(reports):
            self._count(number, score)
        self._follows = True

    @property
    def top(self) -> int | None:
        """Report number of the current top rung; None if trials may be trained to their end."""
        return self.steps[self._top] if self._top < len(self.steps) else None

    def verdict(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:
        verdict, reason = super().verdict(trial, report)
        return (
            verdict,
            f"{reason}; this is the top rung" if report.step == self.top else reason,
        )

    def _promoting(self) -> dict[int, Rung]:
        top = self.top
        return {step: rung for step, rung in self._rungs.items() if top is None or step < top}

    def _update(self, trial: TrialRecord) -> None:
        super()._update(trial)
        if self._follows:
            known = len(self._curves.get(trial.number, ()))
            for report in trial.reports[known:]:
                self._count(trial.number, report.score)

    def _count(self, number: int, score: float) -> None:
        """Add the next report of a trial; the top rung may rise."""
        if not math.isfinite(score):
            # The trial has failed.
            return
        curve = self._curves.setdefault(number, [])
        curve.append(score)
        top = self.top
        if top is None or len(curve) != top:
            return
        there = {n: each[:top] for n, each in self._curves.items() if len(each) >= top}
        for other in there:
            if other != number and flips_back(there[other], there[number]):
                insort(self._noisy, abs(there[other][-1] - there[number][-1]))
        if self._noisy:
            self._epsilon = percentile(self._noisy, _NOISE_PERCENTILE)
        below = self.steps[self._top - 1]
        if not same_ranking(
            {n: each[below - 1] for n, each in there.items()},
            {n: each[-1] for n, each in there.items()},
            self._epsilon,
        ):
            self._raise_top()

    def _raise_top(self) -> None:
        self._top += 1
        self._noisy = []
        if (top := self.top) is not None:
            # Fixed trials may have reached this rung.
            there = [each[:top] for each in self._curves.values() if len(each) >= top]
            pairs = itertools.combinations(there, 2)
            self._noisy = sorted(abs(a[-1] - b[-1]) for a, b in pairs if flips_back(a, b))


def same_ranking(below: Mapping[int, float], top: Mapping[int, float], epsilon: float) -> bool:
    """Whether trials have the same order at two rungs, apart from noise.

    Args:
        below: scores at the lower rung, by trial number.
        top: scores of the same trials at the higher rung.
        epsilon: scores at the lower rung that differ by at most this have equal rank.
    """
    before = sorted(below, key=lambda number: (-below[number], number))
    places = {number: place for place, number in enumerate(before)}
    now = sorted(top, key=lambda number: (-top[number], places[number]))
    return all(
        abs(below[was] - below[number]) <= epsilon for was, number in zip(before, now, strict=True)
    )


def flips_back(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the order of two curves changed and changed back: above, below, above again."""
    signs = [a > b for a, b in zip(one, other, strict=True) if a != b]
    return sum(a != b for a, b in itertools.pairwise(signs)) >= 2
