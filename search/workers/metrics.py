"""The state of a running search as metrics that Prometheus scrapes (docs/monitoring.md).

Ray's exporter shows a gauge for two of its report intervals (20 s) after it was last set. So
current values are set again regularly, and the series of an ended trial ends by itself.
"""

import math
import time
from collections import Counter as Tally
from typing import Any, get_args

from ray.util.metrics import Counter, Gauge, Metric

from minbert.report import Report
from search.record import SearchRecord, State, TrialRecord
from search.watchers import Watcher, guarded

# Less than any sensible report interval of Ray's.
_SECONDS_BETWEEN_REFRESHES = 2.0

# By metric; Ray prefixes the names with ``ray_``.
_HELP = {
    "minbert_trial_score": "Score of the trial's last report.",
    "minbert_trial_task_score": "Dev score of a task in the trial's last report.",
    "minbert_trial_progress_ratio": "Reports of the trial so far, as a share of all its reports.",
    "minbert_trial_tokens_per_second": "Training tokens a second up to the trial's last report.",
    "minbert_trial_resident_memory_bytes": "Resident memory of the worker that runs the trial.",
    "minbert_trial_cuda_max_memory_bytes": "Most GPU memory used by tensors of the attempt.",
    "minbert_reports_total": "Reports since the search was started or resumed.",
    "minbert_best_score": "Highest score of a trial so far; failed trials do not count.",
    "minbert_trials": "Trials in a state.",
    "minbert_trials_planned": "Trials that will run if nothing ends the search early.",
    "minbert_slots": "Trials that can run at once.",
    "minbert_slots_busy": "Trials that are running.",
}
_SPELT_OUT = str.maketrans({"α": "alpha", "β": "beta", "γ": "gamma"})


class SearchMetrics(Watcher):
    """A watcher that keeps Ray's metrics of a search up to date.

    Args:
        study: name of the study, a tag of every metric.
        record: the trials, read at each refresh.
    """

    what = "the metrics"

    def __init__(self, study: str, record: SearchRecord):
        self._study, self._record = study, record
        self._metrics: dict[str, Metric] = {}
        self._memory: dict[int, tuple[int, int]] = {}
        self._last_refresh = -math.inf

    @guarded
    def reported(self, trial: TrialRecord, report: Report) -> None:
        # Not at the next refresh, when the trial may be over.
        self._set_trial(trial, report)
        self._metric(Counter, "minbert_reports_total", ("study",)).inc(
            tags={"study": _ascii(self._study)}
        )

    def paused(self, trial: TrialRecord, reason: str) -> None:  # noqa: ARG002
        self.ended(trial)

    def ended(self, trial: TrialRecord) -> None:
        self._memory.pop(trial.number, None)

    def used(self, number: int, resident: int, cuda: int) -> None:
        """Set the memory of a running trial, in bytes; 0 if it has none or it is unknown."""
        self._memory[number] = resident, cuda

    @guarded
    def refresh(self) -> None:
        """Set the current values, unless that was done a moment ago; to be called often."""
        now = time.monotonic()
        if now - self._last_refresh < _SECONDS_BETWEEN_REFRESHES:
            return
        self._last_refresh = now
        for trial in self._record.trials:
            if trial.state == "running":
                self._set_trial(trial, trial.reports[-1] if trial.reports else None)
        tally = Tally(trial.state for trial in self._record.trials)
        states: tuple[State, ...] = get_args(State)
        for state in states:
            self._set("minbert_trials", tally[state], state=state)
        self._set("minbert_trials_planned", self._record.planned)
        best = self._record.best(*(state for state in states if state != "failed"))
        if best is not None and best.score is not None:
            self._set("minbert_best_score", best.score)
        self._set("minbert_slots", self._record.slots)
        self._set("minbert_slots_busy", tally["running"])

    def _set_trial(self, trial: TrialRecord, report: Report | None) -> None:
        tags = {"trial": str(trial.number), "configuration": trial.name}
        values = {"progress_ratio": len(trial.reports) / trial.total_reports}
        if report is not None:
            values |= {"score": report.score, "tokens_per_second": report.tokens_per_second}
            for task, score in report.scores.items():
                self._set("minbert_trial_task_score", score, **tags, task=task)
        resident, cuda = self._memory.get(trial.number, (0, 0))
        if resident:
            values["resident_memory_bytes"] = resident
        if cuda:
            values["cuda_max_memory_bytes"] = cuda
        for name, value in values.items():
            self._set(f"minbert_trial_{name}", value, **tags)

    def _set(self, name: str, value: float, **tags: str) -> None:
        if not math.isfinite(value):
            return
        texts = {key: _ascii(text) for key, text in {"study": self._study, **tags}.items()}
        self._metric(Gauge, name, tuple(texts)).set(value, texts)

    def _metric(self, kind: type[Metric], name: str, tags: tuple[str, ...]) -> Any:
        if name not in self._metrics:
            self._metrics[name] = kind(name, _HELP[name], tags)
        return self._metrics[name]


def _ascii(text: str) -> str:
    """A tag in ASCII, the only text that Ray accepts: ``α=0.52`` as ``alpha=0.52``."""
    return text.translate(_SPELT_OUT).encode("ascii", "backslashreplace").decode()
