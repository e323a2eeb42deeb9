"""Commands and searches in the process of the tests, which spares each the start of its own."""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cluster import local
from cluster.local import Cluster, ray_cluster
from minbert.settings import run_command


@contextmanager
def warnings_are_errors() -> Iterator[None]:
    """Let a warning fail a test, as a decorator.

    Pytest's own filter for a test would also catch what the garbage of earlier tests warns of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def run_in_process(main: Callable[[], int | None], *arguments: object) -> tuple[int, str, str]:
    """Run the main function of a command: its exit status, what it printed, and to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        undone(),
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run_command(main)
    return int(caught.value.code or 0), out.getvalue(), err.getvalue()


class OneSlot(Cluster):
    """This machine with room for one trial, however many cores it has: the order is no chance."""

    def slots(self, cpus_per_trial: int, gpus_per_trial: float) -> int:  # noqa: ARG002
        return 1


@contextmanager
def shared_ray() -> Iterator[Cluster]:
    """Ray on this machine; searches in this process use it meanwhile, for one trial at a time."""
    with undone(), pytest.MonkeyPatch.context() as patch:
        # Whatever cluster this names must not be joined.
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        with ray_cluster(dashboard=False) as machine:
            patch.setattr(local, "ray_cluster", lambda *_, **__: contextlib.nullcontext(OneSlot()))
            yield machine


@contextmanager
def undone() -> Iterator[None]:
    """Undo what Ray does to the environment and to the signal handlers of its process."""
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers[signal.SIGUSR1] = signal.getsignal(signal.SIGUSR1)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
