"""The reference for the driver's decisions: each one looks at all trials of the record again.

These are the rules written as functions of the record, with nothing kept from one decision to the
next. They are slow, and short enough to be read against the documentation.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.output import ordinal
from minbert.report import Report
from search.driver import Driver
from search.new_trials import NewTrials
from search.propose.proposals import Proposer
from search.record import SearchRecord, State, TrialRecord, Verdict
from search.retention import Retention
from search.schedule.base import Promotion
from search.schedule.pruners import make_pruner
from search.schedule.rung import plan_rungs
from search.settings import StudySettings
from search.storage.checkpoints import Key
from search.storage.study import Study
from tests.search.simulated import plan_of

_HAS_SCORE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class LookingRung:
    scores: Mapping[int, float]
    factor: int
    fixed: Collection[int] = ()
    continued: Collection[int] = ()
    over: Collection[int] = ()

    @property
    def places(self) -> int:
        return len(self.scores) // self.factor

    @property
    def ranking(self) -> list[int]:
        contenders = [number for number in self.scores if number not in self.fixed]
        return sorted(contenders, key=lambda number: (-self._value(number), number))

    def promotable(self) -> int | None:
        if len(self.continued) >= self.places:
            return None
        for number in self.ranking[: self.places]:
            if number not in self.continued and number not in self.over:
                return number
        return None

    def hopeful(self, trials: int) -> set[int]:
        return set(self.ranking[: trials // self.factor])

    def continues_at_once(self, number: int) -> bool:
        above = sum(self._value(other) > self._value(number) for other in self.ranking)
        return above < max(1, self.places)

    def standing(self, number: int) -> str:
        top = f"the top {self.places} continue{'s' if self.places == 1 else ''}"
        if not self.places:
            top = "none continues yet"
        return f"{ordinal(self.ranking.index(number) + 1)} of {len(self.ranking)}, {top}"

    def _value(self, number: int) -> float:
        score = self.scores[number]
        return -math.inf if math.isnan(score) else score


class LookingRungs:
    def __init__(self, study: Study, settings: StudySettings, most_reports: int, planned: int):
        self._trials, self._settings = study.trials, settings
        self._places: dict[int, int] = {}
        if settings.scheduler != "none":
            fixed = sum(trial.fixed for trial in study.trials)
            self._places = plan_rungs(
                settings.grace_period, settings.reduction_factor, most_reports, planned, fixed
            )

    def pause_steps(self, trial: TrialRecord) -> tuple[int, ...]:
        pauses = self._settings.scheduler == "asha" and not trial.fixed
        return tuple(self._places) if pauses else ()

    def verdict(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:
        if report.step not in self._places:
            return "continue", ""
        rung = self.at(report.step, {trial.number: report.score})
        reason = self._standing(report.step, rung, trial.number)
        if self._settings.scheduler == "asha-stop":
            return ("continue" if rung.continues_at_once(trial.number) else "stop"), reason
        higher = [step for step in self._places if step > report.step]
        if rung.promotable() == trial.number and all(
            self.at(step).promotable() is None for step in higher
        ):
            return "promote", reason
        return "pause", reason

    def promotable(self) -> Promotion | None:
        for step in reversed(self._places):
            rung = self.at(step)
            number = rung.promotable()
            if number is not None:
                return Promotion(self._trials[number], step, self._standing(step, rung, number))
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:
        if step not in self._places or self._settings.scheduler != "asha":
            return []
        rung = self.at(step)
        most = max(self._places[step], len(rung.scores))
        hopeful = rung.hopeful(most)
        return [
            (
                trial,
                f"{self._standing(step, rung, trial.number)}; at most "
                f"{most // rung.factor} of {most} can continue",
            )
            for trial in self._trials
            if trial.paused_at == step and trial.number not in hopeful
        ]

    def at(self, step: int, coming: dict[int, float] | None = None) -> LookingRung:
        there = [trial for trial in self._trials if len(trial.reports) >= step]
        moving = [trial for trial in there if not trial.fixed]
        return LookingRung(
            scores={trial.number: trial.reports[step - 1].score for trial in there}
            | (coming or {}),
            factor=self._settings.reduction_factor,
            fixed={trial.number for trial in there if trial.fixed},
            continued={trial.number for trial in moving if trial.continued_from(step)},
            over={t.number for t in moving if t.is_over and not t.continued_from(step)},
        )

    def _standing(self, step: int, rung: LookingRung, number: int) -> str:
        return f"rung {list(self._places).index(step) + 1}: {rung.standing(number)}"


class LookingRecord(SearchRecord):
    def first(self, state: State) -> TrialRecord | None:
        return next((trial for trial in self.trials if trial.state == state), None)


def shown(study: Study, states: Collection[State], shown_as: TrialState) -> list[FrozenTrial]:
    """The trials as Optuna sees them, those in some states that have reports as in another."""
    found = []
    for trial in study.trials:
        frozen = study.frozen(trial)
        if trial.state in states and trial.reports:
            made = create_trial(
                state=shown_as,
                value=trial.reports[-1].score,
                params=frozen.params,
                distributions=frozen.distributions,
                system_attrs=frozen.system_attrs,
                intermediate_values=dict(frozen.intermediate_values),
            )
            made.number, made._trial_id = frozen.number, frozen._trial_id
            frozen = made
        found.append(frozen)
    return found


class _Shown(InMemoryStorage):
    def __init__(self, study: Study):
        super().__init__()
        self._study = study

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> Any:  # noqa: ARG002
        trials = shown(self._study, ("paused", "interrupted", "stopped"), TrialState.COMPLETE)
        return [trial for trial in trials if states is None or trial.state in states]


class LookingPruning:
    """Optuna's own pruners."""

    def __init__(self, study: Study, text: str):
        self._study, self._text = study, text
        self._pruner = make_pruner(text)
        self._seen = optuna.create_study(storage=_Shown(study), direction=StudyDirection.MAXIMIZE)

    def reason_to_prune(self, trial: TrialRecord, step: int, score: float) -> str | None:
        if self._pruner is None:
            return None
        frozen = self._study.frozen(trial)
        frozen.intermediate_values[step] = score
        try:
            if not self._pruner.prune(self._seen, frozen):
                return None
        finally:
            del frozen.intermediate_values[step]
        return f"pruner {self._text}: {score:.3f} at report {step}"


class LookingProposer(Proposer):
    def _count(self) -> None:
        self._counted, self._proposed = 0, 0
        self._tried, self._refused = set(), set()
        super()._count()

    def _origin(self) -> str:
        known = sum(trial.state in _HAS_SCORE for trial in self._trials())
        starting = self._row.models and known < self._start
        return "random start" if starting else self._name

    def _trials(self) -> list[FrozenTrial]:
        return [*self._earlier, *shown(self._study, ("paused", "interrupted"), TrialState.PRUNED)]

    def _to_learn_from(self) -> list[FrozenTrial]:
        return self._trials()


class LookingRetention(Retention):
    def tidy(self) -> None:
        models: set[Key] = set(self.pareto_front.keys)
        states: set[Key] = set()
        over = []
        for trial in self._trials:
            kept = trial.kept
            if trial.is_over:
                if kept is not None and trial.state != "failed":
                    over.append((-kept.score, trial.number, kept.step))
                continue
            if kept is not None:
                models.add((trial.number, kept.step))
            with_state = self._store.steps_with_state(trial.number)
            latest = max((s for s in with_state if s <= len(trial.reports)), default=None)
            if latest is not None:
                states.add((trial.number, latest))
        models |= {(number, step) for _, number, step in sorted(over)[: self._keep]}
        for number in range(len(self._trials)):
            self._store.keep_only(
                number,
                {step for trial, step in models if trial == number},
                {step for trial, step in states if trial == number},
            )


class LookingDriver(Driver):
    def open(self) -> Self:
        self._put(record=LookingRecord(self.record.planned, self.study.trials))
        self._put(_pruning=LookingPruning(self.study, self.settings.pruner))
        self._put(
            _retention=LookingRetention(
                self.study, self._store, self.settings.keep_models, self.settings.pareto_models
            )
        )
        plan = plan_of(self)
        assert isinstance(self._source, NewTrials)
        self._source.proposer = LookingProposer(
            self.study,
            plan.space,
            plan.base,
            self.settings.sampler,
            self.settings.seed,
            start=min(10, max(3, plan.trials // 3)),
        )
        super().open()
        self._put(
            _scheduler=LookingRungs(
                self.study, self.settings, self.plan.most_reports, self.record.planned
            )
        )
        return self

    def _put(self, **parts: Any) -> None:
        vars(self).update(parts)

    @property
    def backlog(self) -> int:
        if self.ended_because is not None:
            return 0
        trials = self.study.trials
        waiting = sum(trial.state in ("interrupted", "waiting") for trial in trials)
        return waiting + self.record.planned - len(trials)

    def _check_whether_to_end(self) -> None:
        if self.settings.target is None and self.settings.patience is None:
            return
        best = self.record.winner
        if best is None or best.kept is None:
            return
        target, patience = self.settings.target, self.settings.patience
        if target is not None and best.kept.score >= target:
            self.ended_because = f"the target {target:g} is reached"
        since = sum(
            trial.decisions[-1].order > best.decisions[best.kept.step - 1].order
            for trial in self.study.trials
            if trial.state == "finished" and trial is not best
        )
        if patience is not None and since >= patience:
            self.ended_because = f"{since} finished trials in a row did not score higher"
