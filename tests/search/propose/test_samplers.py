"""What every sampler of the table keeps to, whatever else it does."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from minbert.errors import InputError
from search.driver import Driver
from search.propose.branches import contains
from search.propose.points import locate
from search.propose.proposals import Proposal, Proposer
from search.propose.samplers import SAMPLERS
from search.schedule.table import SCHEDULERS
from search.settings import StudySettings
from search.storage.study import Study
from testkit.simulation import simulate
from tests.search.simulated import finish, hashed, open_driver, plan_of

every_sampler = pytest.mark.parametrize("name", SAMPLERS)

# Two values of one parameter; a second parameter for one of them, with steps or with a range.
SPACE = """
def space(trial):
    fields = {{"batch_size": trial.suggest_categorical("batch_size", [8, 16])}}
    if fields["batch_size"] == 8:
        fields["lr"] = trial.suggest_float("lr", 1e-5, 1e-4{step})
    return fields
"""
# Of the space with steps.
POINTS = 1 + 10

OpenDriver = Callable[..., Driver]


@pytest.fixture
def opened(tmp_path: Path) -> OpenDriver:
    """Opens a driver with a sampler on a space with parameters of one branch alone."""

    def open_it(name: str, storage: BaseStorage, **settings: Any) -> Driver:
        row = SAMPLERS[name]
        is_finite = settings.pop("finite", row.needs_finite_space)
        path = tmp_path / f"{'steps' if is_finite else 'range'}.py"
        path.write_text(SPACE.format(step=", step=1e-5" if is_finite else ""))
        settings = {"epochs": 3, "trials": 9, **settings}
        scheduler = "none" if row.needs_full_trials else "asha"
        return open_driver(storage, space=str(path), sampler=name, scheduler=scheduler, **settings)

    return open_it


def next_of(driver: Driver, storage: BaseStorage, **changes: Any) -> Proposal | None:
    """What a sampler that was made from the storage proposes next."""
    known: dict[str, Any] = {"seed": driver.settings.seed, "start": 3} | changes
    plan, name = plan_of(driver), driver.settings.sampler
    return Proposer(Study.load(storage, "s"), plan.space, plan.base, name, **known).propose()


def params_of(driver: Driver) -> list[tuple[str, dict[str, Any]]]:
    return [(t.origin, driver.study.frozen(t).params) for t in driver.study.trials]


@every_sampler
@pytest.mark.parametrize("reports", [0, 5, 12])
def test_it_is_a_function_of_record_seed_and_number(
    name: str, reports: int, opened: OpenDriver
) -> None:
    storage = InMemoryStorage()
    driver = opened(name, storage)
    simulate(driver, hashed, 2, most=reports)
    first, again = next_of(driver, storage), next_of(driver, storage)
    assert first is not None
    assert first == again
    if not SAMPLERS[name].enumerates:
        others = [next_of(driver, storage, seed=seed) for seed in range(1, 9)]
        assert any(other is None or other.params != first.params for other in others)


@every_sampler
@pytest.mark.parametrize("cut", [1, 8, 17])
def test_it_proposes_the_same_after_a_restart(name: str, cut: int, opened: OpenDriver) -> None:
    whole = opened(name, InMemoryStorage())
    finish(whole)
    storage = InMemoryStorage()
    simulate(opened(name, storage), hashed, 1, most=cut)
    resumed = opened(name, storage)
    finish(resumed)
    assert params_of(resumed) == params_of(whole)


@every_sampler
@pytest.mark.parametrize("slots", [1, 3])
def test_it_stays_in_the_space_and_proposes_nothing_twice(
    name: str, slots: int, opened: OpenDriver
) -> None:
    driver = opened(name, InMemoryStorage())
    finish(driver, slots=slots)
    recipe, *proposed = driver.study.trials
    assert len({trial.config.effective() for trial in (recipe, *proposed)}) == 9
    for trial in proposed:
        frozen = driver.study.frozen(trial)
        has_both = frozen.params["batch_size"] == 8
        assert frozen.params.keys() == ({"batch_size", "lr"} if has_both else {"batch_size"})
        assert all(contains(frozen.distributions[p], v) for p, v in frozen.params.items())
        found = locate(plan_of(driver).space, trial.config, plan_of(driver).base)
        assert found is not None
        assert found[0] == pytest.approx(frozen.params)


@every_sampler
def test_a_finite_space_is_tried_whole_and_then_the_search_ends(
    name: str, opened: OpenDriver
) -> None:
    driver = opened(name, InMemoryStorage(), finite=True, trials=30, epochs=1)
    finish(driver)
    # The recipe itself is a point of it, or is not.
    there = locate(plan_of(driver).space, plan_of(driver).base, plan_of(driver).base)
    proposed = [t for t in driver.study.trials if t.origin != "recipe"]
    assert len(proposed) == POINTS - (there is not None)
    assert driver.record.planned == len(driver.study.trials)


@every_sampler
def test_who_proposed_a_trial_is_noted(name: str, opened: OpenDriver) -> None:
    driver = opened(name, InMemoryStorage(), trials=11)
    finish(driver)
    # A neighbour of which trial, does not matter here.
    origins = Counter(re.sub(r"trial \d+", "a trial", t.origin) for t in driver.study.trials[1:])
    own = {name}
    if name == "recipe":
        own = {"neighbour of the recipe", "neighbour of a trial", "model of the scores"}
    allowed = {*own, "random"} | ({"random start"} if SAMPLERS[name].models else set())
    assert origins.keys() <= allowed
    assert sum(origins[each] for each in own) > 0


@every_sampler
def test_what_it_cannot_do_is_refused_in_one_line(name: str, opened: OpenDriver) -> None:
    row = SAMPLERS[name]
    assert StudySettings.check({"sampler": name, "scheduler": "none"}).sampler == name
    for scheduler, known in SCHEDULERS.items():
        settings = {"sampler": name, "scheduler": scheduler}
        if row.needs_full_trials and known.ends_trials:
            with pytest.raises(InputError, match=f"^sampler: {name} .*give --scheduler none$"):
                StudySettings.check(settings)
        else:
            StudySettings.check(settings)
    if row.needs_finite_space:
        with pytest.raises(InputError, match=f"^--sampler {name}: lr .* tries each value; .*$"):
            opened(name, InMemoryStorage(), finite=False)
    else:
        opened(name, InMemoryStorage(), finite=False)
