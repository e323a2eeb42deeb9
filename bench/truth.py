"""Searches and confirmations whose truth is known: answers are drawn, and nothing is trained."""

import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import optuna
from scipy.stats import norm

from minbert.config import recipe
from minbert.evaluate import grade
from minbert.tasks import TASK_NAMES, Task
from search.confirmation.conclusion import Conclusion, conclude
from search.confirmation.trainings import (
    FOLDS,
    RULE,
    ConfirmationPlan,
    JudgedOn,
    Training,
    file_of,
    finalists_of,
    next_confirmation,
    seeds_for,
)
from search.inputs import Fold
from search.record import Attempt, Decision, SearchRecord, TrialRecord
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions, TaskArrays, pack_predictions
from testkit.simulation import made_up_report

TRIALS = 20
# As a confirmation has by default.
FINALISTS, PAIRS = 1, 7
DIMENSIONS, FEATURES = 4, 8
CLASSES = 5
_CONFIG = recipe("strong").replace(epochs=1, reports_per_epoch=1)
_CRASHES, _STAYS_FAILED = 0.02, 0.001


@dataclass(frozen=True)
class Spread:
    """Where answers come from.

    Attributes:
        example: how hard an example is for all, as a part of the variance of what decides an
            answer, by task.
        configuration: the same for what a configuration makes of an example.
        seed: the same for what a seed makes of an example, whatever the configuration. The rest of
            the variance differs between runs.
        run: standard deviation of a run's quality, in score.
    """

    example: Mapping[Task, float]
    configuration: Mapping[Task, float]
    seed: Mapping[Task, float]
    run: float


@dataclass(frozen=True)
class Setting:
    """Sizes of data, scores of the recipe, and the spread of what is trained on them."""

    dev: Mapping[Task, int]
    train: Mapping[Task, int]
    recipe: Mapping[Task, float]
    spread: Spread


# Scores and spreads are measured by bench.components. The part of a configuration is that of small
# data for both sizes, because two configurations on full data cannot tell it.
_CONFIGURATION: dict[Task, float] = {"sst": 0.04, "para": 0.06, "sts": 0.04}
SETTINGS = {
    "full": Setting(
        {"sst": 1101, "para": 10118, "sts": 863},
        {"sst": 8544, "para": 18261, "sts": 6040},
        {"sst": 0.43, "para": 0.78, "sts": 0.75},
        Spread(
            {"sst": 0.60, "para": 0.78, "sts": 0.71},
            _CONFIGURATION,
            {"sst": 0.11, "para": 0.06, "sts": 0.06},
            0.0039,
        ),
    ),
    "small": Setting(
        dict.fromkeys(TASK_NAMES, 800),
        dict.fromkeys(TASK_NAMES, 800),
        {"sst": 0.35, "para": 0.71, "sts": 0.68},
        Spread(
            {"sst": 0.80, "para": 0.79, "sts": 0.83},
            _CONFIGURATION,
            {"sst": 0.08, "para": 0.07, "sts": 0.03},
            0.0049,
        ),
    ),
}


class Examples:
    """Examples with their labels, (examples,) per task."""

    def __init__(self, labels: TaskArrays):
        self.labels = labels

    def scores(self, predictions: TaskArrays) -> dict[Task, float]:
        return {
            task: grade(task, predictions[task], self.labels[task], CLASSES).score
            for task in TASK_NAMES
        }


class DrawnExamples(Examples):
    """A sample of the population.

    Args:
        sizes: number of examples of each task.
        draw: draws them.
    """

    def __init__(self, sizes: Mapping[Task, int], draw: np.random.Generator):
        super().__init__(
            {
                "sst": draw.integers(0, CLASSES, sizes["sst"]).astype(np.float32),
                "para": draw.integers(0, 2, sizes["para"]).astype(np.float32),
                "sts": draw.standard_normal(sizes["sts"]).astype(np.float32),
            }
        )
        self._common = {task: draw.standard_normal(size) for task, size in sizes.items()}
        self._tastes = {
            task: draw.standard_normal((size, FEATURES)) for task, size in sizes.items()
        }
        self._sizes, self._of_seeds = sizes, dict[int, TaskArrays]()

    def answers(
        self,
        features: np.ndarray,
        seed: int,
        scores: Mapping[Task, float],
        spread: Spread,
        draw: np.random.Generator,
    ) -> TaskArrays:
        """Predictions of a training.

        Args:
            features: of its configuration, (features,) of length 1.
            seed: of the training.
            scores: that it has on the population.
            spread: of answers.
            draw: draws what is the run's own.
        """
        if seed not in self._of_seeds:
            self._of_seeds[seed] = {t: draw.standard_normal(n) for t, n in self._sizes.items()}
        predictions: TaskArrays = {}
        for task in TASK_NAMES:
            shares = spread.example[task], spread.configuration[task], spread.seed[task]
            example, configuration, of_seed, run = map(math.sqrt, (*shares, 1 - sum(shares)))
            decides = (
                example * self._common[task]
                + configuration * (self._tastes[task] @ features)
                + of_seed * self._of_seeds[seed][task]
                + run * draw.standard_normal(self._sizes[task])
            )
            quality, given = scores[task], self.labels[task]
            if task == "sts":
                made = quality * given + math.sqrt(1 - quality**2) * decides
                predictions[task] = made.astype(np.float32)
            else:
                classes = CLASSES if task == "sst" else 2
                right = decides < norm.ppf(quality)
                predictions[task] = np.where(right, given, (given + 1) % classes).astype(np.float32)
        return predictions


E = TypeVar("E", bound=Examples)


class World(ABC, Generic[E]):
    """Trains by drawing answers, and confirms by the product's own functions.

    Attributes:
        draw: draws everything.
        dev: the examples that choose.
        judges: the examples that judge a pair, by the names of their files.
    """

    draw: np.random.Generator
    dev: E
    judges: Mapping[str, E]

    @abstractmethod
    def answers(self, number: int, seed: int, examples: E) -> TaskArrays:
        """Predictions of a training of a trial's configuration."""

    def confirm(
        self,
        record: SearchRecord,
        *,
        judge: JudgedOn = "folds",
        finalists: int = FINALISTS,
        pairs: int = PAIRS,
    ) -> tuple[Conclusion | None, int]:
        """The confirmation of a search, and how many trainings it took.

        Returns:
            None and 0 if the winner is the recipe itself, so that there is nothing to confirm.
        """
        if record.winner is None or record.winner.number == 0:
            return None, 0
        chosen = finalists_of(record, finalists)
        race_seed, judge_seeds = seeds_for(0, len(chosen) - 1, pairs)
        plan = ConfirmationPlan(
            rule=RULE,
            finalists=tuple(trial.number for trial in chosen),
            asked_finalists=finalists,
            configs=("",) * len(chosen),
            race_seed=race_seed,
            judge_seeds=judge_seeds,
            judge=judge,
            folds=FOLDS if judge == "folds" else 0,
            folds_sha256="",
            data={},
        )
        trials: list[TrialRecord] = []
        with tempfile.TemporaryDirectory() as folder:
            predictions = DevPredictions(LocalDirectory(Path(folder)))
            for name, examples in self.judges.items():
                predictions.write_judge(name, examples.labels)
            while isinstance(training := next_confirmation(plan, trials), Training):
                trials.append(self._trained(len(trials), training, predictions))
            conclusion = conclude(plan, trials, predictions)
        assert conclusion is not None
        return conclusion, len(trials)

    def _trained(self, number: int, training: Training, predictions: DevPredictions) -> TrialRecord:
        if self.draw.random() < _STAYS_FAILED:
            return TrialRecord(number, training.name, {}, _CONFIG, state="failed", error="crashed")
        tries = 1 + int(self.draw.random() < _CRASHES)
        if training.judge is None:
            return trial_of(
                number, self.dev.scores(self.answers(training.of, training.seed, self.dev)), tries
            )
        judged = self.answers(training.of, training.seed, self.judges[file_of(training.judge)])
        predictions.write_judged(number, pack_predictions(judged))
        return trial_of(number, dict.fromkeys(TASK_NAMES, 0.5), tries)


class DrawnWorld(World[DrawnExamples]):
    """A search whose trials differ as they are told to.

    Args:
        setting: sizes and spread.
        seed: of everything.
        gains: true differences of the trials to the recipe, by number; 0 for the recipe itself.
    """

    def __init__(self, setting: Setting, seed: int, gains: Callable[[int], float]):
        self.setting, self._gains = setting, gains
        self.draw = np.random.default_rng([seed, 2])
        self._frequencies = self.draw.normal(0, 1.5, (FEATURES, DIMENSIONS))
        self._phases = self.draw.uniform(0, 2 * np.pi, FEATURES)
        self.dev = DrawnExamples(setting.dev, self.draw)
        sizes = {task: size // FOLDS for task, size in setting.train.items()}
        self.judges = {
            file_of(Fold(fold, FOLDS)): DrawnExamples(sizes, self.draw) for fold in range(FOLDS)
        }
        self._seed = seed
        self._points: list[np.ndarray] = []

    def search(self, sampler: str) -> SearchRecord:
        """The trials of a search: the recipe, then what the sampler proposes."""
        samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
        study = optuna.create_study(
            direction="maximize", sampler=samplers[sampler](seed=self._seed)
        )
        study.enqueue_trial({f"x{d}": 0.5 for d in range(DIMENSIONS)})
        trials = []
        for number in range(1 + TRIALS):
            asked = study.ask()
            self._points.append(
                np.array([asked.suggest_float(f"x{d}", 0, 1) for d in range(DIMENSIONS)])
            )
            scores = self.dev.scores(self.answers(number, 0, self.dev))
            trials.append(trial_of(number, scores))
            study.tell(asked, trials[-1].score)
        return SearchRecord(len(trials), trials)

    def answers(self, number: int, seed: int, examples: DrawnExamples) -> TaskArrays:
        waves = np.cos(self._frequencies @ self._points[number] + self._phases)
        features = waves / np.linalg.norm(waves)
        run = self.draw.normal(0, self.setting.spread.run)
        gain = self._gains(number) + run
        scores = {task: score + gain for task, score in self.setting.recipe.items()}
        return examples.answers(features, seed, scores, self.setting.spread, self.draw)


def trial_of(number: int, scores: dict[Task, float], attempts: int = 1) -> TrialRecord:
    """A trial that trained to its end with these scores on dev."""
    trial = TrialRecord(number, str(number), {}, _CONFIG, fixed=True, state="finished")
    trial.attempts = [Attempt(number=n + 1, why="start", at=0) for n in range(attempts)]
    trial.reports.append(made_up_report(_CONFIG, 1, scores, kept=True))
    decision: dict[str, Any] = {"verdict": "finish", "reason": "", "attempt": attempts, "at": 0}
    trial.decisions.append(Decision(order=number, **decision))
    return trial
