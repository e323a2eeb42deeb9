"""Optuna's samplers: what configuration to try next, as a function of the record.

The sampler sees the study through a view in which a paused trial is PRUNED with its last score.
Were it RUNNING, as it is in the study, TPE would take it for one that has no score yet: it would
never leave its random start, and its constant liar would count promising trials as bad ones.
"""

import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.config import TrainConfig
from minbert.tasks import Task
from minbert.weights import Weights, weighted_score

from .record import State, TrialRecord
from .spaces import Chosen, Fields, Space, explore, grid
from .study import Study

SamplerName = Literal["tpe", "gp", "cmaes", "qmc", "random", "grid"]

# They model finished trials alone, so that a search that stops most of them would starve them.
NEED_FULL_TRIALS: tuple[SamplerName, ...] = ("gp", "cmaes")

_HAS_SCORE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Proposal:
    """A configuration to try.

    Attributes:
        origin: the sampler's name, or ``random start`` before the sampler has seen enough.
        params: the point of the space; ``distributions`` the space around it.
        system_attrs: what the sampler noted of this trial.
    """

    fields: Fields
    config: TrainConfig
    origin: str
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]


class _View(InMemoryStorage):
    """A storage for asking, in which all trials but the one that is asked come from elsewhere."""

    def __init__(self, trials: Callable[[], list[FrozenTrial]]):
        super().__init__()
        self._seen = trials

    def get_all_trials(
        self,
        study_id: int,  # noqa: ARG002
        deepcopy: bool = True,  # noqa: ARG002
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        return [trial for trial in self._seen() if states is None or trial.state in states]


class Lens:
    """The study's trials as FrozenTrials, those in some states shown as in another.

    Args:
        study: the record.
        states: a trial in one of these that has a report is shown
        shown_as: in this state, with its last score.
    """

    def __init__(self, study: Study, states: Container[State], shown_as: TrialState):
        self._study, self._states, self._shown_as = study, states, shown_as
        # By trial number: how many reports there were, and what was shown.
        self._made: dict[int, tuple[int, FrozenTrial]] = {}

    def trials(self) -> list[FrozenTrial]:
        return [self._show(trial) for trial in self._study.trials]

    def _show(self, trial: TrialRecord) -> FrozenTrial:
        frozen = self._study.frozen(trial)
        if trial.state not in self._states or not trial.reports:
            return frozen
        made = self._made.get(trial.number)
        if made is None or made[0] != len(trial.reports):
            made = len(trial.reports), _shown(frozen, self._shown_as, trial.reports[-1].score)
            self._made[trial.number] = made
        return made[1]


def _shown(frozen: FrozenTrial, state: TrialState, value: float) -> FrozenTrial:
    shown = create_trial(
        state=state,
        value=value,
        params=frozen.params,
        distributions=frozen.distributions,
        system_attrs=frozen.system_attrs,
        intermediate_values=dict(frozen.intermediate_values),
    )
    shown.number, shown._trial_id = frozen.number, frozen._trial_id
    return shown


def pruners_study(study: Study) -> optuna.Study:
    """The study as a pruner sees it: what has reports and does not run counts as complete."""
    lens = Lens(study, ("paused", "cut short", "stopped"), TrialState.COMPLETE)
    return optuna.create_study(storage=_View(lens.trials), direction=StudyDirection.MAXIMIZE)


class Proposer:
    """Asks a sampler for configurations.

    What it proposes depends on the record, the seed and the trial's number alone: a search that
    was killed and resumed proposes what it would have proposed.

    Args:
        study: the record, which the sampler learns from.
        space: what is varied; ``base`` is what it is put into.
        sampler: by name.
        seed: of the search.
        start: trials with a score before the sampler models them.
        earlier: trials of earlier studies in the same space, to learn from.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        base: TrainConfig,
        sampler: SamplerName,
        seed: int,
        start: int,
        earlier: Sequence[FrozenTrial] = (),
    ):
        self._study, self._space, self._base = study, space, base
        self._name, self._seed, self._start = sampler, seed, start
        self._grid = grid(space) if sampler == "grid" and space.function else None
        self._parameters = explore(space).parameters
        self._earlier = earlier
        self._lens = Lens(study, ("paused", "cut short"), TrialState.PRUNED)
        self._view = _View(self._trials)
        self._optuna = optuna.create_study(storage=self._view, direction="maximize")
        self._asked = 0

    def propose(self) -> Proposal | None:
        """The next configuration; None where a grid has no more.

        Raises:
            InputError: the space's function failed, or returned what cannot be trained.
        """
        number = len(self._study.trials)
        own = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        place = sum(trial.origin == self._name for trial in self._study.trials)
        if self._grid is not None:
            if place >= len(self._grid):
                return None
            self._optuna.sampler = Chosen(self._grid[place])
        elif self._name == "qmc":
            self._optuna.sampler = _PlacedQMC(self._seed, place, self._parameters)
        else:
            self._optuna.sampler = _sampler(self._name, own, self._start)
        # A space may ask for the trial's number, so the view counts the study's trials too.
        while self._asked < number:
            self._view.create_new_trial(self._optuna._study_id)
            self._asked += 1
        known = sum(trial.state in _HAS_SCORE for trial in self._trials())
        trial = self._optuna.ask()
        self._asked += 1
        fields = self._space.propose(trial)
        config = self._space.configure(fields, self._base)
        asked = self._view.get_trial(trial._trial_id)
        starting = self._name in ("tpe", "gp", "cmaes") and known < self._start
        return Proposal(
            fields=fields,
            config=config,
            origin="random start" if starting else self._name,
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.system_attrs,
        )

    def _trials(self) -> list[FrozenTrial]:
        return [*self._earlier, *self._lens.trials()]


class _PlacedQMC(QMCSampler):
    """A point of the sequence by its place, which the stock sampler keeps in the study instead.

    The sequence is over all parameters of the space, where the stock sampler takes those of the
    first trial, which need not lie in the space.
    """

    def __init__(self, seed: int, place: int, parameters: dict[str, BaseDistribution]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self._place, self._parameters = place, parameters

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self._parameters

    def _find_sample_id(self, study: Any, search_space: Any) -> int:  # noqa: ARG002
        return self._place


def _sampler(name: SamplerName, seed: int, start: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return TPESampler(
                seed=seed,
                multivariate=True,
                # Parameters that only some configurations have are modelled where they appear.
                group=True,
                # Trials that run at the same time spread out.
                constant_liar=True,
                n_startup_trials=start,
            )
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=start)
        if name == "cmaes":
            return CmaEsSampler(seed=seed, n_startup_trials=start)
        return RandomSampler(seed=seed)


def trials_to_learn_from(
    study: Study, space: Space, objective: Weights, tasks: Sequence[Task]
) -> list[FrozenTrial]:
    """Trials of an earlier study whose parameters are all of this space, scored by its objective.

    Args:
        study: the earlier one.
        space: what is searched now.
        objective: by which trials are compared now.
        tasks: that are scored now; trials that scored others are left out.
    """
    parameters = explore(space).parameters
    found = []
    for trial in study.trials:
        frozen = study.frozen(trial)
        if trial.kept is None or not frozen.params or trial.state == "failed":
            continue
        if any(parameters.get(name) != d for name, d in frozen.distributions.items()):
            continue
        if set(trial.kept.scores) != set(tasks):
            continue
        scores = [weighted_score(report.scores, objective) for report in trial.reports]
        finished = trial.state == "finished"
        value = weighted_score(trial.kept.scores, objective) if finished else scores[-1]
        found.append(
            create_trial(
                state=TrialState.COMPLETE if finished else TrialState.PRUNED,
                value=value,
                params=frozen.params,
                distributions=frozen.distributions,
                intermediate_values=dict(enumerate(scores, start=1)),
            )
        )
    for number, frozen in enumerate(found):
        # Apart from the numbers of this study's trials.
        frozen.number = number - len(found)
    return found
