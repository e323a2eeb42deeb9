"""How much of a difference in dev scores is chance: a paired bootstrap over dev examples.

A resample draws as many dev examples as there are, with replacement, and the same ones for every
checkpoint. So examples that are hard for all checkpoints cancel in a difference (Efron and
Tibshirani 1993, An Introduction to the Bootstrap). The bootstrap only covers the choice of dev
examples: other seeds of the same training can differ by more.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minbert.output import ordinal
from minbert.tasks import Task
from minbert.weights import Weights
from search.record import SearchRecord, TrialRecord
from search.schedule.rung import ranked
from search.storage.predictions import DevPredictions, TaskArrays

# The largest probability, with equal configurations, of reporting a lead as more than chance.
SIGNIFICANCE = 0.05

_RESAMPLES = 1000
_RESAMPLES_OF_A_PAIR = 4000
_RESAMPLES_OF_AN_ERROR = 200
# More trials than people compare.
_MOST_PLACES = 20
_MOST_PLACES_AT_A_RUNG = 100
# Matrices have at most this many resamples and checkpoints, to limit memory.
_RESAMPLES_AT_ONCE = 250
_CHECKPOINTS_AT_ONCE = 512


class Bootstrap:
    """Resamples of the dev examples.

    Args:
        labels: (examples,) per task.
        resamples: number of resamples.
    """

    def __init__(self, labels: Mapping[Task, np.ndarray], resamples: int):
        self._labels = labels
        draw = np.random.default_rng(0)
        # How often each example is in each resample; the first row is the original sample.
        self._counts: dict[Task, np.ndarray] = {}  # (1 + resamples, examples) each
        for task, given in labels.items():
            size = len(given)
            counts = np.ones((1 + resamples, size), dtype=np.uint8)
            for row in counts[1:]:
                row[:] = np.bincount(draw.integers(size, size=size), minlength=size)
            self._counts[task] = counts

    def task_scores(self, task: Task, predictions: Sequence[np.ndarray]) -> np.ndarray:
        """Task scores of C checkpoints.

        Args:
            task: the task to score.
            predictions: of each checkpoint, (examples,) as stored.

        Returns:
            (1 + resamples, C): on the original dev examples, then on each resample.
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
        """Scores of C checkpoints under an objective: (1 + resamples, C), as ``task_scores``."""
        shares = objective.normalised(1.0, list(self._labels))
        total = np.zeros(())
        for task, share in shares.items():
            total = total + share * self.task_scores(task, [each[task] for each in predictions])
        return total


def _accuracy(weights: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    right = (predictions == labels[:, None]).astype(np.float32)
    # Counts are exact in float32, shares are not.
    shares: np.ndarray = (weights @ right).astype(np.float64) / len(labels)
    return shares


def _correlation(weights: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pearson correlations of weighted examples; 0 if one side is constant, as in ``grade``."""
    size = len(labels)
    # Centred, so that the differences of squares below keep their precision.
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
    """How much higher the second checkpoint scores than the first, by task and as ``score``.

    The intervals are percentiles of the paired bootstrap. They do not account for how the two
    checkpoints were chosen.

    Args:
        labels: (examples,) per task.
        first: predictions (examples,) per task.
        second: as ``first``.
        objective: weights of the tasks in the score.
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
    """How much chance contributes to the lead of a search's winner over its baseline.

    Attributes:
        reports: number of reports of other trials than the baseline; any could have been chosen.
        examples: number of dev examples of the tasks with a weight in the objective.
        error: standard error of the score of one checkpoint, the baseline's.
        lead: the winner's score minus the baseline's.
        luck: the largest lead of any report if all configurations were equal, as the median over
            searches.
        most_luck: as ``luck``, but the 95th percentile over searches.
        probability: of a lead as large as the winner's if all configurations were equal.
        tied: places, from 2, of trials whose score is within noise of the winner's.
    """

    reports: int
    examples: int
    error: float
    lead: float
    luck: float
    most_luck: float
    probability: float
    tied: tuple[int, ...] = ()

    @property
    def beyond_chance(self) -> bool:
        """The lead is larger than the choice of the dev examples and of the best explains."""
        return self.probability <= SIGNIFICANCE


def noise_of(record: SearchRecord, predictions: DevPredictions) -> Noise | None:
    """Estimate the noise in a search's choice; None without baseline, rivals or stored predictions.

    The winner was chosen from every report of every trial. So its lead is compared with the largest
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
    # The baseline itself is one of the configurations, with a lead of 0.
    largest = np.zeros(_RESAMPLES)
    reports = 0
    for block in _in_blocks(_rivals(record, predictions), _CHECKPOINTS_AT_ONCE):
        leads = bootstrap.scores(block, objective) - baseline_scores
        largest = np.maximum(largest, (leads[1:] - leads[0]).max(axis=1))
        reports += len(block)
    if not reports:
        return None
    lead = winner.kept.score - baseline.kept.score
    # Correlations of resamples only have the precision of float32.
    as_large = int((largest >= lead - 1e-6).sum())
    return Noise(
        reports=reports,
        examples=sum(map(len, weighed.values())),
        error=float(baseline_scores[1:].std()),
        lead=lead,
        luck=float(np.quantile(largest, 0.5)),
        most_luck=float(np.quantile(largest, 1 - SIGNIFICANCE)),
        probability=(1 + as_large) / (1 + len(largest)),
        tied=_tied(record, predictions, bootstrap, objective),
    )


def _tied(
    record: SearchRecord, predictions: DevPredictions, bootstrap: Bootstrap, objective: Weights
) -> tuple[int, ...]:
    """Places of trials less than two standard errors of the paired difference below the winner."""
    placed = [trial for trial in record.ranked if trial.kept and trial.state != "failed"]
    read = {
        place: given
        for place, trial in enumerate(placed[:_MOST_PLACES], start=1)
        if trial.kept and (given := predictions.read(trial.number, trial.kept.step)) is not None
    }
    return _within_noise(read, 1, bootstrap, objective)


def _within_noise(
    read: Mapping[int, TaskArrays], place: int, bootstrap: Bootstrap, objective: Weights
) -> tuple[int, ...]:
    """Other places less than two standard errors of the paired difference from a place."""
    if place not in read:
        return ()
    scores = bootstrap.scores([read[place], *read.values()], objective)
    apart = scores[:, 1:] - scores[:, :1]
    near = abs(apart[0]) <= 2 * apart[1:].std(axis=0)
    return tuple(at for at, is_near in zip(read, near, strict=True) if is_near and at != place)


def ties_at_rungs(
    record: SearchRecord, predictions: DevPredictions, trial: TrialRecord, steps: Collection[int]
) -> dict[int, str]:
    """Places at a rung that were within noise of a trial's when it was decided on, in words.

    Args:
        record: of the search.
        predictions: stored dev predictions; a place without them is left out.
        trial: that was decided on; a fixed one has no place.
        steps: of the rungs, among the reports of the trial.

    Returns:
        By step, such as ``2nd to 4th and 6th``; without steps where no other place was. At most 100
        places up and down are compared.
    """
    labels = predictions.labels()
    if labels is None or not steps or trial.fixed:
        return {}
    objective = trial.config.objective
    weighed = {task: given for task, given in labels.items() if objective.of(task)}
    bootstrap = Bootstrap(weighed, _RESAMPLES)
    found = {}
    for step in steps:
        # Those with a place there when the decision was made.
        decided = trial.decisions[step - 1].order
        scores = {
            other.number: other.reports[step - 1].score
            for other in record.trials
            if not other.fixed
            and len(other.decisions) >= step
            and other.decisions[step - 1].order <= decided
        }
        there = ranked(scores)
        own = there.index(trial.number)
        first = max(0, own - _MOST_PLACES_AT_A_RUNG)
        read = {
            first + at + 1: given
            for at, number in enumerate(there[first : own + _MOST_PLACES_AT_A_RUNG + 1])
            if (given := predictions.read(number, step)) is not None
        }
        if tied := _within_noise(read, own + 1, bootstrap, objective):
            found[step] = _places(tied)
    return found


def standard_error(record: SearchRecord, predictions: DevPredictions) -> float:
    """Standard error of the recipe's first score, by its stored predictions; 0 without them."""
    baseline, labels = record.baseline, predictions.labels()
    if labels is None or baseline is None or not baseline.reports:
        return 0.0
    ours = predictions.read(baseline.number, 1)
    if ours is None:
        return 0.0
    objective = baseline.config.objective
    weighed = {task: given for task, given in labels.items() if objective.of(task)}
    return float(Bootstrap(weighed, _RESAMPLES_OF_AN_ERROR).scores([ours], objective)[1:].std())


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


def _places(tied: tuple[int, ...]) -> str:
    """Such as "2nd to 4th and 6th", or "2nd and 3rd"."""
    runs: list[list[int]] = []
    for place in tied:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    named: list[str] = []
    for run in runs:
        ends = [ordinal(run[0]), ordinal(run[-1])]
        named += [" to ".join(ends)] if len(run) > 2 else ends[: len(run)]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


def noise_in_words(noise: Noise, winner: TrialRecord) -> list[str]:
    """What the noise means for the winner, in sentences that the data support."""
    sentences = [
        f"One configuration's score is known to ±{2 * noise.error:.3f} from these "
        f"{noise.examples:,} dev examples.",
        f"If all configurations were equal, the highest of {noise.reports} dev evaluations would "
        f"lead the recipe by {noise.luck:.3f} in the median search, and by {noise.most_luck:.3f} "
        "or more in one of 20.",
    ]
    if noise.tied:
        trials = "trial" if len(noise.tied) == 1 else "trials"
        sentences.append(
            f"The {trials} in {_places(noise.tied)} place {'is' if trials == 'trial' else 'are'} "
            "within noise of the winner."
        )
    if winner.number == 0:
        return [*sentences, "The recipe itself scored highest."]
    if not noise.beyond_chance:
        return [*sentences, f"So the lead of {noise.lead:.3f} may well be luck."]
    return [
        *sentences,
        f"In these training runs, the lead of {noise.lead:.3f} is larger than the choice of the "
        f"dev examples and of the best explains (p = {noise.probability:.3f}). How much other "
        "seeds differ is not counted, and can be more.",
    ]
