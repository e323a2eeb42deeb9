"""Once is enough: no configuration is trained twice, and no warning is said twice."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

import search.propose.branches
from minbert.config import RECIPES, TrainConfig
from minbert.errors import InputError
from minbert.output import warn_once
from search.record import SearchRecord
from search.review.terminal.tables import outcome
from tests.search.simulated import open_driver

from .spaces import searched, space_file

FOUR_POINTS = (
    "return {'schedule': trial.suggest_categorical('schedule', ['linear', 'constant']),\n"
    "        'optimizer': trial.suggest_categorical('optimizer', ['adamw', 'radam'])}"
)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid", "gp", "cmaes"])
def test_every_point_of_a_small_space_is_trained_once(sampler: str, tmp_path: Path) -> None:
    driver = searched(
        space_file(tmp_path, FOUR_POINTS), InMemoryStorage(), trials=9, sampler=sampler
    )
    trials = driver.study.trials
    found = {(trial.config.schedule, trial.config.optimizer) for trial in trials}
    # The recipe is one of the four.
    assert (len(trials), len(found), driver.record.planned) == (4, 4, 4)
    assert driver.ended_because is None


def test_two_hundred_trials_over_forty_points(tmp_path: Path) -> None:
    body = (
        "return {'batch_size': trial.suggest_int('batch_size', 8, 80, step=8),\n"
        "        'epochs': trial.suggest_int('epochs', 1, 4)}"
    )
    space, storage = space_file(tmp_path, body), InMemoryStorage()
    driver = searched(space, storage, trials=200)
    trials = driver.study.trials
    assert len({trial.config.effective() for trial in trials}) == len(trials) == 40
    # Resumed with more trials, it has still no other point.
    again = searched(space, storage, trials=300)
    assert len(again.study.trials) == 40


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"loss_weights": (1, 1, 1)}, {"loss_weights": (2, 2, 2)}),
        (
            {"train_tasks": ("sst",), "select": "last", "loss_weights": (1, 5, 1)},
            {"train_tasks": ("sst",), "select": "last", "loss_weights": (2, 0, 0)},
        ),
        ({"negatives": 0.0, "negative_strategy": "hard"}, {"negatives": 0.0}),
        ({"sampling": "sequential", "sampling_exponent": 0.3}, {"sampling": "sequential"}),
        ({"select": "last", "selection_weights": (1, 2, 3)}, {"select": "last"}),
        ({"selection_weights": (3, 3, 3)}, {"selection_weights": None}),
    ],
)
def test_configurations_that_train_alike_are_equal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    config = TrainConfig()
    assert config.replace(**one) != config.replace(**other)
    assert config.replace(**one).effective() == config.replace(**other).effective()


@pytest.mark.parametrize(
    "change",
    [
        {"loss_weights": (1, 1, 2)},
        {"negatives": 1.0, "negative_strategy": "hard"},
        {"sampling_exponent": 0.3},
        {"selection_weights": (1, 1, 2)},
        {"seed": 1},
        {"select": "last"},
    ],
)
def test_configurations_that_train_otherwise_differ(change: dict[str, Any]) -> None:
    config = TrainConfig()
    assert config.replace(**change).effective() != config.effective()


@given(
    st.sampled_from(sorted(RECIPES)),
    st.tuples(*[st.floats(0.01, 100)] * 3),
    st.sampled_from([0.25, 0.5, 2, 64]),
)
def test_the_scale_of_weights_has_no_effect(
    name: str, weights: tuple[float, float, float], scale: float
) -> None:
    config = RECIPES[name].replace(loss_weights=weights)
    scaled = config.replace(loss_weights=tuple(scale * weight for weight in weights))
    assert scaled.effective() == config.effective()


def test_a_try_that_equals_the_recipe_or_another_is_refused() -> None:
    storage = InMemoryStorage()
    with pytest.raises(InputError, match="--try lr=2e-4: trains the same as the recipe; leave"):
        open_driver(storage, try_=["lr=2e-4"])
    with pytest.raises(InputError, match=r"--try lr=0\.001: trains the same as --try lr=1e-3;"):
        open_driver(storage, try_=["lr=1e-3", "lr=0.001"])


def test_a_try_that_was_trained_already_is_not_trained_again(tmp_path: Path) -> None:
    space, storage = space_file(tmp_path, FOUR_POINTS), InMemoryStorage()
    searched(space, storage, trials=4)
    again = searched(space, storage, trials=5, try_=["schedule=constant"])
    assert len(again.study.trials) == 4


def test_an_error_that_several_trials_share_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first run of a space in a study is all that is explored.
    monkeypatch.setattr(search.propose.branches, "_RANDOM_RUNS", 1)
    body = (
        "dropout = trial.suggest_float('dropout', 0, 0.5)\n"
        "if trial.number:\n    raise ValueError('no')\n"
        "return {'dropout': dropout}"
    )
    driver = searched(space_file(tmp_path, body), InMemoryStorage(), trials=4)
    lines = [str(part) for part in outcome(SearchRecord(4, driver.study.trials))]
    assert [line for line in lines if "ValueError" in line] == [
        f"Trials 1, 2, 3 failed: {tmp_path}/mine.py:11: ValueError: no"
    ]


def test_a_warning_is_one_line_and_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        warn_once()
        for number in range(3):
            warnings.warn(f"two\nlines, lr is {number / 7e5}", stacklevel=1)
        warnings.warn("another", stacklevel=1)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("warning: test_repeats.py:")
    assert first.endswith(": two lines, lr is 0.0")
    assert second.endswith(": another")


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_one_failing_point_of_a_finite_space_costs_one_trial(
    sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.propose.branches, "_RANDOM_RUNS", 1)
    body = (
        "size = trial.suggest_int('batch_size', 1, 40)\n"
        "if size == 20:\n    raise ValueError('no')\n"
        "return {'batch_size': 100 + size}"
    )
    space, storage = space_file(tmp_path, body), InMemoryStorage()
    searched(space, storage, trials=15, sampler=sampler)
    driver = searched(space, storage, trials=90, sampler=sampler)
    trials = driver.study.trials
    # The recipe, and all forty points.
    assert len(trials) == 41
    assert [trial.error for trial in trials if trial.was_refused] == [f"{space}:11: ValueError: no"]
    assert len({t.config.effective() for t in trials if not t.was_refused}) == 40


def test_rows_of_a_list_that_train_alike_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from spaces.paper import Experiment as E\n"
        "EXPERIMENTS = [E('a', {'lr': 1e-4}), E('b', {'lr': '1e-4', 'loss_weights': (2, 2, 2)})]\n"
    )
    with pytest.raises(InputError, match="'b' trains the same as 'a'; remove one of them"):
        open_driver(InMemoryStorage(), space=str(path), epochs=None, reports_per_epoch=None)


def test_a_space_that_wants_few_points_is_searched_on(tmp_path: Path) -> None:
    body = (
        "lr = trial.suggest_float('lr', 1e-5, 1e-3)\n"
        "if lr > 2e-5:\n    raise optuna.TrialPruned\n"
        "return {'lr': lr}"
    )
    driver = searched(space_file(tmp_path, body), InMemoryStorage(), trials=12, sampler="random")
    assert len(driver.study.trials) == 12
    assert all(trial.config.lr <= 2e-5 for trial in driver.study.trials[1:])
