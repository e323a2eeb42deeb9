"""What a search costs beside the training: 1,000 trials of a trainable that returns at once.

    python -m bench.overhead [--trials 1000]

Prints the seconds in all, and the driver's own time for a report (deciding and recording it) at the
first trials and at the last. Checkpoints, which take as long as the disk does, are not written.
"""

import argparse
import math
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from cluster.local import ray_cluster
from minbert.config import InputSettings, TrainConfig
from search import tuner
from search.directory import LocalDirectory
from search.driver import Driver
from search.folder import RunFolder
from search.plan import make_plan
from search.record import TrialRecord
from search.settings import StudySettings
from search.spaces import load_space

from .simulation import equal_scores, report_of


class InstantTrial(tune.Trainable):
    """Reports a score that is a function of the trial's number and step, and trains nothing."""

    def setup(self, config: dict[str, Any], **_: Any) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = new_config
        self._step = int(Path(self._job["state"]).name) if self._job["state"] else 0
        self._trial = TrialRecord(0, "", {}, TrainConfig.model_validate(self._job["config"]))
        return True

    def step(self) -> dict[str, Any]:
        self._step += 1
        chance = math.sin(self._job["number"] * 12.9898) * 43758.5453
        scores = equal_scores(0.4 + 0.2 * (chance - math.floor(chance)) + 0.02 * self._step)
        report = report_of(self._trial, self._step, scores)
        return {
            "number": self._job["number"],
            "attempt": self._job["attempt"],
            "report": report.model_dump_json(),
            # As much as a real report has.
            "answers": bytes(6_000),
            "resident_memory": 0,
            "cuda_memory": 0,
        }


class TimedDriver(Driver):
    """Notes how long each report took, and goes on from where a trial stands."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.took: list[tuple[int, float]] = []
        super().__init__(*args, **kwargs)

    def reported(self, number: int, *args: Any) -> bool:
        start = time.perf_counter()
        goes_on = super().reported(number, *args)
        self.took.append((number, time.perf_counter() - start))
        return goes_on

    def _job(self, *args: Any) -> Any:
        job = super()._job(*args)
        # Nothing is saved, so the state is only the number of the report to go on from.
        return replace(job, state=LocalDirectory(Path(str(len(job.trial.reports)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    setattr(tuner, "MinbertTrial", InstantTrial)  # noqa: B010
    settings = StudySettings.check({"trials": trials, "epochs": 9, "reports_per_epoch": 1})
    plan = make_plan(settings, InputSettings(), load_space("weights"))
    with tempfile.TemporaryDirectory() as temporary, ray_cluster(dashboard=False) as machines:
        folder = RunFolder(Path(temporary) / "run")
        folder.create()
        study = folder.create_study({})
        driver = TimedDriver(study, plan, settings, folder.store(), folder.answers)
        start = time.perf_counter()
        tuner.run_trials(
            driver,
            None,  # type: ignore[arg-type]  # nothing is trained
            None,  # type: ignore[arg-type]  # nor read
            study="bench",
            directory=folder.checkpoints,
            scratch=folder.path / "ray",
            machines=machines,
            cpus_per_trial=1,
            gpus_per_trial=0,
            state_every=60,
            report_timeout=None,
            time_budget=None,
        )
        seconds = time.perf_counter() - start
        size = (folder.path / "study.db").stat().st_size
    reports = len(driver.took)
    print(f"{trials} trials, {reports} reports on {os.cpu_count()} CPUs: {seconds:.1f} s")
    print(f"{1000 * seconds / reports:.1f} ms a report in all; study.db {size / 1e6:.1f} MB")
    for low, high in ((0, min(100, trials)), (max(0, trials - 100), trials)):
        took = [1000 * t for number, t in driver.took if low <= number < high]
        print(
            f"the driver's time a report, trials {low + 1} to {high}: "
            f"median {np.median(took):.1f} ms, p99 {np.quantile(took, 0.99):.1f} ms"
        )


if __name__ == "__main__":
    main()
