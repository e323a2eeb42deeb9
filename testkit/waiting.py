"""Waiting for what a test brought about. How long that takes is nobody's business here."""

import time
from collections.abc import Callable
from typing import TypeVar

# It ends a test that hangs, and measures nothing: no machine is so busy.
PATIENCE = 300.0

Found = TypeVar("Found")


def wait_for(
    what: Callable[[], Found], about: str | Callable[[], str] = "it", *, every: float = 0.1
) -> Found:
    """The first result of a function that is true; fails where none ever comes.

    Args:
        what: is called again and again.
        about: what is waited for, and anything that helps to see why it does not come.
        every: seconds between calls.
    """
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        if time.monotonic() > end:
            told = about if isinstance(about, str) else about()
            raise AssertionError(f"did not come within {PATIENCE:g} s: {told}")
        time.sleep(every)
    return found
