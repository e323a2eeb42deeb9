"""Which checkpoints a search keeps. Only trials that something changed for are checked again.

A search keeps the latest state and the selected model of each trial that is not over, the models of
the Pareto front, and the models of the best ``--keep-models`` trials that ended without failing.
"""

import math
from bisect import bisect_left, insort

from minbert.report import Report
from search.analysis.pareto import ParetoFront, Point
from search.storage.checkpoints import CheckpointStore
from search.storage.study import Study

from .ordered import discard
from .record import TrialRecord, reports_in_order


def selects(trial: TrialRecord, report: Report) -> bool:
    """Whether a trial selects the checkpoint of its next report, by its configuration's rule."""
    history = [*(before.scores for before in trial.reports), report.scores]
    return trial.config.selects_last(history)


class Retention:
    """Removes the checkpoints of a study that are no longer needed.

    Args:
        study: the record; this object follows its changes.
        store: its checkpoints.
        keep: the most models of ended trials to keep.
        pareto_models: the most models to keep on the Pareto front.

    Attributes:
        pareto_front: the Pareto front of the study's checkpoints.
    """

    def __init__(self, study: Study, store: CheckpointStore, keep: int, pareto_models: int):
        self._study, self._trials, self._store, self._keep = study, study.trials, store, keep
        self.pareto_front = ParetoFront(pareto_models)
        for trial, report in reports_in_order(study.trials):
            self.pareto_front.offer(Point(trial.number, report.step, report.scores))
        # Trials that ended without failing, best first: the negative score, then the number.
        self._over: list[tuple[float, int]] = []
        self._places: dict[int, tuple[float, int]] = {}
        # Trials whose checkpoints must be checked.
        self._changed: set[int] = set()
        study.follow(self._update)

    def scan(self) -> None:
        """List the existing checkpoints; the next ``tidy`` checks all of them."""
        self._study.patience(
            "the checkpoints cannot be listed",
            lambda: self._store.scan(self._study.recorded(), sweep=True),
        )
        self._changed.update(range(len(self._trials)))

    def offer(self, trial: TrialRecord, report: Report) -> None:
        """Add a new report's checkpoint to the Pareto front, unless another one dominates it."""
        if not math.isfinite(report.score):
            return
        dropped = len(self.pareto_front.dropped)
        left = self.pareto_front.offer(Point(trial.number, report.step, report.scores))
        self._changed.update(number for number, _ in left)
        if len(self.pareto_front.dropped) > dropped:
            self._study.note("dropped_from_pareto_front", self.pareto_front.dropped)

    def tidy(self) -> None:
        """Remove the checkpoints that are no longer needed."""
        on_front: dict[int, set[int]] = {}
        for number, step in self.pareto_front.keys:
            on_front.setdefault(number, set()).add(step)
        for number in sorted(self._changed):
            trial = self._trials[number]
            models = on_front.get(number, set())
            kept = trial.kept
            if kept is not None and (not trial.is_over or self._is_among_best(number)):
                models.add(kept.step)
            self._store.keep_only(number, models, set() if trial.is_over else self._state(trial))
        self._changed.clear()

    def _state(self, trial: TrialRecord) -> set[int]:
        """Step of the state that a trial would continue from; empty if there is no state."""
        steps = self._store.steps_with_state(trial.number)
        return set(sorted(step for step in steps if step <= len(trial.reports))[-1:])

    def _is_among_best(self, number: int) -> bool:
        place = self._places.get(number)
        return place is not None and bisect_left(self._over, place) < self._keep

    def _update(self, trial: TrialRecord) -> None:
        self._changed.add(trial.number)
        kept = trial.kept
        counts = kept is not None and trial.is_over and trial.state != "failed"
        new = (-kept.score, trial.number) if kept is not None and counts else None
        old = self._places.pop(trial.number, None)
        if old is not None:
            discard(self._over, old)
        if new is not None:
            insort(self._over, new)
            self._places[trial.number] = new
        if new != old:
            # The trial that this one displaces, too.
            self._changed.update(number for _, number in self._over[self._keep : self._keep + 1])
