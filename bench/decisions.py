"""What the decisions of a search cost, in memory: no training, no Ray, no files.

    python -m bench.decisions [--trials 100,1000,10000] [--sampler random]

Each search of N trials runs on N/10 slots. Prints the CPU time of a report (deciding, recording)
and of a ``next_job`` (choosing or proposing what to run) over the last hundred trials, when the
study holds nearly all of its trials, and the seconds of the whole simulation.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage

from minbert.config import InputSettings
from minbert.report import Report
from minbert.tasks import TASK_NAMES, Task
from search.driver import Driver, Job
from search.plan import Plan, make_plan
from search.propose.spaces import load_space
from search.record import TrialRecord
from search.settings import StudySettings
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from testkit.simulation import PaperDirectory, save_on_paper, simulate

LAST = 100


class TimedDriver(Driver):
    """Notes the CPU time of each decision, and how many trials there were."""

    def __init__(
        self,
        study: Study,
        plan: Plan,
        settings: StudySettings,
        checkpoints: PaperDirectory,
        predictions: DevPredictions,
    ):
        self.took: dict[str, list[tuple[int, float]]] = {"report": [], "next_job": []}
        self._checkpoints = checkpoints
        super().__init__(study, plan, settings, CheckpointStore(checkpoints), predictions)

    def reported(self, number: int, attempt: int, report: Report, *args: Any) -> bool:
        save_on_paper(self._checkpoints, number, report.step, attempt)
        start = time.process_time()
        continues = super().reported(number, attempt, report, *args)
        self.took["report"].append((len(self.study.trials), time.process_time() - start))
        return continues

    def next_job(self, *, busy: bool) -> Any:
        start = time.process_time()
        job = super().next_job(busy=busy)
        if isinstance(job, Job):
            # To say that there is nothing to run is quicker.
            self.took["next_job"].append((len(self.study.trials), time.process_time() - start))
        return job


def scattered(trial: TrialRecord, step: int) -> dict[Task, float]:
    """Scores that differ from task to task and rise with the steps, a function of the trial."""
    scores = {}
    for place, task in enumerate(TASK_NAMES, start=1):
        x = math.sin((trial.number + 1) * 12.9898 * place) * 43758.5453
        scores[task] = 0.3 + 0.3 * (x - math.floor(x)) * (1 - 0.5**step)
    return scores


def timed_search(trials: int, slots: int, **options: Any) -> tuple[TimedDriver, int, float]:
    """Run a search; returns its driver, the reports, and the seconds that it took."""
    # A target that is never reached, for the question to be asked.
    settings = StudySettings.check(
        {"trials": trials, "epochs": 9, "reports_per_epoch": 1, "target": 1.0, **options}
    )
    plan = make_plan(settings, InputSettings(), load_space(settings.space))
    study = Study.create(InMemoryStorage(), "bench", {})
    with tempfile.TemporaryDirectory() as folder:
        predictions = DevPredictions(LocalDirectory(Path(folder)))
        driver = TimedDriver(study, plan, settings, PaperDirectory(), predictions).open()
        start = time.perf_counter()
        reports = len(simulate(driver, scattered, slots))
        driver.leave()
    return driver, reports, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", default="100,1000,10000")
    parser.add_argument("--sampler", default="random")
    arguments = parser.parse_args()
    for trials in map(int, arguments.trials.split(",")):
        slots = max(1, trials // 10)
        driver, reports, seconds = timed_search(trials, slots, sampler=arguments.sampler)
        for what, all_took in driver.took.items():
            took = [1000 * spent for there, spent in all_took if there > trials - LAST]
            print(
                f"trials {max(1, trials - LAST + 1):,} to {trials:,}: {np.mean(took):.2f} ms of "
                f"CPU a {what} (median {np.median(took):.2f}, p99 {np.quantile(took, 0.99):.2f})"
            )
        print(f"{trials:,} trials, {reports:,} reports on {slots:,} slots: {seconds:.1f} s")


if __name__ == "__main__":
    main()
