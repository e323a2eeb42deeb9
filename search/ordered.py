"""Lists that are kept in order, by ``bisect``: moving what comes behind costs next to nothing."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def discard(ordered: list[Any], item: Any) -> None:
    """Remove an item from a list in order, if it is there."""
    index = bisect_left(ordered, item)
    if index < len(ordered) and ordered[index] == item:
        del ordered[index]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of numbers in order, to the last bit as ``numpy.percentile`` has it."""
    place = (len(ordered) - 1) * (percent / 100)
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    share = place - below
    # Numpy reckons from the nearer of the two.
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
