"""Grids: counted before they are made, made point by point, and every point one of the space."""

import itertools
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from minbert.errors import InputError
from search.propose.points import Grid
from search.propose.space_trial import value_on_step
from search.propose.spaces import Space, load_space

from .spaces import searched, space_file


def grid_of(function: Any) -> Grid:
    return Grid(Space("mine", Path("mine.py"), "", function))


@pytest.mark.parametrize(
    ("low", "high", "step", "values"),
    [
        (0.0, 0.3, 0.1, [0.0, 0.1, 0.2, 0.3]),
        (0.1, 0.7, 0.2, [0.1, 0.3, 0.5, 0.7]),
        (1.1, 1.4, 0.1, [1.1, 1.2, 1.3, 1.4]),
        (0.0, 0.35, 0.1, [0.0, 0.1, 0.2, 0.3]),
        (1e-5, 3e-5, 1e-5, [1e-5, 2e-5, 3e-5]),
    ],
)
@pytest.mark.filterwarnings("ignore:The distribution is specified by")
def test_points_of_a_stepped_float_are_as_they_are_written(
    low: float, high: float, step: float, values: list[float]
) -> None:
    found = grid_of(lambda trial: {"x": trial.suggest_float("x", low, high, step=step)})
    assert [point["x"] for point in found] == values
    assert found.size == len(values)


def test_a_search_over_a_stepped_float_tries_each_of_its_points(tmp_path: Path) -> None:
    body = "return {'dropout': trial.suggest_float('dropout', 0.0, 0.3, step=0.1)}"
    driver = searched(space_file(tmp_path, body), InMemoryStorage(), trials=9, sampler="grid")
    # The recipe's .1 is not trained again.
    assert [trial.config.dropout for trial in driver.study.trials] == [0.1, 0.0, 0.2, 0.3]
    assert driver.record.planned == 4


@given(st.integers(-5, 5), st.integers(1, 9), st.integers(0, 50))
def test_a_value_on_a_step_is_the_decimal_number(low: int, step: int, index: int) -> None:
    assert value_on_step(low / 10, step / 10, index) == float(f"{(low + step * index) / 10:.1f}")


def test_a_grid_that_is_too_large_is_counted_and_refused() -> None:
    with pytest.raises(InputError, match=r"the space mine has 570,000,057 points, too many"):
        grid_of(
            lambda trial: {
                "seed": trial.suggest_int("seed", 0, 10_000_000),
                "batch_size": trial.suggest_int("batch_size", 8, 64),
            }
        )


def test_a_large_grid_in_one_branch_is_counted_no_further_than_needed() -> None:
    calls = itertools.count()

    def space(trial: Any) -> dict[str, Any]:
        next(calls)
        if trial.suggest_categorical("kind", ["small", "large"]) == "small":
            return {"batch_size": trial.suggest_int("batch_size", 8, 9)}
        return {"seed": trial.suggest_int("seed", 0, 10**12)}

    with pytest.raises(InputError, match="the space mine has more than 10,000 points"):
        grid_of(space)
    assert next(calls) < 11_000


def test_points_of_branches_are_all_there_and_made_as_asked_for() -> None:
    calls = itertools.count()

    def space(trial: Any) -> dict[str, Any]:
        next(calls)
        negatives = trial.suggest_int("negatives", 0, 2)
        if negatives:
            trial.suggest_categorical("strategy", ["random", "hard"])
        return {}

    found = grid_of(space)
    assert found.size == 5
    before = next(calls)
    assert found.point(0) == {"negatives": 0}
    assert next(calls) - before <= 4
    assert found.point(3) == {"negatives": 2, "strategy": "random"}
    assert [found.point(4), found.point(5)] == [{"negatives": 2, "strategy": "hard"}, None]
    assert found.point(1) == {"negatives": 1, "strategy": "random"}


def test_a_continuous_parameter_is_named() -> None:
    with pytest.raises(
        InputError, match=r"lr of space lr can have any value .* file of your own with steps"
    ):
        Grid(load_space("lr"))


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (lambda t: {"x": t.suggest_int("k", 0, t.suggest_int("n", 1, 6))}, 27),
        (
            lambda t: {
                "x": [t.suggest_int(f"x{i}", 0, 1) for i in range(t.suggest_int("n", 1, 3))]
            },
            14,
        ),
    ],
)
def test_points_are_counted_where_ranges_depend_on_others(space: Any, size: int) -> None:
    found = grid_of(space)
    assert found.size == len(list(found)) == size


def test_a_large_range_in_one_branch_alone_is_refused() -> None:
    with pytest.raises(InputError, match="has more than 10,000 points"):
        grid_of(lambda t: {"x": t.suggest_int("seed", 0, 10**9 if t.suggest_int("n", 0, 1) else 3)})


def test_a_step_that_only_one_branch_has_is_found_before_a_search() -> None:
    def space(trial: Any) -> dict[str, Any]:
        stepped = trial.suggest_categorical("stepped", [True, False])
        return {"dropout": trial.suggest_float("d", 0, 0.5, step=0.1 if stepped else None)}

    with pytest.raises(
        InputError, match=r"d of space mine can have any value in a range, .*; give it a step"
    ):
        grid_of(space)


def test_many_unwanted_points_are_not_walked_through() -> None:
    def space(trial: Any) -> dict[str, Any]:
        if sum(trial.suggest_int(f"k{i}", 0, 9) for i in range(6)) > 1:
            raise optuna.TrialPruned
        return {}

    with pytest.raises(InputError, match="has more than 10,000 points"):
        grid_of(space)
