"""The sampler that starts from the recipe: its steps, and when it leaves the recipe."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, create_trial

from minbert.config import recipe
from minbert.tasks import Task
from search.driver import Driver
from search.propose.branches import explore
from search.propose.points import nearest
from search.propose.recipe import MIXTURE, ORIGIN, POLICY, RecipeSampler
from search.propose.spaces import load_space
from search.record import TrialRecord
from testkit.simulation import equal_scores
from tests.search.simulated import finish, open_driver

NEIGHBOUR = "neighbour of the recipe"
NEIGHBOUR_FIRST = replace(MIXTURE, first=("recipe",))


# TPE's multivariate mode, which the sampler uses.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def sampler(seed: int, **changes: Any) -> RecipeSampler:
    given: dict[str, Any] = {"recipe": {}, "groups": [], "start": 10, "noise": 0.0}
    return RecipeSampler(seed, **(given | changes))


def proposals(space: str, count: int, recipe_name: str = "strong") -> list[dict[str, Any]]:
    """Neighbours with as many seeds, each as the parameters that differ from the recipe."""
    loaded, config = load_space(space), recipe(recipe_name)
    known = nearest(loaded, config)
    changed = []
    for seed in range(count):
        asked = sampler(seed, recipe=known, groups=[["u", "v"]], mixture=NEIGHBOUR_FIRST)
        trial = optuna.create_study(sampler=asked).ask()
        loaded.propose(trial)
        changed.append({n: v for n, v in trial.params.items() if known.get(n) != v})
    return changed


def test_a_neighbour_changes_a_few_choices_of_the_recipe_and_at_least_one() -> None:
    changed = proposals("full", 300)
    # A changed choice may open a branch whose parameters the recipe lacks.
    known = nearest(load_space("full"), recipe("strong"))
    counts = [len({name for name in each if name in known} - {"v"}) for each in changed]
    assert min(counts) >= 1
    assert 2 <= np.mean(counts) <= 3.5
    # Both numbers of the loss weights move together.
    assert all(("u" in each) == ("v" in each) for each in changed)
    assert {name for each in changed for name in each} >= {"u", "optimizer", "adamw_lr", "dropout"}


def test_a_recipe_outside_of_the_space_starts_at_its_nearest_point() -> None:
    parameters = explore(load_space("full")).parameters
    found = nearest(load_space("full"), recipe("paper"))
    # The paper has no weight decay and batches of 8; the space offers more than 0, and 16 to 64.
    decay = parameters["adamw_weight_decay"]
    assert isinstance(decay, FloatDistribution)
    assert (found["adamw_weight_decay"], found["batch_size"]) == (decay.low, 16)
    assert (found["adamw_lr"], found["pooling"], found["dropout"]) == (1e-5, "cls", 0.3)
    assert all(len(each) < 8 for each in proposals("full", 50, "paper"))


distributions = st.one_of(
    st.builds(
        lambda low, width, log: FloatDistribution(low, low + width, log=log),
        st.floats(1e-6, 10),
        st.floats(1e-3, 10),
        st.booleans(),
    ),
    st.builds(
        lambda low, steps, step: FloatDistribution(low, low + steps * step, step=step),
        st.integers(0, 5).map(float),
        st.integers(1, 20),
        st.sampled_from([0.25, 0.5, 1.0]),
    ),
    st.builds(lambda low, width: IntDistribution(low, low + width), *[st.integers(1, 40)] * 2),
    st.builds(
        lambda low, width: IntDistribution(low, low + width, log=True), *[st.integers(1, 40)] * 2
    ),
    st.integers(2, 5).map(lambda size: CategoricalDistribution([str(i) for i in range(size)])),
)


@given(distributions, st.integers(0, 2**16))
def test_a_step_stays_in_range_and_changes_the_value(
    distribution: BaseDistribution, seed: int
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    value = study.ask({"x": distribution}).params["x"]
    moved = sampler(seed)._neighbour(distribution, value)
    assert distribution._contains(distribution.to_internal_repr(moved))
    assert moved != value
    assert type(moved) is type(value)


def origins(driver: Driver, trials: slice) -> Counter[str]:
    return Counter(
        "neighbour of a trial" if trial.origin.startswith("neighbour of trial") else trial.origin
        for trial in driver.study.trials[trials]
    )


def by_distance(sign: int) -> Callable[[TrialRecord, int], dict[Task, float]]:
    """Scores that fall, or rise, with each field that differs from the recipe."""
    base = recipe("strong")

    def curve(trial: TrialRecord, step: int) -> dict[Task, float]:
        shares = trial.config.loss_weights.normalised(1.0)
        changed = max(shares.values()) > 0.34
        for name in trial.fields.keys() - {"loss_weights"}:
            changed += getattr(trial.config, name) != getattr(base, name)
        return equal_scores(0.5 + sign * 0.01 * changed + 0.001 * step)

    return curve


def test_uniform_points_that_score_above_the_recipe_end_proposals_near_it() -> None:
    def trial(score: float) -> FrozenTrial:
        return create_trial(
            value=score, intermediate_values={1: score}, system_attrs={POLICY: "uniform"}
        )

    good, bad = [trial(0.3), trial(0.4), trial(0.5)], [trial(0.3), trial(0.6), trial(0.7)]
    for number, each in enumerate(good + bad):
        each.number = number
    asked = sampler(0, recipe_score=0.55)
    shares = [
        sum(asked._choose_policy(trials, proposed=3) == "recipe" for _ in range(4000)) / 4000
        for trials in (good, bad)
    ]
    # Weights .35·(1/3)²·(5/6)⁴ of the recipe or .35·(1/3)²·(3/6)⁴, and .2·(2/6)² of uniform points:
    # without parameters no trial can be a parent, and the model has too few trials.
    assert shares == pytest.approx([0.458, 0.099], abs=0.03)


def test_a_parent_may_be_of_an_earlier_search() -> None:
    study = optuna.create_study()
    earlier = create_trial(
        value=0.7,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values={1: 0.7},
    )
    study.add_trial(earlier)
    known = study._storage.get_all_trials(study._study_id, deepcopy=False)
    known[0].number = -1
    always = replace(MIXTURE, first=("incumbent",))
    study.sampler = sampler(0, mixture=always)
    asked = study.ask({"x": FloatDistribution(0, 1)})
    said = study._storage.get_trial(asked._trial_id).system_attrs
    assert said[ORIGIN] == "neighbour of a trial of the earlier search"
    assert asked.params["x"] != 0.5


@pytest.mark.parametrize("seed", range(3))
def test_it_leaves_a_bad_recipe_within_ten_trials(seed: int) -> None:
    settings: dict[str, Any] = {"space": "full", "sampler": "recipe", "trials": 40}
    settings |= {"epochs": 3, "seed": seed}
    driver = open_driver(InMemoryStorage(), **settings)
    finish(driver, by_distance(+1), slots=2)
    assert origins(driver, slice(11, 40))[NEIGHBOUR] <= 9
    best = max(driver.study.trials, key=lambda trial: trial.reports[0].score)
    assert best.origin != NEIGHBOUR


@pytest.mark.parametrize("seed", range(3))
def test_it_stays_with_a_good_recipe(seed: int) -> None:
    settings: dict[str, Any] = {"space": "full", "sampler": "recipe", "trials": 40}
    settings |= {"epochs": 3, "seed": seed}
    driver = open_driver(InMemoryStorage(), **settings)
    finish(driver, by_distance(-1), slots=2)
    found = origins(driver, slice(11, 40))
    assert found["random"] <= 5
    assert found[NEIGHBOUR] + found["neighbour of a trial"] >= 20


FORTY_POINTS = '''"""Forty points."""


def space(trial):
    return {
        "lr": trial.suggest_categorical("lr", [1e-5, 3e-5, 1e-4, 2e-4, 1e-3]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3, step=0.1),
        "pooling": trial.suggest_categorical("pooling", ["cls", "mean"]),
    }
'''


def test_200_trials_of_a_space_of_40_points_are_40_and_the_search_says_so(tmp_path: Path) -> None:
    path, said = tmp_path / "forty.py", list[str]()
    path.write_text(FORTY_POINTS)
    driver = open_driver(
        InMemoryStorage(), space=str(path), sampler="recipe", trials=200, tell=said.append
    )
    finish(driver, slots=3)
    # The recipe, with a learning rate of 2e-4 and a dropout of .1, is one of them.
    assert len({trial.config.effective() for trial in driver.study.trials}) == 40
    assert (len(driver.study.trials), driver.record.planned) == (40, 40)
    assert said == [
        "space forty has no other configuration than those of the 40 trials so far; the other 160 "
        "do not run"
    ]
