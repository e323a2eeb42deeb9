"""Runs without training: dev predictions are drawn at random, and scores follow from them."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage

from cluster.local import Machine
from minbert.config import InputSettings
from minbert.evaluate import grade
from minbert.tasks import TASK_NAMES, Task
from search.driver import Driver
from search.inputs import LoadedInputs
from search.plan import make_plan
from search.propose.spaces import load_space
from search.record import TrialRecord
from search.settings import StudySettings
from search.setup import make_setup
from search.storage.folder import RunFolder
from search.storage.optuna_storage import open_storage
from search.storage.predictions import TaskArrays, pack_predictions
from search.storage.provenance import begin_run, end_run
from search.storage.study import Study

from .simulation import simulate

CLASSES = 5
# Spread of the noise in similarity predictions, at a skill of 0.
SIMILARITY_NOISE = 4.0

# How likely a prediction is right: 0 to 1, by trial and step.
Skill = Callable[[TrialRecord, int], float]


def draw_labels(examples: int, draw: np.random.Generator) -> TaskArrays:
    """Dev labels of all tasks, ``examples`` each."""
    return {
        "sst": draw.integers(0, CLASSES, examples).astype(np.float32),
        "para": draw.integers(0, 2, examples).astype(np.float32),
        "sts": draw.uniform(0, 5, examples).astype(np.float32),
    }


def draw_predictions(labels: TaskArrays, skill: float, draw: np.random.Generator) -> TaskArrays:
    """Predictions that are right with probability ``skill``, and near the label the more of it."""
    predictions: TaskArrays = {}
    classes_of: dict[Task, int] = {"sst": CLASSES, "para": 2}
    for task, classes in classes_of.items():
        given = labels[task]
        wrong = (given + draw.integers(1, classes, len(given))) % classes
        right = draw.random(len(given)) < skill
        predictions[task] = np.where(right, given, wrong).astype(np.float32)
    noise = draw.normal(0, SIMILARITY_NOISE * (1 - skill), len(labels["sts"]))
    predictions["sts"] = (labels["sts"] + noise).astype(np.float32)
    return predictions


def rising(trial: TrialRecord, step: int) -> float:
    """A skill that depends on the learning rate and the loss weights, and rises with training."""
    config = trial.config
    miss = abs(np.log10(config.lr) + 4.3) + sum(abs(w - 1 / 3) for w in trial.weights.values()) / 2
    return float(0.45 + 0.4 * np.exp(-miss) * (1 - 0.6**step))


def synthetic_run(
    path: Path, skill: Skill, *, examples: int = 400, seed: int = 0, **settings: Any
) -> RunFolder:
    """Write the folder of a finished search, with its study and its dev predictions.

    Args:
        examples: in dev, a task.
        seed: of labels and predictions.
    """
    checked = StudySettings.check({"reports_per_epoch": 1, **settings})
    inputs = InputSettings()
    plan = make_plan(checked, inputs, load_space(checked.space))
    labels = draw_labels(examples, np.random.default_rng(seed))
    dataset: Any = SimpleNamespace(
        name="synthetic",
        tasks=TASK_NAMES,
        files={},
        notes=(),
        splits={task: {"dev": _Labelled(labels[task])} for task in TASK_NAMES},
    )
    encoder: Any = SimpleNamespace(
        name="synthetic", config=SimpleNamespace(layers=0), weights=dict[str, np.ndarray]()
    )
    folder = RunFolder(path)
    folder.create()
    folder.predictions.write_labels(dataset)
    storage = InMemoryStorage()
    setup = make_setup(checked, plan, LoadedInputs(inputs, dataset, encoder))
    study = Study.create(storage, folder.name, setup)
    driver = Driver(study, plan, checked, folder.checkpoint_store(), folder.predictions).open()
    study.note("planned", plan.trials)
    machine: Any = SimpleNamespace(machines=lambda: [Machine(4, 0.0)])
    begin_run(study, dataset, machine, slots=4)

    @lru_cache(maxsize=64)
    def predictions(number: int, step: int) -> TaskArrays:
        draw = np.random.default_rng([seed, number, step])
        return draw_predictions(labels, skill(study.trials[number], step), draw)

    def curve(trial: TrialRecord, step: int) -> dict[Task, float]:
        given = predictions(trial.number, step)
        return {task: grade(task, given[task], labels[task], CLASSES).score for task in TASK_NAMES}

    simulate(
        driver,
        curve,
        slots=4,
        predictions=lambda trial, step: pack_predictions(predictions(trial.number, step)),
    )
    driver.leave()
    end_run(study)
    optuna.copy_study(
        from_study_name=folder.name,
        from_storage=storage,
        to_storage=open_storage(folder.storage_address()),
    )
    return folder


class _Labelled:
    """As much of a split as its labels."""

    def __init__(self, labels: np.ndarray):
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)
