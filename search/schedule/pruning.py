"""Asks an Optuna pruner about one report.

The reports of paused and pruned trials count too. Optuna's own pruners only count finished trials,
of which successive halving leaves so few that pruners would hardly ever act.
"""

from bisect import insort

import optuna
from optuna.pruners import BasePruner, PercentilePruner
from optuna.study import StudyDirection

from search.ordered import discard, percentile
from search.record import State, TrialRecord
from search.storage.study import Study

from .pruners import make_pruner

# States of the trials that a trial is compared with.
_DO_NOT_RUN: tuple[State, ...] = ("finished", "paused", "interrupted", "stopped")


class Pruning:
    """Asks a pruner whether a trial should end.

    Args:
        study: the record to compare with; this object follows its changes.
        text: see ``make_pruner``.
    """

    def __init__(self, study: Study, text: str):
        self._study, self._text = study, text
        self._pruner = make_pruner(text)
        self._alone = optuna.create_study(direction=StudyDirection.MAXIMIZE)
        # By step: sorted scores of the trials that are not running; and how many reports of each
        # trial are among them.
        self._scores: dict[int, list[float]] = {}
        self._counted: dict[int, int] = {}
        if isinstance(self._pruner, PercentilePruner):
            study.follow(self._update)

    def reason_to_prune(self, trial: TrialRecord, step: int, score: float) -> str | None:
        """Why the trial should end after a report that is not recorded yet; None if it should not.

        Args:
            trial: not a fixed trial.
            step: number of the report.
            score: score of the report.
        """
        if self._pruner is None:
            return None
        if isinstance(self._pruner, PercentilePruner):
            ends = self._is_low(self._pruner, trial, step, score)
        else:
            ends = self._prunes_alone(self._pruner, trial, step, score)
        return f"pruner {self._text}: {score:.3f} at report {step}" if ends else None

    def _is_low(
        self, pruner: PercentilePruner, trial: TrialRecord, step: int, score: float
    ) -> bool:
        """As ``PercentilePruner.prune``, which would go through all trials each time."""
        scores = self._scores.get(step, [])
        if step < pruner._n_warmup_steps or len(scores) < pruner._n_min_trials:
            return False
        best = max([score, *(report.score for report in trial.reports)])
        return best < percentile(scores, 100 - pruner._percentile)

    def _prunes_alone(
        self, pruner: BasePruner, trial: TrialRecord, step: int, score: float
    ) -> bool:
        """Ask a pruner that only needs the trial's own curve."""
        frozen = self._study.frozen(trial)
        frozen.intermediate_values[step] = score
        try:
            return pruner.prune(self._alone, frozen)
        finally:
            del frozen.intermediate_values[step]

    def _update(self, trial: TrialRecord) -> None:
        before = self._counted.get(trial.number, 0)
        now = len(trial.reports) if trial.state in _DO_NOT_RUN else 0
        for report in trial.reports[before:now]:
            insort(self._scores.setdefault(report.step, []), report.score)
        for report in trial.reports[now:before]:
            discard(self._scores[report.step], report.score)
        self._counted[trial.number] = now
