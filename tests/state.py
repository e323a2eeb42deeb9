"""State of the test process that a test must not leave changed for those that come after it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from testkit.waiting import PATIENCE

# A shell without job control makes commands that it starts in the background deaf to these.
_OF_TERMINALS = (signal.SIGINT, signal.SIGQUIT)
# The browser is for all files.
_STAYS = "chromedriver"
# Pytest's own, and what libraries set when a part of them is first imported.
_MAY_CHANGE = ("PYTEST_CURRENT_TEST", "PYTHONBREAKPOINT", "TORCHINDUCTOR_", "KMP_")


def hear_signals() -> None:
    """Let commands that tests start hear Ctrl-C, also where the tests themselves do not.

    A script starts a command in the background with SIGINT and SIGQUIT ignored, and what it
    ignores a command that it starts in turn ignores too. A handler is not handed down.
    """
    for number in _OF_TERMINALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def _handlers() -> dict[str, Any]:
    return {number.name: signal.getsignal(number) for number in signal.Signals}


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def _state() -> dict[str, Any]:
    ray = sys.modules.get("ray")
    return {
        **{f"handler of {name}": handler for name, handler in _handlers().items()},
        **{
            f"environment variable {name}": value
            for name, value in os.environ.items()
            if not name.startswith(_MAY_CHANGE)
        },
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "current folder": Path.cwd(),
        "umask": _umask(),
        "threads of torch": torch.get_num_threads(),
        "a connection to Ray": ray is not None and ray.is_initialized(),
    }


@contextmanager
def nothing_changed() -> Iterator[None]:
    """Fail where the block leaves this process in another state than it found."""
    before = _state()
    yield
    after = _state()
    changed = [
        f"{name}: {before.get(name)!r} before, {after.get(name)!r} now"
        for name in before | after
        if before.get(name) != after.get(name)
    ]
    if changed:
        pytest.fail(f"left for the tests that come after: {'; '.join(changed)}", pytrace=False)


@contextmanager
def no_process_left() -> Iterator[None]:
    """Fail where the block leaves a process that it started."""
    this = psutil.Process()
    before = set(this.children())
    yield
    started = [child for child in this.children() if child not in before and child.name() != _STAYS]
    _, left = psutil.wait_procs(started, timeout=PATIENCE)
    if left:
        commands = "; ".join(" ".join(child.cmdline()) for child in left)
        pytest.fail(f"still running: {commands}", pytrace=False)
