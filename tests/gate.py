"""Searches whose workers and trials wait until a test lets them continue.

    python -m tests.gate FOLDER SLOTS SEARCH-OPTIONS...

is ``python -m search.run``, with the gate of that folder and so many trials at once (0: as many as
there is room for; inline: one, without Ray).
"""

import contextlib
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

import psutil

import cluster
from minbert.files import write_whole
from minbert.report import Report
from minbert.settings import run_command
from search import run
from search.driver import Driver
from search.review.page import live
from search.storage import study_file
from search.storage.patience import Patience
from testkit import waiting
from testkit.waiting import wait_for

# Trials at once.
Slots = int | Literal["inline"]

_SECONDS_BETWEEN_LOOKS = 0.05
_OTHERS = "others"


class Gate:
    """Where trials wait before a report, and workers before they begin; open at first.

    Args:
        folder: for notes of both sides; the workers have to reach it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("limits", "trials", "workers"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    # The side of the test

    def command(self, *options: str, slots: Slots = 0) -> list[str]:
        """A search with this gate."""
        python = [sys.executable, "-u", "-m", "tests.gate"]
        return [*python, str(self.folder), str(slots), *options]

    def hold(self, after: int, *trials: int) -> None:
        """Let these trials, or all others, wait after so many reports."""
        for name in trials or (_OTHERS,):
            _note(self.folder / "limits" / str(name), after)

    def open(self, *trials: int) -> None:
        """Let these trials, or all, run to their ends."""
        for path in list((self.folder / "limits").iterdir()):
            if not trials or path.name in map(str, trials):
                path.unlink()

    def hold_workers(self, but: int) -> None:
        """Let workers wait before they begin, but for the first so many."""
        _note(self.folder / "first", but)

    def open_workers(self) -> None:
        (self.folder / "first").unlink()

    def lose_patience(self) -> None:
        """Let the search give up storage that is away; until then it waits for any time."""
        (self.folder / "impatient").touch()

    def be_patient(self) -> None:
        (self.folder / "impatient").unlink()

    @property
    def seconds_to_wait(self) -> float:
        """For storage."""
        return 0.0 if (self.folder / "impatient").exists() else math.inf

    def waiting(self) -> dict[int, str]:
        """Ray's number of the node of each trial that waits."""
        return {int(name): node for name, (_, node) in self._alive("trials").items()}

    def waiting_workers(self) -> list[int]:
        """Processes of workers that wait."""
        return sorted(pid for pid, _ in self._alive("workers").values())

    def wait_until_held(self, *trials: int) -> None:
        """Wait until all of these trials wait."""
        wait_for(lambda: set(trials) <= self.waiting().keys(), f"trials {trials} wait")

    def _alive(self, kind: str) -> dict[str, tuple[int, str]]:
        """Process and node of those that wait; a worker may have been killed meanwhile."""
        found = {}
        for path in (self.folder / kind).glob("[0-9]*"):
            try:
                pid, node = path.read_text().split()
            except FileNotFoundError:
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
                    found[path.name] = (int(pid), node)
        return found

    # The side of the worker

    def pass_trial(self, number: int, report: int, node: str) -> None:
        mark = self.folder / "trials" / str(number)
        while self._limit(str(number)) < report:
            _note(mark, f"{os.getpid()} {node}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        mark.unlink(missing_ok=True)

    def pass_worker(self, node: str) -> None:
        mark = self.folder / "workers" / str(os.getpid())
        try:
            first = int((self.folder / "first").read_text())
        except FileNotFoundError:
            return
        for number in range(first):
            try:
                (self.folder / "workers" / f"first-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return
        while (self.folder / "first").exists():
            _note(mark, f"{os.getpid()} {node}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        mark.unlink(missing_ok=True)

    def _limit(self, name: str) -> float:
        """Reports that a trial may make now."""
        for each in (name, _OTHERS):
            try:
                return int((self.folder / "limits" / each).read_text())
            except FileNotFoundError:
                continue
        return float("inf")


def _note(path: Path, content: Any) -> None:
    """Write a small file that is never seen half written."""
    write_whole(path, str(content).encode(), sync=False)


def gated_trial(gate: Gate) -> type:
    """The class of trials, with a gate before each worker and each report."""
    import ray

    from search.trainer import MinbertTrainer, TrialTrainer
    from search.workers.trial import MinbertTrial

    class GatedTrainer(MinbertTrainer):
        number: int
        node: str

        def next_report(self, *args: Any) -> Report:
            gate.pass_trial(self.number, len(self.reports) + 1, self.node)
            return super().next_report(*args)

    class GatedTrial(MinbertTrial):
        def setup(self, config: dict[str, Any], **more: Any) -> None:
            self._node = ray.get_runtime_context().get_node_id()[:6]
            gate.pass_worker(self._node)
            super().setup(config, **more)

        def _make_trainer(self) -> TrialTrainer:
            self._trainer_class = GatedTrainer
            trainer = super()._make_trainer()
            assert isinstance(trainer, GatedTrainer)
            trainer.number, trainer.node = self._job.trial, self._node
            return trainer

    # No worker can import this package.
    for module in (waiting, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    return GatedTrial


def wait_for_storage_as_long_as(gate: Gate) -> None:
    """In place of the seconds of --storage-patience."""
    waits = Driver.waits

    def waits_until_told(
        driver: Driver, number: int, attempt: int, reason: str, seconds: float
    ) -> bool:
        seconds = 0.0 if gate.seconds_to_wait else math.inf
        return waits(driver, number, attempt, reason, seconds)

    setattr(Driver, "waits", waits_until_told)  # noqa: B010
    seconds = property(lambda _: gate.seconds_to_wait, lambda *_: None)
    setattr(Patience, "seconds", seconds)  # noqa: B010


def main() -> int:
    gate, slots = Gate(Path(sys.argv[1])), sys.argv[2]
    sys.argv[1:] = sys.argv[3:]
    if "--address" in sys.argv:
        # As the search does it, before Ray is imported.
        cluster.prepare_to_join(sys.argv[sys.argv.index("--address") + 1])
    from cluster.local import Cluster
    from search.workers import tuner

    if slots == "inline":
        from .inline import run_without_ray

        run_without_ray()
    elif int(slots):
        setattr(Cluster, "slots", lambda *_: int(slots))  # noqa: B010
    setattr(tuner, "MinbertTrial", gated_trial(gate))  # noqa: B010
    wait_for_storage_as_long_as(gate)
    # The page and the copy of the study come as soon as there is something to write.
    setattr(live, "_SECONDS_TO_FIRST", 0.1)  # noqa: B010
    setattr(study_file, "_SECONDS_BETWEEN", 0.0)  # noqa: B010
    return run.main()


if __name__ == "__main__":
    run_command(main)
