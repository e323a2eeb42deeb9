"""Parameters that are not the same in all of a study: found before anything runs, or one trial."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage

import search.propose.branches
from minbert.config import TrainConfig
from minbert.errors import InputError
from search.propose.branches import check_space
from search.propose.spaces import load_space
from search.settings import StudySettings

from .spaces import searched, space_file, storage_in

# Bodies, and the line and words of what is said.
REFUSED = {
    "choices by another choice": (
        "optimizer = trial.suggest_categorical('optimizer', ['adamw', 'radam'])\n"
        "sizes = [16, 32] if optimizer == 'adamw' else [32, 64]\n"
        "return {'batch_size': trial.suggest_categorical('batch_size', sizes)}",
        "mine.py:11: 'batch_size' is one of [32, 64] here and one of [16, 32] elsewhere; give the "
        "two different names",
    ),
    "choices by a number between the ends": (
        "lr = trial.suggest_float('lr', 1e-5, 1e-3, log=True)\n"
        "sizes = [16] if 5e-5 < lr < 2e-4 else [16, 32]\n"
        "return {'lr': lr, 'batch_size': trial.suggest_categorical('batch_size', sizes)}",
        "mine.py:11: 'batch_size' is one of",
    ),
    "choices by two parameters at once": (
        "a = trial.suggest_categorical('a', ['x', 'y', 'z'])\n"
        "b = trial.suggest_categorical('b', ['x', 'y', 'z'])\n"
        "sizes = [8] if a == b == 'z' else [16]\n"
        "return {'batch_size': trial.suggest_categorical('batch_size', sizes)}",
        "mine.py:12: 'batch_size' is one of [8] here and one of [16] elsewhere",
    ),
    "the order of choices": (
        "first = trial.suggest_categorical('first', [True, False])\n"
        "sizes = [16, 32] if first else [32, 16]\n"
        "return {'batch_size': trial.suggest_categorical('batch_size', sizes)}",
        "mine.py:11: 'batch_size' is one of",
    ),
    "an int and a float": (
        "if trial.suggest_categorical('kind', ['i', 'f']) == 'i':\n"
        "    return {'batch_size': trial.suggest_int('x', 8, 16)}\n"
        "return {'dropout': trial.suggest_float('x', 0, 0.5)}",
        "mine.py:11: 'x' is a float of 0 to 0.5 here and an int of 8 to 16 elsewhere",
    ),
    "a logarithmic range and a plain one": (
        "log = trial.suggest_categorical('log', [True, False])\n"
        "return {'lr': trial.suggest_float('lr', 1e-5, 1e-3, log=log)}",
        "mine.py:10: 'lr' is a float of 1e-05 to 0.001 here and a float of 1e-05 to 0.001, log "
        "elsewhere",
    ),
    "twice in one trial": (
        "lr = trial.suggest_float('x', 1e-5, 1e-3)\n"
        "return {'lr': lr, 'dropout': trial.suggest_float('x', 0.1, 0.2)}",
        "mine.py:10: 'x' is asked for twice with different choices or ranges; give them different "
        "names",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_parameter_that_changes_is_found_before_anything_runs(case: str, tmp_path: Path) -> None:
    body, message = REFUSED[case]
    with pytest.raises(InputError) as refused:
        check_space(load_space(space_file(tmp_path, body)), TrainConfig())
    assert str(refused.value).startswith(f"{tmp_path}/{message}")


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "cmaes", "gp"])
def test_a_range_that_depends_on_another_parameter_works(sampler: str, tmp_path: Path) -> None:
    body = (
        "radam = trial.suggest_categorical('radam', [True, False])\n"
        "high = 1e-3 if radam else 1e-4\n"
        "return {'optimizer': 'radam' if radam else 'adamw', 'lr': "
        "trial.suggest_float('lr', 1e-5, high, log=True)}"
    )
    storage = InMemoryStorage()
    driver = searched(space_file(tmp_path, body), storage, trials=12, sampler=sampler)
    assert {trial.state for trial in driver.study.trials} == {"finished"}
    drawn = driver.study.trials[1:]
    assert all(t.config.lr <= (1e-3 if t.config.optimizer == "radam" else 1e-4) for t in drawn)
    assert {trial.config.optimizer for trial in drawn} == {"adamw", "radam"}


def test_what_slips_through_ends_one_trial_each_and_not_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.propose.branches, "_RANDOM_RUNS", 1)
    body = (
        "lr = trial.suggest_float('lr', 1e-5, 1e-3)\n"
        "sizes = [16, 32] if 2e-4 < lr < 4e-4 else [32, 64]\n"
        "return {'lr': lr, 'batch_size': trial.suggest_categorical('batch_size', sizes)}"
    )
    space, storage = space_file(tmp_path, body), storage_in(tmp_path)
    check_space(load_space(space), TrainConfig())
    first = searched(space, storage, trials=8, sampler="random")
    # Resumed, the study knows what the parameter is only from what was recorded.
    again = searched(space, storage, trials=16, sampler="random")
    trials = again.study.trials
    assert len(trials) == 16
    assert [t.config for t in first.study.trials] == [t.config for t in trials[:8]]
    refused = [trial for trial in trials if trial.was_refused]
    assert refused
    assert {trial.error for trial in refused} == {
        f"{space}:11: 'batch_size' is one of [16, 32] here and one of [32, 64] elsewhere; give "
        "the two different names"
    }
    assert {trial.state for trial in trials if trial not in refused} == {"finished"}


def test_a_point_that_the_space_does_not_want_is_drawn_again(tmp_path: Path) -> None:
    body = (
        "size = trial.suggest_categorical('batch_size', [8, 16, 32, 64])\n"
        "if size > 16:\n"
        "    raise optuna.TrialPruned\n"
        "return {'batch_size': size, 'dropout': trial.suggest_float('dropout', 0, 0.5)}"
    )
    driver = searched(space_file(tmp_path, body), InMemoryStorage(), trials=8)
    drawn = driver.study.trials[1:]
    assert {trial.state for trial in drawn} == {"finished"}
    assert {trial.config.batch_size for trial in drawn} == {8, 16}


def test_a_sampler_that_fails_ends_one_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = TPESampler.sample_relative
    calls = itertools.count()

    def fail_once(self: TPESampler, *about: Any) -> dict[str, Any]:
        if next(calls) == 1:
            raise ValueError("something\nis odd")
        return sample(self, *about)

    monkeypatch.setattr(TPESampler, "sample_relative", fail_once)
    space = space_file(tmp_path, "return {'dropout': trial.suggest_float('dropout', 0, 0.5)}")
    trials = searched(space, InMemoryStorage(), trials=5, sampler="tpe").study.trials
    assert [t.error for t in trials if t.error] == [f"{space}:9: ValueError: something is odd"]
    assert [trial.state for trial in trials].count("finished") == 4


def test_the_default_space_is_checked_without_a_search() -> None:
    # So that the bodies above fail by themselves and not by what all spaces lack.
    assert check_space(load_space(StudySettings().space), TrainConfig())


def test_a_study_in_which_a_parameter_was_another_is_not_resumed(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    body = "return {'schedule': trial.suggest_categorical('s', ['linear', 'constant', 'cosine'])}"
    searched(space_file(tmp_path, body), storage, trials=3, sampler="random")
    other = body.replace("'linear', 'constant'", "'constant', 'linear'")
    with pytest.raises(InputError) as refused:
        searched(space_file(tmp_path, other), storage, trials=4, sampler="random")
    assert "'s' is one of ['constant', 'linear', 'cosine'] now, and one of ['linear'" in str(
        refused.value
    )


def test_choices_without_an_order_are_refused(tmp_path: Path) -> None:
    body = "return {'optimizer': trial.suggest_categorical('o', {'adamw', 'radam'})}"
    with pytest.raises(InputError, match="choices of 'o' are a set, which has no order; give a"):
        check_space(load_space(space_file(tmp_path, body)), TrainConfig())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "n = 0\nwhile trial.suggest_categorical(f'more{n}', [False, True]):\n    n += 1\n"
            "return {}",
            "the space has too many parameters",
        ),
        ("raise optuna.TrialPruned", "the space rejects all points that were tried"),
        ("import sys\nsys.exit(3)", "mine.py:10: SystemExit: 3"),
        ("return {3: trial.suggest_float('a', 0, 1)}", "space() returned a field named 3"),
        (
            "return {'lr': trial.suggest_float('', 1e-5, 1)}",
            "name must be non-empty text (got '')",
        ),
        (
            "return {'lr': trial.suggest_float('\\udcff', 1e-5, 1)}",
            "name must be non-empty text",
        ),
        ("return {'lr': trial.suggest_float('x', 0, float('inf'))}", "'x': its range must have"),
        ("return {'epochs': trial.suggest_int('x', 1.5, 3)}", "'x': its range must be of whole"),
        ("x = []\nx.append(x)\nreturn {'loss_weights': x}", "lists nested this deeply"),
        (
            "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd",
            "mine.py:12: Odd",
        ),
        ("return {'loss_weights': (0, 0, 1), 'train_tasks': 'sst'}", "gives no weight to any of"),
        ("return {'loss_weights': (1e308,) * 3}", "weights must be finite numbers"),
    ],
)
def test_odd_functions_are_refused_in_one_line(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        check_space(load_space(space_file(tmp_path, body)), TrainConfig())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EXPERIMENTS = [('a', {'lr': 1e-4})]", "row 1 is not an Experiment(name, changes)"),
        ("EXPERIMENTS = {'a': {}}", "EXPERIMENTS must be a list"),
        ("EXPERIMENTS = 3", "EXPERIMENTS must be a list"),
        ("RECIPE = ['strong']\ndef space(trial): return {}", "RECIPE must be the name"),
        ("raise SystemExit('nope')", "mine.py:1: SystemExit: nope"),
    ],
)
def test_odd_files_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_space(str(path))
    assert message in str(refused.value)


def test_a_file_may_hold_dataclasses_and_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Rate:\n    low: float\n    high: float\n"
        "def space(trial):\n    print('asked')\n"
        "    return {'lr': trial.suggest_float('lr', Rate(1e-5, 1e-3).low, 1e-3)}\n"
    )
    assert check_space(load_space(str(path)), TrainConfig())
    assert capsys.readouterr().out == ""
