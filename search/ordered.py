"""Lists that are kept in order, by ``bisect``: moving what comes behind costs next to nothing."""

from bisect import bisect_left
from typing import Any


def discard(ordered: list[Any], item: Any) -> None:
    """Remove an item from a list in order, if it is there."""
    index = bisect_left(ordered, item)
    if index < len(ordered) and ordered[index] == item:
        del ordered[index]
