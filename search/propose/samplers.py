"""The samplers by name, one row each; Optuna is imported when a sampler is made.

A row determines the option's choices and help, which options the sampler cannot be combined with,
and how ``Proposer`` asks it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from .points import Grid


@dataclass(frozen=True)
class Request:
    """What a sampler may depend on besides the study, so that it is a function of the record.

    Attributes:
        seed: seed of this proposal.
        search_seed: seed of the search.
        place: number of proposals that the sampler has made so far, repeated ones for this trial
            included.
        start: number of trials with a score that the sampler needs before it models them.
        parameters: the parameters of the space, over all of its branches.
        grid: the points of a finite space, for samplers that need one.
        recipe: the point of the space that is closest to the recipe.
        groups: parameters that stand for one choice, such as those of the loss weights.
        noise: gives two standard errors of a score; 0 while they are unknown.
        recipe_score: the recipe's score at its first report; None while it has none.
    """

    seed: int
    search_seed: int
    place: int
    start: int
    parameters: "dict[str, BaseDistribution]"
    grid: "Grid | None"
    recipe: Mapping[str, Any]
    groups: Sequence[Sequence[str]]
    noise: Callable[[], float]
    recipe_score: float | None


@dataclass(frozen=True)
class SamplerRow:
    """A sampler to choose.

    Attributes:
        help: what it does, in a few words.
        make: makes the sampler; returns None if it has proposed everything.
        models: it models the trials with a score, after a random start.
        most_modelled: it sees the trials that ``Modelled`` chooses, not all of them.
        needs_full_trials: it only learns from finished trials.
        needs_finite_space: no parameter may be continuous.
        enumerates: it lists points, and is asked until ``make`` returns None.
        unpickles: Optuna unpickles what it stores in the study, so it is never used just because a
            folder names it.
    """

    help: str
    make: "Callable[[Request], BaseSampler | None]"
    models: bool = False
    most_modelled: bool = False
    needs_full_trials: bool = False
    needs_finite_space: bool = False
    enumerates: bool = False
    unpickles: bool = False


def _tpe(request: Request) -> "BaseSampler":
    from optuna.samplers import TPESampler

    return TPESampler(
        seed=request.seed,
        multivariate=True,
        # Model parameters that only some configurations have.
        group=True,
        # Spread out trials that run at the same time.
        constant_liar=True,
        n_startup_trials=request.start,
    )


def _gp(request: Request) -> "BaseSampler":
    from optuna.samplers import GPSampler

    return GPSampler(seed=request.seed, n_startup_trials=request.start)


def _cmaes(request: Request) -> "BaseSampler":
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=request.seed, n_startup_trials=request.start)


def _qmc(request: Request) -> "BaseSampler":
    from .qmc import PlacedQMC

    return PlacedQMC(request.search_seed, request.place, request.parameters)


def _random(request: Request) -> "BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=request.seed)


def _grid(request: Request) -> "BaseSampler | None":
    from .branches import Chosen

    assert request.grid is not None
    point = request.grid.point(request.place)
    return None if point is None else Chosen(point)


def _recipe(request: Request) -> "BaseSampler":
    from .recipe import RecipeSampler

    return RecipeSampler(
        request.seed,
        request.recipe,
        request.groups,
        request.start,
        request.noise(),
        request.recipe_score,
    )


def _brute_force(request: Request) -> "BaseSampler":
    from .brute_force import ViewedBruteForce

    return ViewedBruteForce(seed=request.seed)


SAMPLERS: Mapping[str, SamplerRow] = {
    "recipe": SamplerRow(
        "neighbours of the recipe, then of the best trials", _recipe, most_modelled=True
    ),
    "tpe": SamplerRow("tree-structured Parzen estimator", _tpe, models=True, most_modelled=True),
    "gp": SamplerRow("Gaussian process", _gp, models=True, needs_full_trials=True),
    "cmaes": SamplerRow(
        "evolution strategy (CMA-ES)", _cmaes, models=True, needs_full_trials=True, unpickles=True
    ),
    "qmc": SamplerRow("quasi-random sequence", _qmc),
    "random": SamplerRow("independent random points", _random),
    "grid": SamplerRow(
        "every point in order",
        _grid,
        needs_finite_space=True,
        enumerates=True,
    ),
    "brute-force": SamplerRow(
        "every point in an order drawn at random", _brute_force, needs_finite_space=True
    ),
}
