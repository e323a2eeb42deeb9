"""Sorted lists with ``bisect``; moving the items behind an insertion costs next to nothing."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def discard(ordered: list[Any], item: Any) -> None:
    """Remove an item from a sorted list if it is there."""
    index = bisect_left(ordered, item)
    if index < len(ordered) and ordered[index] == item:
        del ordered[index]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of sorted numbers, bit for bit as ``numpy.percentile`` computes it."""
    place = (len(ordered) - 1) * (percent / 100)
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    share = place - below
    # Numpy interpolates from the nearer of the two.
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
