"""A search on made-up scores with its TensorBoard log, and how tests read the log."""

from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import BaseStorage
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]  # has no types
    EventAccumulator,
)
from tensorboard.plugins.hparams import metadata  # type: ignore[import-untyped]

from minbert.config import InputSettings
from minbert.errors import InputError
from minbert.report import Report
from minbert.tasks import Task
from search.driver import Driver, Job
from search.plan import make_plan
from search.propose.spaces import load_space
from search.record import TrialRecord
from search.review.tensorboard.log import TensorBoardLog
from search.review.tensorboard.mistakes import DevTexts
from search.settings import StudySettings
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions, pack_predictions
from search.storage.study import Study
from testkit.simulation import report_of

SPACE = """\
from spaces.weights import suggest_weights

def space(trial):
    return {
        "loss_weights": suggest_weights(trial),
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "radam"]),
        "batch_size": trial.suggest_categorical("batch_size", [64, 16]),
        "lr": trial.suggest_float("my_lr", 1e-5, 1e-3, log=True),
        "schedule": "linear",
    }
"""


class Search:
    """A driver with its log on made-up scores, which are a function of trial and step.

    Args:
        folder: for predictions and log.
        storage: with the study, or empty.
        texts: of the data.
    """

    def __init__(self, folder: Path, storage: BaseStorage, texts: DevTexts, **settings: Any):
        (folder / "mine.py").write_text(SPACE)
        given = {"space": str(folder / "mine.py"), "epochs": 3, "reports_per_epoch": 1}
        checked = StudySettings.check({**given, "trials": 7, "pruner": "none", **settings})
        plan = make_plan(checked, InputSettings(), load_space(checked.space))
        try:
            study = Study.load(storage, "s")
        except InputError:
            study = Study.create(storage, "s", {})
        self.predictions = DevPredictions(LocalDirectory(folder / "predictions"))
        store = CheckpointStore(LocalDirectory(folder / "checkpoints"))
        self.driver = Driver(study, plan, checked, store, self.predictions).open()
        self.trials = self.driver.study.trials
        self.folder = folder / "tensorboard"
        self.texts, self.plan = texts, plan
        self.log = self.write_log(self.folder)
        self.driver.watchers.append(self.log)

    def write_log(self, folder: Path) -> TensorBoardLog:
        driver = self.driver
        return TensorBoardLog(
            folder, driver.record, self.plan, driver.pareto_front, self.texts, self.predictions
        )

    def go(self, most: int = 1000) -> "Search":
        """Run so many reports on one slot; trial 3 fails before it comes to one."""
        while most and isinstance(job := self.driver.next_job(busy=False), Job):
            number, attempt = job.trial.number, job.attempt.number
            self.driver.started(number)
            if number == 3:
                self.driver.failed(3, attempt, "diverged", "the loss of *all* is <nan>")
                continue
            continues = True
            while continues and most:
                report = scored(job.trial, len(job.trial.reports) + 1)
                continues = self.driver.reported(number, attempt, report, PREDICTIONS)
                most -= 1
        return self

    def end(self) -> "Search":
        self.driver.leave()
        self.log.__exit__()
        return self


PREDICTIONS = pack_predictions(
    {
        "sst": np.arange(24, dtype=np.float32) % 3,
        "para": np.ones(24, dtype=np.float32),
        "sts": np.full(24, 2.5, dtype=np.float32),
    }
)


def scored(trial: TrialRecord, step: int) -> Report:
    base = 0.3 + 0.05 * ((3 * trial.number) % 7)
    scores: dict[Task, float] = {"sst": base + 0.01 * step, "para": base, "sts": base / 2}
    return report_of(trial, step, scores).replace(
        examples=100 * step,
        losses={"sst": 1.5, "para": 0.5, "sts": 0.25},
        negatives=40 * step,
        tokens=500,
        train_seconds=2.0,
        dev_seconds=0.5,
    )


def events(folder: Path) -> Any:
    loaded = EventAccumulator(str(folder))
    loaded.Reload()
    return loaded


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All scalar points of a run, by tag."""
    run = events(folder)
    return {tag: [(e.step, e.value) for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]}


def about_hparams(folder: Path, tag: str) -> bytes:
    return bytes(events(folder).SummaryMetadata(tag).plugin_data.content)


def row(folder: Path) -> tuple[dict[str, Any], Any]:
    """A run's hyperparameters with their types, and its status; None where it has none."""
    run = events(folder)
    tags = run.Tags()["tensors"]
    start = metadata.parse_session_start_info_plugin_data(
        about_hparams(folder, metadata.SESSION_START_INFO_TAG)
    )
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    if metadata.SESSION_END_INFO_TAG not in tags:
        return values, None
    end = metadata.parse_session_end_info_plugin_data(
        about_hparams(folder, metadata.SESSION_END_INFO_TAG)
    )
    return values, end.status


def text_of(folder: Path) -> str:
    (event,) = events(folder).Tensors("trial")
    return str(event.tensor_proto.string_val[0].decode())
