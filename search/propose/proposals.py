"""Proposes the next configuration with an Optuna sampler, as a function of the record."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from minbert.config import TrainConfig
from minbert.errors import InputError, reason_of
from search.storage.study import Study

from .branches import Chosen, explore
from .modelled import Modelled
from .points import Grid, nearest
from .recipe import ORIGIN
from .samplers import SAMPLERS, Request
from .space_trial import are_compatible, described
from .spaces import Fields, Space, checked_fields
from .view import TrialsForSampler, View

# After this many known configurations from the sampler, points are drawn at random; after this many
# known random points, a finite space is searched for a point that was not tried.
_MOST_REPEATS = 5
_MOST_DRAWS = 100
# Points that the space rejects are cheap, so more of them are allowed.
_MOST_PRUNED = 2000

_HAS_SCORE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Proposal:
    """A configuration to try.

    Attributes:
        origin: the sampler's name, or ``random start`` before the sampler has seen enough.
        params: the point of the space.
        distributions: the distributions of the parameters.
        system_attrs: what the sampler stored for this trial.
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
        params: the parameters of the point that the function had asked for.
        distributions: the distributions of these parameters.
    """

    def __init__(
        self, reason: str, params: dict[str, Any], distributions: dict[str, BaseDistribution]
    ):
        super().__init__(reason)
        self.params, self.distributions = params, distributions


class Proposer:
    """Asks a sampler for configurations.

    Proposals only depend on the record, the seed and the trial's number. So a search that is killed
    and resumed makes the proposals that it would have made otherwise.

    Args:
        study: the record that the sampler learns from.
        space: what is varied.
        base: the configuration whose fields the space sets.
        sampler: name of the sampler.
        seed: seed of the search.
        start: number of trials with a score that the sampler needs before it models them.
        earlier: trials of earlier studies in the same space, to learn from.
        noise: gives two standard errors of a score, as far as the record tells.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        base: TrainConfig,
        sampler: str,
        seed: int,
        start: int,
        earlier: Sequence[FrozenTrial] = (),
        noise: Callable[[], float] = lambda: 0.0,
    ):
        self._study, self._space, self._base, self._noise = study, space, base, noise
        self._recipe = nearest(space, base)
        self._groups = groups_of(space)
        self._name, self._seed, self._start = sampler, seed, start
        self._row = SAMPLERS[sampler]
        needs_grid = self._row.needs_finite_space and space.function
        self._grid = Grid(space, sampler) if needs_grid else None
        self._parameters = explore(space).parameters
        self._distributions = self._distributions_in_study()
        # Number of trials counted so far. Of these: how many the sampler proposed, the
        # configurations, and the refused points.
        self._counted, self._proposed = 0, 0
        self._tried, self._refused = set[TrainConfig](), set[str]()
        self._earlier = earlier
        self._modelled = Modelled()
        for trial in earlier:
            self._modelled.put(trial)
        self._shown = TrialsForSampler(
            study, ("paused", "interrupted"), TrialState.PRUNED, self._modelled.put
        )
        self._view = View(self._to_learn_from)
        self._optuna = optuna.create_study(storage=self._view, direction="maximize")

    def propose(self) -> Proposal | None:
        """The next configuration, which trains differently from those of all earlier trials.

        Returns:
            None if none is found: all points of a grid or of a finite space were tried.

        Raises:
            InputError: the space's function failed, or returned what cannot be trained.
        """
        number = len(self._study.trials)
        own = _seed(self._seed, number)
        self._count()
        place = self._proposed
        for again in itertools.count() if self._row.enumerates else range(_MOST_REPEATS):
            seed = _seed(self._seed, number, again) if again else own
            sampler = self._sampler(place + again, seed)
            if sampler is None:
                return None
            with contextlib.suppress(optuna.TrialPruned):
                if (proposal := self._ask(sampler, self._origin())) is not None:
                    return proposal
        return self._drawn(number) or self._first_left()

    def _distributions_in_study(self) -> dict[str, BaseDistribution]:
        """The distribution of each parameter in the study, which must not change.

        Raises:
            InputError: the space now has a different distribution.
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
        """A random point; None if all draws are known points."""
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
        recipe_reports = self._study.trials[0].reports if self._study.trials else []
        request = Request(
            seed=seed,
            search_seed=self._seed,
            place=place,
            start=self._start,
            parameters=self._parameters,
            grid=self._grid,
            recipe=self._recipe,
            groups=self._groups,
            noise=self._noise,
            recipe_score=recipe_reports[0].score if recipe_reports else None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._row.make(request)

    def _origin(self) -> str:
        if not self._row.models:
            return self._name
        known = (trial for trial in self._trials() if trial.state in _HAS_SCORE)
        is_enough = len(list(itertools.islice(known, self._start))) == self._start
        return self._name if is_enough else "random start"

    def _first_left(self) -> Proposal | None:
        """The first point of a finite space that was not tried; None if there is none."""
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
        """The proposal of a sampler; None if it is known already.

        Raises:
            InputError: the proposal cannot be trained.
            optuna.TrialPruned: the space rejects the point.
        """
        trial = self._begin(sampler)
        # A copy, because refused and repeated points must not change the known distributions.
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
            origin=asked.system_attrs.get(ORIGIN, origin),
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.system_attrs,
        )

    def _begin(self, sampler: BaseSampler) -> optuna.Trial:
        """A trial that takes its parameters from a sampler, which sees the study's trials."""
        self._optuna.sampler = sampler
        # A space may read the trial's number, so the view counts the study's trials too.
        self._view.set_size(self._optuna._study_id, len(self._study.trials))
        try:
            return self._optuna.ask()
        except Exception as error:  # samplers raise many kinds of errors
            raise InputError(f"the sampler {self._name} failed: {reason_of(error)}") from error

    def _count(self) -> None:
        """Count the trials that were added since the last proposal."""
        for trial in self._study.trials[self._counted :]:
            self._proposed += trial.origin == self._name
            if trial.was_refused:
                self._refused.add(_as_key(self._study.frozen(trial).params))
            else:
                self._tried.add(trial.config.effective())
        self._counted = len(self._study.trials)

    def _trials(self) -> list[FrozenTrial]:
        return [*self._earlier, *self._shown.trials()]

    def _to_learn_from(self) -> list[FrozenTrial]:
        trials = self._trials()
        return self._modelled.trials() if self._row.most_modelled else trials


def groups_of(space: Space) -> list[list[str]]:
    """The parameters that people see as one choice."""
    groups: dict[str, list[str]] = {}
    for name, (shown, _) in space.shown.items():
        groups.setdefault(shown, []).append(name)
    return list(groups.values())


def _as_key(params: dict[str, Any]) -> str:
    return repr(sorted(params.items()))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
