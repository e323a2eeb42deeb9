"""Once is enough: no configuration is trained twice, and no warning is said twice."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

import search.branches
from minbert.config import RECIPES, TrainConfig
from minbert.errors import InputError
from minbert.output import warn_once
from search.record import SearchRecord
from search.review.terminal import outcome

from ..test_search_driver import open_driver
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
            {"train_tasks": ("sst",), "keep": "last", "loss_weights": (1, 5, 1)},
            {"train_tasks": ("sst",), "keep": "last", "loss_weights": (2, 0, 0)},
        ),
        ({"negatives": 0.0, "negative_strategy": "hard"}, {"negatives": 0.0}),
        ({"sampling": "sequential", "sampling_exponent": 0.3}, {"sampling": "sequential"}),
        ({"keep": "last", "keep_weights": (1, 2, 3)}, {"keep": "last"}),
        ({"keep_weights": (3, 3, 3)}, {"keep_weights": None}),
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
        {"keep_weights": (1, 1, 2)},
        {"seed": 1},
        {"keep": "last"},
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
    with pytest.raises(InputError, match=r"--try lr=2e-4: trains as the recipe does; leave it out"):
        open_driver(storage, try_=["lr=2e-4"])
    with pytest.raises(InputError, match=r"--try lr=0\.001: trains as --try lr=1e-3 does"):
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
    monkeypatch.setattr(search.branches, "_RANDOM_RUNS", 1)
    body = (
        "if trial.number:\n    raise ValueError('no')\n"
        "return {'dropout': trial.suggest_float('dropout', 0, 0.5)}"
    )
    driver = searched(space_file(tmp_path, body), InMemoryStorage(), trials=4)
    lines = [str(part) for part in outcome(SearchRecord(4, driver.study.trials))]
    assert [line for line in lines if "ValueError" in line] == [
        f"Trials 1, 2, 3 failed: {tmp_path}/mine.py:10: ValueError: no"
    ]


def test_a_warning_is_one_line_and_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    warn_once()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        warn_once()
        for _ in range(3):
            warnings.warn("two\nlines", stacklevel=1)
    said = capsys.readouterr().err
    assert said.count("warning:") == 1
    assert said.endswith("two lines\n")
