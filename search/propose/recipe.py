"""A sampler that starts from the recipe: a few of its choices changed, then those of the best.

A good recipe is far better than almost all of a large space, so most proposals stay close to it,
or to the best trials so far. How often each way of proposing is used follows from how its trials
have ranked, so that the sampler leaves a bad recipe. PriorBand (Mallik et al. 2023, arXiv
2306.12370) weighs a prior against an incumbent in a similar way.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

# recipe, incumbent: a neighbour of it; model: TPE; uniform: a random point.
Policy = Literal["recipe", "incumbent", "model", "uniform"]

# System attributes of a trial: how it was proposed, and the same in words for people.
POLICY, ORIGIN = "recipe:policy", "recipe:origin"

# A rung needs so many trials before its best ones become parents.
_ENOUGH_AT_RUNG = 4
# A trial does well if it is in this part of all trials at their first report.
_TOP = 1 / 3
# The larger, the sooner uniform points that score above the recipe end proposals near it.
_DISTRUST = 4


@dataclass(frozen=True)
class Mixture:
    """How the sampler divides its proposals among the policies, and how far a neighbour is.

    Attributes:
        shares: how often each policy is used while nothing is known of it.
        first: the policies of the first proposals, one by one.
        number_changes: probability that a neighbour changes a number of its parent.
        category_changes: probability that it changes a category.
        step: standard deviation of a changed number, in parts of the parameter's range.
    """

    shares: Mapping[Policy, float]
    first: tuple[Policy, ...]
    number_changes: float
    category_changes: float
    step: float


MIXTURE = Mixture(
    shares={"recipe": 0.35, "incumbent": 0.25, "model": 0.2, "uniform": 0.2},
    # Uniform points show how good the recipe is.
    first=("uniform", "uniform", "uniform"),
    number_changes=0.2,
    category_changes=0.12,
    step=0.15,
)


class RecipeSampler(BaseSampler):
    """Proposes neighbours of the recipe and of the best trials, model-based and random points.

    A function of the trials that the study shows, and of its arguments.

    Args:
        seed: of this proposal.
        recipe: the recipe's point of the space; parameters without a value are drawn.
        groups: parameters that stand for one choice, such as the two of the loss weights; they
            change together.
        start: trials with a score before TPE models them.
        noise: two standard errors of a score; trials that are within it of the best are parents.
        recipe_score: the recipe's first score; None if it has none yet.
        mixture: of the policies.
    """

    def __init__(
        self,
        seed: int,
        recipe: Mapping[str, Any],
        groups: Sequence[Sequence[str]],
        start: int,
        noise: float,
        recipe_score: float | None = None,
        mixture: Mixture = MIXTURE,
    ):
        self._mixture = mixture
        self._draw = np.random.default_rng(seed)
        self._recipe, self._groups = recipe, groups
        self._start, self._noise, self._recipe_score = start, noise, recipe_score
        self._random = RandomSampler(seed=seed)
        self._model = TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=0
        )
        self._policy: Policy = "uniform"
        self._parent: Mapping[str, Any] = {}
        self._changed: set[str] = set()

    def before_trial(self, study: Any, trial: FrozenTrial) -> None:
        """Choose the policy and the parent, and store both with the trial."""
        known = study.get_trials(deepcopy=False)
        trials = [each for each in known if _has_scores(each)]
        proposed = sum(POLICY in each.system_attrs for each in known)
        self._policy = self._choose_policy(trials, proposed)
        origin = {"model": "model of the scores", "uniform": "random"}.get(self._policy, "")
        if self._policy == "recipe":
            self._parent, origin = self._recipe, "neighbour of the recipe"
        elif self._policy == "incumbent":
            parent = self._choose_parent(trials)
            self._parent, origin = parent.params, f"neighbour of {_named(parent)}"
        if self._parent:
            self._changed = self._choose_changes(self._parent)
        for name, value in ((POLICY, self._policy), (ORIGIN, origin)):
            study._storage.set_trial_system_attr(trial._trial_id, name, value)

    def infer_relative_search_space(
        self, study: Any, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if self._policy != "model":
            return {}
        return self._model.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Any, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._policy != "model":
            return {}
        return self._model.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Any,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        value = self._parent.get(param_name)
        if value is not None and _contains(param_distribution, value):
            if param_name not in self._changed:
                return value
            return self._neighbour(param_distribution, value)
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _choose_policy(self, trials: Sequence[FrozenTrial], proposed: int) -> Policy:
        if proposed < len(self._mixture.first):
            return self._mixture.first[proposed]
        shares = dict(self._mixture.shares)
        if len(trials) < self._start:
            shares.pop("model", None)
        if not any(each.params for each in trials):
            shares.pop("incumbent", None)
        doing_well = {each.number for each in _best_first(trials)[: math.ceil(_TOP * len(trials))]}
        for policy in shares:
            of_it = _of_policy(trials, policy)
            good = sum(each.number in doing_well for each in of_it)
            # The mean of a Beta distribution that is 1/3 before any trial. Squared, it decides
            # after few trials.
            shares[policy] *= ((1 + good) / (3 + len(of_it))) ** 2
        if "recipe" in shares:
            shares["recipe"] *= self._trust(_of_policy(trials, "uniform")) ** _DISTRUST
        names, weights = list(shares), np.array(list(shares.values()))
        return names[self._draw.choice(len(names), p=weights / weights.sum())]

    def _trust(self, uniform: Sequence[FrozenTrial]) -> float:
        """How likely a uniform point scores below the recipe: the mean of a Beta distribution."""
        if self._recipe_score is None:
            return 1.0
        below = sum(_first_score(trial) < self._recipe_score for trial in uniform)
        return (2 + below) / (3 + len(uniform))

    def _choose_parent(self, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """One of the best trials at the highest rung that enough of them have reached."""
        there = [each for each in trials if each.params]
        steps = sorted({step for each in there for step in each.intermediate_values}, reverse=True)
        for step in steps:
            reached = [each for each in there if step in each.intermediate_values]
            if len(reached) >= _ENOUGH_AT_RUNG or step == steps[-1]:
                break
        ranked = sorted(reached, key=lambda each: (-each.intermediate_values[step], each.number))
        best = ranked[0].intermediate_values[step]
        parents = [e for e in ranked if e.intermediate_values[step] >= best - self._noise]
        chances = 1 / np.arange(1, len(parents) + 1)
        return parents[self._draw.choice(len(parents), p=chances / chances.sum())]

    def _choose_changes(self, parent: Mapping[str, Any]) -> set[str]:
        """The parameters to change: a few, at least one."""
        grouped = {name for group in self._groups for name in group}
        units = [
            *(tuple(n for n in group if n in parent) for group in self._groups),
            *((name,) for name in parent if name not in grouped),
        ]
        units = [unit for unit in units if unit]
        mixture = self._mixture
        chances = [
            mixture.category_changes
            if isinstance(parent[unit[0]], str | bool)
            else mixture.number_changes
            for unit in units
        ]
        chosen = [
            u for u, chance in zip(units, chances, strict=True) if self._draw.random() < chance
        ]
        if not chosen:
            chosen = [units[self._draw.choice(len(units), p=np.array(chances) / sum(chances))]]
        return {name for unit in chosen for name in unit}

    def _neighbour(self, distribution: BaseDistribution, value: Any) -> Any:
        """Another value of a parameter, close to this one where values have an order."""
        if isinstance(distribution, CategoricalDistribution):
            others = [choice for choice in distribution.choices if choice != value]
            return others[self._draw.integers(len(others))] if others else value
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high, log = distribution.low, distribution.high, distribution.log
        if low == high:
            return value
        start, end, at = (math.log(x) if log else float(x) for x in (low, high, value))
        moved = at + self._mixture.step * (end - start) * self._draw.standard_normal()
        # A step beyond an end comes back from it.
        moved = start + abs(moved - start)
        moved = end - abs(end - moved)
        moved = min(max(moved, start), end)
        if isinstance(distribution, FloatDistribution):
            exact = min(max(math.exp(moved) if log else moved, low), high)
            if distribution.step is None:
                return exact
        else:
            exact = math.exp(moved) if log else moved
        step = distribution.step or 1
        rounded = low + step * round((exact - low) / step)
        if rounded == value:
            # A step of its own size at least, so that something changes.
            rounded += step if exact >= value and value + step <= high else -step
        if rounded < low:
            rounded = value + step
        return int(rounded) if isinstance(distribution, IntDistribution) else float(rounded)


def _named(trial: FrozenTrial) -> str:
    """A parent, for people; trials of an earlier search have negative numbers."""
    return f"trial {trial.number}" if trial.number >= 0 else "a trial of the earlier search"


def _has_scores(trial: FrozenTrial) -> bool:
    scores = trial.intermediate_values.values()
    return bool(scores) and all(map(math.isfinite, scores))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


def _of_policy(trials: Sequence[FrozenTrial], policy: Policy) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.system_attrs.get(POLICY) == policy]


def _best_first(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials by their score at the first report."""
    return sorted(trials, key=lambda each: (-_first_score(each), each.number))


def _first_score(trial: FrozenTrial) -> float:
    score: float = trial.intermediate_values[min(trial.intermediate_values)]
    return score
