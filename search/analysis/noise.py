"""How much of a difference in dev scores is chance: a paired bootstrap over dev examples.

A resample draws dev examples with replacement, as many as there are, the same ones for every
checkpoint; so what is hard for all of them cancels in a difference (Efron and Tibshirani 1993,
An Introduction to the Bootstrap). It tells of these dev examples alone: other seeds of the same
training can differ by more.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minbert.tasks import Task
from minbert.weights import Weights
from search.record import SearchRecord, TrialRecord
from search.storage.predictions import DevPredictions, TaskArrays

# Searches among equal configurations of which a lead is said to be more than chance, at most.
SIGNIFICANCE = 0.05

_RESAMPLES = 1000
_RESAMPLES_OF_A_PAIR = 4000
# Matrices of so many resamples and so many checkpoints at a time bound the memory.
_RESAMPLES_AT_ONCE = 250
_CHECKPOINTS_AT_ONCE = 512


class Bootstrap:
    """Resamples of the dev examples.

    Args:
        labels: (examples,) a task.
        resamples: how many.
    """

    def __init__(self, labels: Mapping[Task, np.ndarray], resamples: int):
        self._labels = labels
        draw = np.random.default_rng(0)
        # How often each example is in each resample, after a row of the examples as they are.
        self._counts: dict[Task, np.ndarray] = {}  # (1 + resamples, examples) each
        for task, given in labels.items():
            size = len(given)
            counts = np.ones((1 + resamples, size), dtype=np.uint8)
            for row in counts[1:]:
                row[:] = np.bincount(draw.integers(size, size=size), minlength=size)
            self._counts[task] = counts

    def task_scores(self, task: Task, predictions: Sequence[np.ndarray]) -> np.ndarray:
        """Task scores of C checkpoints by their predictions, each (examples,) as they are stored.

        Returns:
            (1 + resamples, C): on the dev examples as they are, then on each resample.
        """
        counts, labels = self._counts[task], self._labels[task]
        scores = np.empty((len(counts), len(predictions)))
        for column in range(0, len(predictions), _CHECKPOINTS_AT_ONCE):
            columns = slice(column, column + _CHECKPOINTS_AT_ONCE)
            block = np.stack(predictions[columns], axis=1)  # (examples, C)
            for row in range(0, len(counts), _RESAMPLES_AT_ONCE):
                rows = slice(row, row + _RESAMPLES_AT_ONCE)
                weights = counts[rows].astype(np.float32)
                grade = _correlation if task == "sts" else _accuracy
                scores[rows, columns] = grade(weights, block, labels)
        return scores

    def scores(self, predictions: Sequence[TaskArrays], objective: Weights) -> np.ndarray:
        """Scores of C checkpoints under an objective, (1 + resamples, C) as ``task_scores``."""
        shares = objective.normalised(1.0, list(self._labels))
        total = np.zeros(())
        for task, share in shares.items():
            total = total + share * self.task_scores(task, [each[task] for each in predictions])
        return total


def _accuracy(weights: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    right = (predictions == labels[:, None]).astype(np.float32)
    # Counts are exact in float32; their shares need not be.
    shares: np.ndarray = (weights @ right).astype(np.float64) / len(labels)
    return shares


def _correlation(weights: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pearson correlations of weighted examples; 0 where one side is constant, as in ``grade``."""
    size = len(labels)
    # Near their means, so that the differences of squares below keep their digits.
    x = (predictions - predictions.mean(axis=0)).astype(np.float32)
    y = (labels - labels.mean()).astype(np.float32)[:, None]
    mean_x, mean_y = weights @ x / size, weights @ y / size
    covariance = weights @ (x * y) / size - mean_x * mean_y
    square = (weights @ (x * x) / size - mean_x**2) * (weights @ (y * y) / size - mean_y**2)
    constant = square <= 1e-12
    found: np.ndarray = np.where(constant, 0.0, covariance / np.sqrt(np.where(constant, 1, square)))
    return found


@dataclass(frozen=True)
class Difference:
    """A difference in dev scores and its 95 % interval."""

    value: float
    low: float
    high: float


def paired_difference(
    labels: TaskArrays, first: TaskArrays, second: TaskArrays, objective: Weights
) -> dict[Task | str, Difference]:
    """What the second checkpoint scores above the first, by task and as ``score``.

    The intervals are percentiles of the paired bootstrap. They do not allow for how the two were
    chosen.

    Args:
        labels: (examples,) a task.
        first: predictions (examples,) a task.
        second: as ``first``.
        objective: of the score.
    """
    bootstrap = Bootstrap(labels, _RESAMPLES_OF_A_PAIR)
    scores: dict[Task | str, np.ndarray] = {
        task: bootstrap.task_scores(task, [first[task], second[task]]) for task in labels
    }
    scores["score"] = bootstrap.scores([first, second], objective)
    found = {}
    for name, each in scores.items():
        gains = each[:, 1] - each[:, 0]
        low, high = np.quantile(gains[1:], [0.025, 0.975])
        found[name] = Difference(float(gains[0]), float(low), float(high))
    return found


@dataclass(frozen=True)
class Noise:
    """What chance does to the lead of a search's winner over its baseline.

    Attributes:
        reports: of other trials than the baseline, any of which could have been chosen.
        examples: dev examples of the tasks that the objective weighs.
        error: standard error of the score of one checkpoint, the baseline's.
        lead: of the winner's score over the baseline's.
        luck: largest lead of any of the reports if all configurations were equal, in the median
            search.
        most_luck: the same in the one search of 20 where it is largest.
        probability: of a lead as large as the winner's among equal configurations.
    """

    reports: int
    examples: int
    error: float
    lead: float
    luck: float
    most_luck: float
    probability: float

    @property
    def beyond_chance(self) -> bool:
        """Dev noise and the choice do not explain the lead."""
        return self.probability <= SIGNIFICANCE

    @property
    def least_lead(self) -> float:
        """Lower end of the lead's one-sided 95 % interval, the choice allowed for."""
        return self.lead - self.most_luck


def noise_of(record: SearchRecord, predictions: DevPredictions) -> Noise | None:
    """Reckon the noise in a search's choice; None without baseline, rivals, or stored predictions.

    The winner was chosen from every report of every trial, so its lead is held against the largest
    lead that any of them has by chance: the reality check of White (2000, Econometrica 68).
    """
    baseline, winner, labels = record.baseline, record.winner, predictions.labels()
    if labels is None or baseline is None or baseline.kept is None or winner is None:
        return None
    ours = predictions.read(baseline.number, baseline.kept.step)
    if ours is None or winner.kept is None:
        return None
    objective = baseline.config.objective
    weighed = {task: given for task, given in labels.items() if objective.of(task)}
    bootstrap = Bootstrap(weighed, _RESAMPLES)
    baseline_scores = bootstrap.scores([ours], objective)
    # The baseline itself is among the configurations, with a lead of 0.
    largest = np.zeros(_RESAMPLES)
    reports = 0
    for block in _in_blocks(_rivals(record, predictions), _CHECKPOINTS_AT_ONCE):
        leads = bootstrap.scores(block, objective) - baseline_scores
        largest = np.maximum(largest, (leads[1:] - leads[0]).max(axis=1))
        reports += len(block)
    if not reports:
        return None
    lead = winner.kept.score - baseline.kept.score
    # Correlations of resamples have the precision of float32.
    as_large = int((largest >= lead - 1e-6).sum())
    return Noise(
        reports=reports,
        examples=sum(map(len, weighed.values())),
        error=float(baseline_scores[1:].std()),
        lead=lead,
        luck=float(np.quantile(largest, 0.5)),
        most_luck=float(np.quantile(largest, 1 - SIGNIFICANCE)),
        probability=(1 + as_large) / (1 + len(largest)),
    )


def _rivals(record: SearchRecord, predictions: DevPredictions) -> Iterator[TaskArrays]:
    """Predictions of every report that could have been chosen in place of the baseline's."""
    for trial in record.trials[1:]:
        for report in trial.reports if trial.state != "failed" else ():
            if math.isfinite(report.score):
                given = predictions.read(trial.number, report.step)
                if given is not None:
                    yield given


def _in_blocks(items: Iterable[TaskArrays], size: int) -> Iterator[list[TaskArrays]]:
    rest = iter(items)
    while block := list(itertools.islice(rest, size)):
        yield block


def noise_in_words(noise: Noise, winner: TrialRecord) -> list[str]:
    """What the noise says of the winner, in sentences that the data carry."""
    sentences = [
        f"One configuration's score is known to ±{2 * noise.error:.3f} from these "
        f"{noise.examples:,} dev examples.",
        f"If all configurations were equal, the highest of {noise.reports} dev evaluations would "
        f"lead the recipe by {noise.luck:.3f} in the median search, and by {noise.most_luck:.3f} "
        "or more in one of 20.",
    ]
    if winner.number == 0:
        return [*sentences, "The recipe itself scored highest."]
    if not noise.beyond_chance:
        return [*sentences, f"So the lead of {noise.lead:.3f} may well be luck."]
    return [
        *sentences,
        f"The lead of {noise.lead:.3f} is more than dev noise and the choice explain (p = "
        f"{noise.probability:.3f}; at least {noise.least_lead:.3f} with 95 % confidence). That "
        "holds for this one training run of each: other seeds have not confirmed it.",
    ]
