"""A search on one slot whose driver kills itself with SIGKILL at a chosen moment.

    python -m tests.faults.killed_driver MOMENT N ray|inline SEARCH-OPTIONS...

The N-th time that the moment comes the process dies as by ``kill -9``. ``never`` lets it live.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from optuna.storages import RDBStorage

from cluster.local import Cluster
from minbert.settings import run_command
from search import run, session, trainer
from search.driver import Driver
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from search.workers import tuner
from search.workers.trial import MinbertTrial
from search.workers.wire import Reply

from ..inline import run_without_ray

Test = Callable[..., bool]


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def kill_in(
    owner: Any, name: str, nth: int, *, after: bool, when: Test = lambda *_, **__: True
) -> None:
    """Die in the n-th call of a function that passes a test, before or after its work."""
    original = getattr(owner, name)
    calls = 0

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        counts = when(*args, **kwargs)
        calls += counts
        if counts and calls == nth and not after:
            die()
        result = original(*args, **kwargs)
        if counts and calls == nth and after:
            die()
        return result

    setattr(owner, name, wrapped)


class KillingTrial(MinbertTrial):
    """Kills the driver in the middle of writing a checkpoint, and continues for a while."""

    def _report(self) -> Reply:
        mark = Path(self._directory.address) / ".kill"
        if not mark.exists() or not (pid := int(mark.read_text())):
            return super()._report()
        original = LocalDirectory.write

        def write(directory: LocalDirectory, name: str, content: bytes) -> None:
            if name == "checkpoint.json":
                mark.unlink(missing_ok=True)
                os.kill(pid, signal.SIGKILL)
            original(directory, name, content)

        LocalDirectory.write = write  # type: ignore[method-assign,assignment]  # only here
        try:
            return super()._report()
        finally:
            LocalDirectory.write = original  # type: ignore[method-assign]  # as it was


def _promotes(*args: Any, **_: Any) -> bool:
    return "promoted" in args


def _finishes(_: Any, __: Any, state: Any, *___: Any) -> bool:
    return bool(state.is_finished())


def _removes(_: Any, name: str) -> bool:
    return name.endswith("checkpoint.json")


def arm(moment: str, nth: int) -> None:
    """Prepare to die."""
    if moment == "in a checkpoint write":
        setattr(tuner, "MinbertTrial", KillingTrial)  # noqa: B010
        original = Driver

        def driver(*args: Any, **kwargs: Any) -> Driver:
            folder: Path = args[4].directory.path.with_name("checkpoints")
            folder.mkdir(exist_ok=True)
            (folder / ".kill").write_text(str(os.getpid()))
            return original(*args, **kwargs)

        setattr(session, "Driver", driver)  # noqa: B010
        return
    places: dict[str, Callable[[], None]] = {
        "never": lambda: None,
        "before the study is made": lambda: kill_in(
            RDBStorage, "create_new_study", nth, after=False
        ),
        "before a report": lambda: kill_in(Study, "add_report", nth, after=False),
        "between predictions and report": lambda: kill_in(DevPredictions, "write", nth, after=True),
        "while a report is written": lambda: kill_in(
            RDBStorage, "set_trial_intermediate_value", nth, after=False
        ),
        "before a final state": lambda: kill_in(
            RDBStorage, "set_trial_state_values", nth, after=False, when=_finishes
        ),
        "before a promotion": lambda: kill_in(
            Study, "start_attempt", nth, after=False, when=_promotes
        ),
        "in a promotion": lambda: kill_in(Study, "start_attempt", nth, after=True, when=_promotes),
        "after a trial is made": lambda: kill_in(Study, "add_trial", nth, after=True),
        "in a removal": lambda: kill_in(LocalDirectory, "remove", nth, after=True, when=_removes),
        "between two steps": lambda: kill_in(
            tuner.WorkerMonitor, "on_step_begin", nth, after=False
        ),
        "while the best is saved": lambda: kill_in(trainer, "save_model", nth, after=True),
    }
    places[moment]()


if __name__ == "__main__":
    chosen, count, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    sys.argv[1:] = sys.argv[4:]
    if where == "inline":
        run_without_ray()
    else:
        setattr(Cluster, "slots", lambda *_: 1)  # noqa: B010
    arm(chosen, count)
    run_command(run.main)
