"""Optuna's samplers: what configuration to try next, as a function of the record.

The sampler sees the study through a view in which a paused trial is PRUNED with its last score.
Were it RUNNING, as it is in the study, TPE would take it for one that has no score yet: it would
never leave its random start, and its constant liar would count promising trials as bad ones.
"""

import contextlib
import itertools
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
from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.config import TrainConfig
from minbert.errors import InputError, reason_of
from minbert.tasks import Task
from minbert.weights import Weights, weighted_score

from .branches import Chosen, explore
from .modelled import Modelled
from .points import Grid
from .record import State, TrialRecord
from .space_trial import are_compatible, described
from .spaces import Fields, Space, checked_fields
from .study import Study

SamplerName = Literal["tpe", "gp", "cmaes", "qmc", "random", "grid"]

# They model finished trials alone, so that a search that stops most of them would starve them.
NEED_FULL_TRIALS: tuple[SamplerName, ...] = ("gp", "cmaes")

# So often the sampler may propose what is known before points are drawn at random; after so many
# of these a finite space is searched for a point that is left.
_MOST_REPEATS = 5
_MOST_DRAWS = 100
# Points that the space does not want cost nothing but a look.
_MOST_PRUNED = 2000

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


class RefusedError(InputError):
    """The space's function failed at a point, or returned what cannot be trained.

    Attributes:
        params: of the point, as far as it was asked for; ``distributions`` the space around it.
    """

    def __init__(
        self, reason: str, params: dict[str, Any], distributions: dict[str, BaseDistribution]
    ):
        super().__init__(reason)
        self.params, self.distributions = params, distributions


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
        if states == (TrialState.WAITING,):
            # What waits is the driver's to begin, and nothing that Optuna should take up.
            return []
        return [trial for trial in self._seen() if states is None or trial.state in states]

    def set_size(self, study_id: int, size: int) -> None:
        """Hold so many trials, as the next one that is asked for has this number."""
        trials = self._studies[study_id].trials
        while len(trials) > size:
            del self._trial_id_to_study_id_and_number[trials.pop()._trial_id]
        while len(trials) < size:
            self.create_new_trial(study_id)


class Lens:
    """The study's trials as FrozenTrials, those in some states shown as in another.

    Args:
        study: the record, which this follows.
        states: a trial in one of these that has a report is shown
        shown_as: in this state, with its last score.
        shown_to: is given each trial as it is shown from now on.
    """

    def __init__(
        self,
        study: Study,
        states: Container[State],
        shown_as: TrialState,
        shown_to: Callable[[FrozenTrial], None] = lambda _: None,
    ):
        self._study, self._states, self._shown_as = study, states, shown_as
        self._shown_to = shown_to
        self._made: list[FrozenTrial] = []
        # Numbers of trials that changed since they were shown; many samplers never look.
        self._changed: set[int] = set()
        study.follow(lambda trial: self._changed.add(trial.number))

    def trials(self) -> list[FrozenTrial]:
        for number in sorted(self._changed):
            shown = self._show(self._study.trials[number])
            self._made[number : number + 1] = [shown]
            self._shown_to(shown)
        self._changed.clear()
        return self._made

    def _show(self, trial: TrialRecord) -> FrozenTrial:
        frozen = self._study.frozen(trial)
        if trial.state not in self._states or not trial.reports:
            return frozen
        return _shown(frozen, self._shown_as, trial.reports[-1].score)


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
        self._grid = Grid(space) if sampler == "grid" and space.function else None
        self._parameters = explore(space).parameters
        self._distributions = self._distributions_in_study()
        # Of the study's first so many trials: how many the sampler proposed, the configurations,
        # and the points that were refused.
        self._counted, self._proposed = 0, 0
        self._tried, self._refused = set[TrainConfig](), set[str]()
        self._earlier = earlier
        self._modelled = Modelled()
        for trial in earlier:
            self._modelled.put(trial)
        self._lens = Lens(study, ("paused", "cut short"), TrialState.PRUNED, self._modelled.put)
        self._view = _View(self._to_learn_from)
        self._optuna = optuna.create_study(storage=self._view, direction="maximize")

    def propose(self) -> Proposal | None:
        """The next configuration, one that trains otherwise than those of all earlier trials.

        Returns:
            None where none is found: a grid, or all of a finite space, was tried.

        Raises:
            InputError: the space's function failed, or returned what cannot be trained.
        """
        number = len(self._study.trials)
        own = _seed(self._seed, number)
        self._count()
        place = self._proposed
        for again in itertools.count() if self._grid else range(_MOST_REPEATS):
            seed = _seed(self._seed, number, again) if again else own
            sampler = self._sampler(place + again, seed)
            if sampler is None:
                return None
            with contextlib.suppress(optuna.TrialPruned):
                if (proposal := self._ask(sampler, self._origin())) is not None:
                    return proposal
        return self._drawn(number) or self._first_left()

    def _distributions_in_study(self) -> dict[str, BaseDistribution]:
        """What each parameter is in the study, which is what it has to be from now on.

        Raises:
            InputError: the space has it otherwise now.
        """
        known: dict[str, BaseDistribution] = {}
        for trial in self._study.trials:
            known = self._study.frozen(trial).distributions | known
        for name, distribution in self._parameters.items():
            if not are_compatible(known.setdefault(name, distribution), distribution):
                raise InputError(
                    f"{self._space.path}: '{name}' is {described(distribution)} now, and "
                    f"{described(known[name])} in the study; give it another name, or start a new "
                    "run"
                )
        return known

    def _drawn(self, number: int) -> Proposal | None:
        """A point drawn at random; None where it is known again and again."""
        repeats = 0
        for again in range(_MOST_PRUNED):
            drawn = RandomSampler(seed=_seed(self._seed, number, _MOST_REPEATS + again))
            with contextlib.suppress(optuna.TrialPruned):
                if (proposal := self._ask(drawn, "random")) is not None:
                    return proposal
                repeats += 1
                if repeats == _MOST_DRAWS:
                    break
        return None

    def _sampler(self, place: int, seed: int) -> BaseSampler | None:
        if self._grid is not None:
            point = self._grid.point(place)
            return None if point is None else Chosen(point)
        if self._name == "qmc":
            return _PlacedQMC(self._seed, place, self._parameters)
        return _sampler(self._name, seed, self._start)

    def _origin(self) -> str:
        if self._name not in ("tpe", "gp", "cmaes"):
            return self._name
        known = (trial for trial in self._trials() if trial.state in _HAS_SCORE)
        is_enough = len(list(itertools.islice(known, self._start))) == self._start
        return self._name if is_enough else "random start"

    def _first_left(self) -> Proposal | None:
        """The first point of a finite space that was not tried."""
        try:
            points = Grid(self._space)
        except InputError:
            return None
        for point in points:
            with contextlib.suppress(optuna.TrialPruned):
                if (proposal := self._ask(Chosen(point), "random")) is not None:
                    return proposal
        return None

    def _ask(self, sampler: BaseSampler, origin: str) -> Proposal | None:
        """What a sampler proposes; None for what is known.

        Raises:
            InputError: it cannot be trained.
            optuna.TrialPruned: the space does not want it.
        """
        self._optuna.sampler = sampler
        # A space may ask for the trial's number, so the view counts the study's trials too.
        self._view.set_size(self._optuna._study_id, len(self._study.trials))
        try:
            trial = self._optuna.ask()
        except Exception as error:  # a sampler's, of many kinds
            raise InputError(f"the sampler {self._name} failed: {reason_of(error)}") from error
        # A copy, as what is refused or drawn again leaves no trace in the record.
        distributions = dict(self._distributions)
        try:
            fields = self._space.propose(trial, distributions)
            config = self._space.configure(fields, self._base)
        except InputError as error:
            if _as_key(trial.params) in self._refused:
                return None
            raise RefusedError(str(error), trial.params, trial.distributions) from error
        if config.effective() in self._tried:
            return None
        self._distributions = distributions
        asked = self._view.get_trial(trial._trial_id)
        return Proposal(
            fields=checked_fields(fields, config),
            config=config,
            origin=origin,
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.system_attrs,
        )

    def _count(self) -> None:
        """Take in the trials that came since the last proposal."""
        for trial in self._study.trials[self._counted :]:
            self._proposed += trial.origin == self._name
            if trial.was_refused:
                self._refused.add(_as_key(self._study.frozen(trial).params))
            else:
                self._tried.add(trial.config.effective())
        self._counted = len(self._study.trials)

    def _trials(self) -> list[FrozenTrial]:
        return [*self._earlier, *self._lens.trials()]

    def _to_learn_from(self) -> list[FrozenTrial]:
        trials = self._trials()
        return self._modelled.trials() if self._name == "tpe" else trials


def _as_key(params: dict[str, Any]) -> str:
    return repr(sorted(params.items()))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


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
        if not all(
            name in parameters and are_compatible(parameters[name], distribution)
            for name, distribution in frozen.distributions.items()
        ):
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
