"""What a search costs beside the training: python -m bench.overhead [--before COMMIT].

Runs a whole search with all that it writes: study, predictions, checkpoints, TensorBoard, page,
table. Its trials report at once and train nothing. Prints where the time of a report goes, in the
first trials and in the last ones. With --before, an earlier commit runs the same search first.
"""

import argparse
import contextlib
import functools
import io
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console
from rich.table import Table

from minbert.config import TrainConfig
from search.driver import Driver
from search.review.tensorboard.log import TensorBoardLog
from search.review.terminal.tables import PlainLines
from search.session import Session
from search.storage.checkpoints import CheckpointStore
from search.storage.predictions import DevPredictions, TaskArrays
from search.storage.study import Study
from search.storage.study_file import StudyCopies
from search.workers.metrics import SearchMetrics
from testkit.trainer import ScoredTrainer

from .served import ROOT, Process, code_of

REST = "Ray Tune, workers"
# The methods that are timed, and what the table calls their time.
PARTS: list[tuple[type, list[str], str]] = [
    (Study, ["_write"], "study's storage"),
    (StudyCopies, ["reported"], "copies of the study"),
    (DevPredictions, ["write"], "dev predictions"),
    (CheckpointStore, ["scan", "added", "refused", "keep_only"], "checkpoints' folders"),
    (TensorBoardLog, ["reported", "ended"], "TensorBoard"),
    (PlainLines, ["reported", "paused", "ended"], "lines printed"),
    (SearchMetrics, ["started", "reported", "ended", "refresh"], "metrics"),
    (Driver, ["reported", "next_job", "started"], "deciding"),
]


class Clock:
    """Adds up the time of each part, without the time of the parts that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def run(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                took = time.perf_counter() - start
                self.seconds[part] = self.seconds.get(part, 0.0) + took - self._inner.pop()
                self._inner[-1] += took

        return run


def serve(trials: int) -> None:
    """Run the search when asked on stdin; print JSON of the seconds spent before each report."""
    print(json.dumps({}), flush=True)
    sys.stdin.readline()
    clock = Clock()
    for owner, methods, part in PARTS:
        for method in methods:
            setattr(owner, method, clock.timed(part, getattr(owner, method)))

    # By report: trials begun, seconds since the first job, and the seconds of each part.
    seen: list[tuple[int, float, dict[str, float]]] = []
    inner, first_job, begun = Driver.reported, Driver.next_job, [0.0]

    def reported(driver: Driver, *args: Any) -> bool:
        continues = inner(driver, *args)
        seconds = time.perf_counter() - begun[0]
        seen.append((len(driver.study.trials), seconds, dict(clock.seconds)))
        return continues

    def next_job(driver: Driver, **kwargs: Any) -> Any:
        begun[0] = begun[0] or time.perf_counter()
        return first_job(driver, **kwargs)

    setattr(Driver, "reported", reported)  # noqa: B010
    setattr(Driver, "next_job", next_job)  # noqa: B010
    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            console=Console(file=io.StringIO(), width=100),
            trainer=InstantTrainer,
            data="toy",
            encoder="tiny",
            trials=trials,
            epochs=9,
            reports_per_epoch=1,
            out=folder,
            name="bench",
        )
        start = time.perf_counter()
        session.run()
        seconds = time.perf_counter() - start
        size = (Path(folder) / "bench" / "study.db").stat().st_size
    answer = {"seconds": seconds, "searched": seen[-1][1], "size": size, "reports": seen}
    print(json.dumps(answer), flush=True)


class InstantTrainer(ScoredTrainer):
    """Reports a function of its learning rate and the step at once."""

    # Takes as many bytes, packed, as the predictions of a real report.
    predictions: ClassVar[TaskArrays] = {"sts": np.random.default_rng(0).random(1_500, np.float32)}

    def score(self, config: TrainConfig, step: int) -> float:
        chance = math.sin(config.lr * 1e6 * 12.9898) * 43758.5453
        return 0.4 + 0.2 * (chance - math.floor(chance)) + 0.02 * step

    @classmethod
    def save(cls, *_: Any) -> None:
        """The winner has no model."""


def window(
    seen: list[tuple[int, float, dict[str, float]]], low: int, high: int
) -> dict[str, float]:
    """Milliseconds per report in each part, while the trials ``low`` to ``high`` - 1 were drawn."""
    first = next(i for i, (begun, *_) in enumerate(seen) if begun > low)
    last = max(i for i, (begun, *_) in enumerate(seen) if begun <= high)
    reports = last - first
    (_, start, before), (_, end, after) = seen[first], seen[last]
    parts = {part: after[part] - before.get(part, 0.0) for part in after}
    parts[REST] = end - start - sum(parts.values())
    return {part: 1000 * seconds / reports for part, seconds in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--before", help="a commit of this repository to compare with")
    options = parser.parse_args()
    trials = options.trials
    ends = {(0, min(100, trials)), (max(0, trials - 100), trials)}
    with contextlib.ExitStack() as stack:
        codes = {"now": ROOT}
        if options.before:
            codes = {"before": stack.enter_context(code_of(options.before)), **codes}
        for name, code in codes.items():
            process = Process("overhead", {"trials": trials}, code)
            done = process.ask("run")
            process.end()
            reports = len(done["reports"])
            print(
                f"{name}: {trials} trials, {reports} reports on {os.cpu_count()} CPUs: "
                f"{done['seconds']:.1f} s in all, {1000 * done['searched'] / reports:.1f} ms a "
                f"report; study.db {done['size'] / 1e6:.1f} MB"
            )
            table = Table(
                f"{name}, ms a report", *(f"trials {a + 1} to {b}" for a, b in sorted(ends))
            )
            windows = [window(done["reports"], *each) for each in sorted(ends)]
            for part in sorted(windows[-1], key=lambda part: -windows[-1][part]):
                table.add_row(part, *(f"{each.get(part, 0.0):.1f}" for each in windows))
            table.add_row("all", *(f"{sum(each.values()):.1f}" for each in windows))
            Console(width=100).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(json.loads(sys.argv[2])["trials"])
    else:
        main()
