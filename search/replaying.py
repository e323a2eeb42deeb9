"""Replays finished searches from their records, as another scheduler or sampler would have run.

A replay proposes recorded trials only, and takes their recorded reports.
"""

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage

from minbert.config import TrainConfig
from minbert.errors import InputError
from minbert.report import Report
from minbert.settings import as_text
from search.analysis.noise import standard_error
from search.propose.recorded import RecordedPoint, recorded_space
from search.review.reading import Run
from search.schedule.table import SCHEDULERS
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study

from .driver import Driver
from .plan import FixedTrial, Plan
from .record import TrialRecord, reports_in_order
from .settings import StudySettings
from .simulation import Happened, simulate

# What says how a study was searched, and not what its scores depend on.
_HOW_IT_SEARCHED = {
    *("scheduler", "sampler", "pruner", "recipe's seed", "format"),
    *(name for row in SCHEDULERS.values() for name in row.options),
}


@dataclass(frozen=True)
class Recorded:
    """Trials of finished searches, for replays.

    Attributes:
        space: name of the space.
        recipe: name of the recipe, which is the first point.
        points: the configurations.
        reports: of each configuration's trials, by ``TrainConfig.effective``; several if runs with
            other seeds trained it.
        noise: two standard errors of a score.
        left_out: trials that cannot be replayed, because they failed, made no report, or lie
            outside the space.
    """

    space: str
    recipe: str
    points: tuple[RecordedPoint, ...]
    reports: dict[TrainConfig, list[Sequence[Report]]]
    noise: float
    left_out: int

    @property
    def base(self) -> TrainConfig:
        return self.points[0].config

    @property
    def best(self) -> float:
        """The highest score that a trial of the record has selected."""
        curves = itertools.chain.from_iterable(self.reports.values())
        return max(_selected(curve) for curve in curves)

    @property
    def recipe_score(self) -> float:
        """The score that the recipe's trial has selected; of several, the first run's."""
        return _selected(self.curves(self.base)[0])

    @property
    def stopped(self) -> int:
        """Number of configurations whose record ends before their training would."""
        return sum(
            all(len(curve) < _total(point.config) for curve in self.curves(point.config))
            for point in self.points
        )

    def curves(self, config: TrainConfig) -> list[Sequence[Report]]:
        return self.reports[config.effective()]


@dataclass(frozen=True)
class Way:
    """A way of searching: the settings that a replay varies."""

    scheduler: str
    sampler: str
    grace_period: int
    reduction_factor: int
    pruner: str

    def __str__(self) -> str:
        return f"{self.scheduler}, {self.sampler}"


@dataclass(frozen=True)
class Replay:
    """What a search has spent and found after each of its reports.

    Attributes:
        trainings: spent so far; a report is a part of a full training of its configuration.
        seconds: since the search began.
        scores: of the model that the search would hand over.
        missing: reports that were asked for beyond the record.
    """

    trainings: np.ndarray
    seconds: np.ndarray
    scores: np.ndarray
    missing: int

    def score_after(self, trainings: float) -> float:
        """The score of what would be handed over after so many trainings; NaN before a report."""
        last = int(np.searchsorted(self.trainings, trainings + 1e-9)) - 1
        return float(self.scores[last]) if last >= 0 else float("nan")

    def trainings_until(self, score: float) -> float:
        """Trainings until what would be handed over scores so much; infinite if it never does."""
        reached = np.flatnonzero(self.scores >= score - 1e-12)
        return float(self.trainings[reached[0]]) if len(reached) else float("inf")


def recorded_in(runs: Sequence[tuple[Run, Study]]) -> Recorded:
    """The trials of runs that differ in how they searched, and in seeds, alone.

    Raises:
        InputError: the runs differ in what scores depend on, or have nothing to replay.
    """
    first, _ = runs[0]
    for other, _ in runs[1:]:
        _check_same(first, other)
    base = first.record.trials[0].config
    points: dict[TrainConfig, RecordedPoint] = {}
    reports: dict[TrainConfig, list[Sequence[Report]]] = {}
    left_out = 0
    for _, study in runs:
        for trial in study.trials:
            point = _point(study, trial, base)
            if point is None:
                left_out += 1
                continue
            points.setdefault(point.config.effective(), point)
            reports.setdefault(point.config.effective(), []).append(trial.reports)
    if base.effective() not in points or len(points) < 2:
        raise InputError(f"{first.folder}: there is nothing to replay, as no proposed trial scored")
    return Recorded(
        space=str(first.setup["space"]),
        recipe=str(first.setup["recipe"]),
        points=tuple(points.values()),
        reports=reports,
        noise=2 * standard_error(first.record, first.predictions),
        left_out=left_out,
    )


def _check_same(first: Run, other: Run) -> None:
    for name in sorted({*first.setup, *other.setup} - _HOW_IT_SEARCHED):
        one, two = first.setup.get(name), other.setup.get(name)
        if one != two:
            shown = f": {as_text(one)} and {as_text(two)}" if not isinstance(one, dict) else ""
            raise InputError(
                f"{first.folder} and {other.folder} cannot be replayed together, as they differ in "
                f"{name}{shown}"
            )


def _point(study: Study, trial: TrialRecord, base: TrainConfig) -> RecordedPoint | None:
    if not trial.reports or trial.kept is None or trial.state == "failed":
        return None
    frozen = study.frozen(trial)
    if not frozen.params and trial.number:
        return None
    config = trial.config.replace(seed=base.seed)
    return RecordedPoint(trial.fields, config, frozen.params, frozen.distributions)


def replay(recorded: Recorded, way: Way, seed: int, slots: int) -> Replay:
    """Search once among the recorded trials.

    Args:
        recorded: the trials.
        way: how to search.
        seed: of the search.
        slots: trials at the same time.
    """
    draw = np.random.default_rng(seed)
    # A configuration with several records is trained with one of the seeds.
    curves = {
        config: several[draw.integers(len(several))] for config, several in recorded.reports.items()
    }
    missing = 0

    def given(trial: TrialRecord, step: int) -> Report | None:
        nonlocal missing
        curve = curves[trial.config.effective()]
        if step <= len(curve):
            return curve[step - 1]
        missing += 1
        return None

    with tempfile.TemporaryDirectory() as folder:
        nowhere = LocalDirectory(Path(folder))
        driver = Driver(
            Study.create(InMemoryStorage(), "replay", {}),
            _plan(recorded),
            _settings(recorded, way, seed),
            CheckpointStore(nowhere),
            DevPredictions(nowhere),
        ).open()
        happened = simulate(driver, given, slots)
    trials = driver.study.trials
    return _progress(happened, [_total(trial.config) for trial in trials], missing)


def as_recorded(run: Run) -> Replay:
    """The search of a run as it was."""
    happened = []
    reports = reports_in_order(run.record.trials)
    began = min((a.at for trial in run.record.trials for a in trial.attempts), default=0.0)
    for number, (trial, report) in enumerate(reports, start=1):
        at = trial.decisions[report.step - 1].at - began
        happened.append(Happened(at, trial.number, report.step, report.score, report.kept, number))
    return _progress(happened, [_total(trial.config) for trial in run.record.trials], 0)


def _plan(recorded: Recorded) -> Plan:
    base = recorded.base
    return Plan(
        space=recorded_space(recorded.space, recorded.points),
        recipe=recorded.recipe,
        base=base,
        fixed=(FixedTrial("recipe", {}, base),),
        tries=(),
        trials=len(recorded.points),
        most_reports=max(_total(point.config) for point in recorded.points),
        configs=(base,),
        recorded=recorded.points,
        noise=recorded.noise,
    )


def _settings(recorded: Recorded, way: Way, seed: int) -> StudySettings:
    options: dict[str, Any] = {
        "space": recorded.space,
        "trials": len(recorded.points),
        "seed": seed,
        "objective": recorded.base.objective,
        "scheduler": way.scheduler,
        "sampler": way.sampler,
        "grace_period": way.grace_period,
        "reduction_factor": way.reduction_factor,
        "pruner": way.pruner,
    }
    return StudySettings.check(options)


def _progress(happened: Sequence[Happened], totals: Sequence[int], missing: int) -> Replay:
    selected: dict[int, float] = {}
    scores = []
    for one in happened:
        if one.kept:
            selected[one.trial] = one.score
        scores.append(max(selected.values(), default=float("-inf")))
    return Replay(
        trainings=np.cumsum([1 / totals[one.trial] for one in happened]),
        seconds=np.array([one.time for one in happened]),
        scores=np.array(scores),
        missing=missing,
    )


def _total(config: TrainConfig) -> int:
    return config.epochs * config.reports_per_epoch


def _selected(curve: Sequence[Report]) -> float:
    return next((r.score for r in reversed(curve) if r.kept), float("-inf"))
