"""What a confirmation shows: the interval of the mean difference to the recipe, and its words.

The estimand is the expected score of a configuration minus that of the recipe, over training seeds
and over examples of the population.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, t

# Two-sided; so "better" is claimed of an equal configuration in half of the rest of the cases.
LEVEL = 0.95
# The part of cases in which a difference is to be shown, for statements on what could be shown.
POWER = 0.8
# An interval needs a spread, and a spread of two values says next to nothing.
FEWEST_SEEDS = 3

Finding = Literal["better", "worse", "not shown"]


@dataclass(frozen=True)
class Interval:
    """A mean difference of scores with its 95 % interval.

    Attributes:
        mean: of the differences, over seeds.
        half_width: of the interval.
        seeds: number of differences.
        detectable: a true difference that would be shown in 4 of 5 cases.
    """

    mean: float
    half_width: float
    seeds: int
    detectable: float

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def finding(self) -> Finding:
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not shown"


def interval_of(differences: Sequence[float], *, shared_variance: float = 0.0) -> Interval:
    """The interval of a mean difference, by Student's t over seeds.

    Args:
        differences: (seeds,) of scores, each of a pair of trainings with the same seed and fold.
        shared_variance: what examples that judge several of them add to the variance of the mean;
            0 if each is judged by examples of its own. See ``shared_by_examples``.

    Raises:
        ValueError: there are fewer than three differences.
    """
    count = len(differences)
    if count < FEWEST_SEEDS:
        raise ValueError(f"an interval needs {FEWEST_SEEDS} differences or more, not {count}")
    spread = float(np.std(differences, ddof=1))
    half_width = _half_width(spread, count, shared_variance)
    could = detectable(spread, count, shared_variance=shared_variance)
    return Interval(float(np.mean(differences)), half_width, count, could)


def _half_width(spread: float, seeds: int, shared_variance: float) -> float:
    critical = float(t.ppf((1 + LEVEL) / 2, seeds - 1))
    normal = float(t.ppf((1 + LEVEL) / 2, np.inf))
    return math.sqrt(critical**2 * spread**2 / seeds + normal**2 * shared_variance)


def part_shared(count: int, pairs: int) -> float:
    """How much of the variance that pairs share through their examples counts for the mean of all.

    The variance of n differences estimates that of their mean without what some of them share. If c
    of them share a variance b, the rest that is missing is b·c(c − 1)/(n(n − 1)): nothing if each
    has examples of its own, and b if the same examples judge all.

    Args:
        count: pairs that the same examples judge, c.
        pairs: all pairs, n.
    """
    return count * (count - 1) / (pairs * (pairs - 1))


def shared_by_examples(one: float, mean: float, seeds: int) -> float:
    """The part of the variance over examples that does not become less with more seeds.

    Args:
        one: bootstrap variance over examples of one seed's difference, the mean over seeds.
        mean: the same of the difference averaged over seeds.
        seeds: number of seeds.
    """
    return max(0.0, mean - (one - mean) / (seeds - 1))


def detectable(spread: float, seeds: int, *, shared_variance: float = 0.0) -> float:
    """The true difference that is shown in 4 of 5 cases.

    Args:
        spread: standard deviation of a difference over seeds.
        seeds: number of differences.
        shared_variance: as for ``interval_of``.
    """
    # As if the interval, which includes what is shared, were one of differences alone.
    critical = float(t.ppf((1 + LEVEL) / 2, seeds - 1))
    return _half_width(spread, seeds, shared_variance) * _detectable_shift(seeds) / critical


@cache
def _detectable_shift(seeds: int) -> float:
    """As ``detectable``, in standard errors of the mean."""
    critical = t.ppf((1 + LEVEL) / 2, seeds - 1)

    def lacks(shift: float) -> float:
        return float(nct.sf(critical, seeds - 1, shift)) - POWER

    # Far more than any shift that 80 % needs, with 3 seeds or more.
    return float(brentq(lacks, 0.0, 10 * critical))


def in_words(interval: Interval, examples: int) -> str:
    """The finding, for people; differences are in points, hundredths of a score.

    Args:
        interval: of the confirmation.
        examples: number of examples that judged.
    """
    values = (interval.mean, interval.low, interval.high)
    decimals = _decimals(interval)
    mean, low, high = (100 * value for value in values)
    over = (
        f"over {interval.seeds} training seeds, on {examples:,} examples that played no part in "
        "choosing it."
    )
    if interval.finding == "better":
        return (
            f"Better than the recipe: trained this way it scores {mean:.{decimals}f} points more "
            f"on average (95 % interval {low:.{decimals}f} to {high:.{decimals}f}), {over}"
        )
    if interval.finding == "worse":
        return (
            f"Worse than the recipe: trained this way it scores {-mean:.{decimals}f} points less "
            f"on average (95 % interval {-high:.{decimals}f} to {-low:.{decimals}f}), {over}"
        )
    return (
        f"Not shown to be better. The difference is {_signed(mean, decimals)} points "
        f"({_signed(low, decimals)} to {_signed(high, decimals)}). A difference of "
        f"{100 * interval.detectable:.{decimals}f} points would have been shown in 4 of 5 cases."
    )


def _decimals(interval: Interval) -> int:
    """Enough that the end of the interval that decides is not shown as 0."""
    end = interval.low if interval.finding == "better" else interval.high
    if interval.finding == "not shown":
        return 1
    return next((n for n in (1, 2, 3) if round(100 * abs(end), n) > 0), 4)


def _signed(value: float, decimals: int) -> str:
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"{'−' if value < 0 else '+'}{text}"  # a minus sign, for people
