"""What a search costs beside the training: python -m bench.overhead [--before COMMIT].

A whole search with all that it writes (study, dev answers, checkpoints, TensorBoard, page, table),
whose trials report at once and train nothing. Prints where the time of a report goes at the first
trials and at the last ones. With --before, an earlier commit runs the same search before it.
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
from typing import Any

from rich.console import Console
from rich.table import Table

from .served import ROOT, Process, code_of

REST = "Ray Tune, workers"
# Classes by module, their methods, and what the time of these is called. Some are not in all
# commits.
PARTS = [
    ("search.study", "Study", ["_write"], "study's storage"),
    ("search.study_file", "StudyCopies", ["reported"], "copies of the study"),
    ("search.answers", "DevAnswers", ["write"], "dev answers"),
    (
        "search.checkpoints",
        "CheckpointStore",
        ["scan", "added", "refused", "keep_only"],
        "checkpoints' folders",
    ),
    ("search.review.tensorboard", "TensorBoardLog", ["reported", "ended"], "TensorBoard"),
    ("search.review.terminal", "PlainLines", ["reported", "set_aside", "ended"], "lines printed"),
    ("search.metrics", "SearchMetrics", ["started", "reported", "ended", "refresh"], "metrics"),
    ("search.driver", "Driver", ["reported", "next_job", "started"], "deciding"),
]


class Clock:
    """Adds up the time of parts, without that of the parts that they call."""

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
    """Run the search when asked on stdin; print JSON of what each report came after."""
    print(json.dumps({}), flush=True)
    sys.stdin.readline()
    from importlib import import_module

    clock = Clock()
    for module, name, methods, part in PARTS:
        owner = getattr(import_module(module), name)
        for method in methods:
            if hasattr(owner, method):
                setattr(owner, method, clock.timed(part, getattr(owner, method)))

    from minbert.config import InputSettings
    from search import run, tuner
    from search.driver import Driver
    from search.settings import StudySettings

    # By report: trials begun, seconds since the first job, and the seconds of each part.
    seen: list[tuple[int, float, dict[str, float]]] = []
    inner, first_job, begun = Driver.reported, Driver.next_job, [0.0]

    def reported(driver: Driver, *args: Any) -> bool:
        goes_on = inner(driver, *args)
        seconds = time.perf_counter() - begun[0]
        seen.append((len(driver.study.trials), seconds, dict(clock.seconds)))
        return goes_on

    def next_job(driver: Driver, **kwargs: Any) -> Any:
        begun[0] = begun[0] or time.perf_counter()
        return first_job(driver, **kwargs)

    # What stands for the trainer and the winner's model.
    for owner, attribute, value in (
        (Driver, "reported", reported),
        (Driver, "next_job", next_job),
        (tuner, "MinbertTrial", instant_trial()),
        (run, "save_trial", lambda *_, **__: None),
    ):
        setattr(owner, attribute, value)
    with tempfile.TemporaryDirectory() as folder:
        settings = StudySettings.check(
            {"trials": trials, "epochs": 9, "reports_per_epoch": 1, "out": folder, "name": "bench"}
        )
        start = time.perf_counter()
        inputs = InputSettings(data="toy", encoder="tiny")
        run.run_search(settings, inputs, Console(file=io.StringIO(), width=100))
        seconds = time.perf_counter() - start
        size = (Path(folder) / "bench" / "study.db").stat().st_size
    answer = {"seconds": seconds, "searched": seen[-1][1], "size": size, "reports": seen}
    print(json.dumps(answer), flush=True)


def instant_trial() -> type:
    """A worker that reports a function of the trial's number and step, and trains nothing."""
    from ray import tune

    from minbert.config import TrainConfig
    from minbert.report import Report
    from minbert.tasks import TASK_NAMES

    class InstantTrial(tune.Trainable):
        def setup(self, config: dict[str, Any], *, folder: str, **_: Any) -> None:
            self._folder = Path(folder)
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._job = new_config
            # From the name of the checkpoint, 0003-1 for a third report.
            self._step = int(Path(self._job["state"]).name[:4]) if self._job["state"] else 0
            return True

        def _score(self, step: int) -> float:
            chance = math.sin(self._job["number"] * 12.9898) * 43758.5453
            return 0.4 + 0.2 * (chance - math.floor(chance)) + 0.02 * step

        def step(self) -> dict[str, Any]:
            self._step += 1
            number, attempt = self._job["number"], self._job["attempt"]
            checkpoint = self._folder / f"{number:04d}" / f"{self._step:04d}-{attempt}"
            checkpoint.mkdir(parents=True)
            for name in ("weights.safetensors", "state.pt", "checkpoint.json"):
                (checkpoint / name).write_bytes(b"")
            config = TrainConfig.model_validate(self._job["config"])
            report = Report(
                step=self._step,
                epoch=self._step / config.reports_per_epoch,
                examples=self._step,
                scores=dict.fromkeys(TASK_NAMES, self._score(self._step)),
                score=self._score(self._step),
                kept=True,
                metrics={},
                losses={},
                negatives=0,
                lr=config.lr,
                grad_norm=1.0,
                tokens=1,
                train_seconds=1.0,
                dev_seconds=0.0,
            )
            return {
                "number": number,
                "attempt": attempt,
                "report": report.model_dump_json(),
                # As much as a real report has.
                "answers": bytes(6_000),
                "resident_memory": 0,
                "cuda_memory": 0,
                "machine": "bench",
            }

    return InstantTrial


def window(
    seen: list[tuple[int, float, dict[str, float]]], low: int, high: int
) -> dict[str, float]:
    """Milliseconds a report of each part, from the trial ``low`` to ``high`` - 1 being drawn."""
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
