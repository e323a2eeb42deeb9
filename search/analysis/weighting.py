"""Other score weights and other selection rules, evaluated from the record alone."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from minbert.report import Report
from minbert.tasks import TASK_NAMES, Task
from minbert.weights import EQUAL_WEIGHTS, SelectionRule, Weights, selected_index, weighted_score
from search.record import TrialRecord

# The two rules of the paper (its sections 4.1 and 4.5).
SELECTION_RULES: tuple[SelectionRule, ...] = ("any_task", "weighted")


def other_weights(tasks: Sequence[Task]) -> Weights | None:
    """Score weights to try besides equal ones, 0 for tasks not in use; None for a single task."""
    if len(tasks) < 2:
        return None
    most = ("sst", "sts") if len(tasks) == len(TASK_NAMES) else tasks[:1]
    return Weights(*((1.5 if t in most else 1.0) if t in tasks else 0.0 for t in TASK_NAMES))


@dataclass(frozen=True)
class Ranked:
    """A trial's best report under some weights, and its score under them."""

    trial: TrialRecord
    report: Report
    score: float


def rank(trials: Sequence[TrialRecord], weights: Weights) -> list[Ranked]:
    """The best report of each trial under ``weights``, best first, including failed trials.

    Of equal reports, the one with the higher mean score comes first, as on the Pareto front, then
    the one that was recorded first.
    """

    def place(one: Ranked) -> tuple[float, float, int]:
        mean = weighted_score(one.report.scores, EQUAL_WEIGHTS)
        return -one.score, -mean, one.trial.decisions[one.report.step - 1].order

    return sorted(
        (
            min(
                (Ranked(t, report, weighted_score(report.scores, weights)) for report in reports),
                key=place,
            )
            for t in trials
            if (reports := [report for report in t.reports if math.isfinite(report.score)])
        ),
        key=place,
    )


@dataclass(frozen=True)
class Hidden:
    """Whether stopped trials may hide a better model than the best that was seen.

    They were stopped under the study's objective, and might have done better under other weights.

    Attributes:
        stopped: number of trials that were not trained to their end.
        finished: number of trials that were, from which gains are estimated.
        most_gain: the largest gain of a finished trial after a report at which a trial was stopped;
            None if no trial was trained beyond such a report.
        could: stopped trials that would exceed the best with the largest gain of a finished trial
            after the same report, each with the score that it would reach.
    """

    stopped: int
    finished: int
    most_gain: float | None
    could: tuple[tuple[TrialRecord, float], ...]


def hidden(trials: Sequence[TrialRecord], weights: Weights) -> Hidden:
    """Estimate what stopped trials might have reached under ``weights``."""
    finished = [
        list(itertools.accumulate((weighted_score(r.scores, weights) for r in trial.reports), max))
        for trial in trials
        if trial.state == "finished"
    ]
    stopped = [t for t in trials if t.reports and t.state not in ("finished", "failed", "running")]
    ranked = rank(trials, weights)
    gains: dict[int, float | None] = {}
    could = []
    for trial in stopped:
        step = len(trial.reports)
        if step not in gains:
            later = [best[-1] - best[step - 1] for best in finished if len(best) > step]
            gains[step] = max(later, default=None)
        gain = gains[step]
        if gain is not None:
            reach = gain + max(weighted_score(report.scores, weights) for report in trial.reports)
            if reach > ranked[0].score:
                could.append((trial, reach))
    could.sort(key=lambda pair: -pair[1])
    most = max((gain for gain in gains.values() if gain is not None), default=None)
    return Hidden(len(stopped), len(finished), most, tuple(could))


def replay(trial: TrialRecord, rule: SelectionRule) -> Report:
    """The report whose checkpoint ``rule`` would have selected, for a trial that has reports."""
    index = selected_index(
        [report.scores for report in trial.reports],
        rule,
        selection_weights=trial.config.weights_to_select_by,
        objective=trial.config.objective,
    )
    return trial.reports[index]


@dataclass(frozen=True)
class Replayed:
    """The reports that each of ``SELECTION_RULES`` would have selected for a trial.

    Attributes:
        kept: one report per rule.
    """

    trial: TrialRecord
    kept: tuple[Report, ...]

    @property
    def difference(self) -> float:
        """Score under the second rule minus the score under the first."""
        return self.kept[1].score - self.kept[0].score

    @property
    def cells(self) -> list[str]:
        """Epoch and score for each rule, then the difference, as text."""
        each = [text for one in self.kept for text in (f"{one.epoch:.2f}", f"{one.score:.3f}")]
        return [*each, f"{self.difference:+.3f}"]


def replays(trials: Sequence[TrialRecord]) -> list[Replayed]:
    """What ``SELECTION_RULES`` would have selected, for trials with reports that did not fail."""
    return [
        Replayed(trial, tuple(replay(trial, rule) for rule in SELECTION_RULES))
        for trial in trials
        if trial.reports and trial.state != "failed"
    ]
