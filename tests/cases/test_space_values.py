"""What a space returns: a search uses the values of the checked configuration, never raw ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from minbert.config import InputSettings, TrainConfig
from minbert.errors import InputError
from minbert.weights import Weights
from search.plan import make_plan
from search.propose.branches import check_space
from search.propose.spaces import load_space
from search.results import trial_as_json
from search.settings import StudySettings
from search.storage.study import Study

from ..in_process import warnings_are_errors
from .spaces import searched, space_file, storage_in

# Bodies of a space's function, and the values that a field must come to.
WORKING: dict[str, tuple[str, str, set[Any]]] = {
    "numpy float32": (
        "return {'lr': np.float32(10.0) ** np.float32(trial.suggest_int('e', -4, -3))}",
        "lr",
        {
            float(__import__("numpy").float32(10) ** -4),
            float(__import__("numpy").float32(10) ** -3),
        },
    ),
    "numpy int64": (
        "return {'batch_size': np.int64(2) ** trial.suggest_int('power', 3, 4)}",
        "batch_size",
        {8, 16},
    ),
    "numpy choices": (
        "return {'batch_size': trial.suggest_categorical('batch_size', np.array([4, 8, 16]))}",
        "batch_size",
        {4, 8, 16},
    ),
    "numpy bounds": (
        "return {'batch_size': trial.suggest_int('batch_size', np.int64(4), np.int64(6))}",
        "batch_size",
        {4, 5, 6},
    ),
    "numpy text": (
        "return {'optimizer': trial.suggest_categorical('o', list(np.array(['adamw', 'radam'])))}",
        "optimizer",
        {"adamw", "radam"},
    ),
    "numpy array of weights": (
        "return {'loss_weights': np.array([1, 1, trial.suggest_int('sts', 2, 3)])}",
        "loss_weights",
        {Weights(1, 1, 2), Weights(1, 1, 3)},
    ),
    "weights as text": (
        "return {'loss_weights': trial.suggest_categorical('w', ['2,1,1', '1,2,1'])}",
        "loss_weights",
        {Weights(2, 1, 1), Weights(1, 2, 1)},
    ),
    "tuples as choices": (
        "return {'loss_weights': trial.suggest_categorical('w', [(2, 1, 1), (1, 2, 1)])}",
        "loss_weights",
        {Weights(2, 1, 1), Weights(1, 2, 1)},
    ),
    "lists as choices": (
        "return {'loss_weights': trial.suggest_categorical('w', [[2, 1, 1], [1, 2, 1]])}",
        "loss_weights",
        {Weights(2, 1, 1), Weights(1, 2, 1)},
    ),
    "tuples of names": (
        "return {'train_tasks': trial.suggest_categorical('t', [('sst',), ('sst', 'sts')])}",
        "train_tasks",
        {("sst",), ("sst", "sts")},
    ),
    "none and text": (
        "return {'selection_weights': trial.suggest_categorical('k', [None, '1.5,1,1.5'])}",
        "selection_weights",
        {None, Weights(1.5, 1, 1.5)},
    ),
    "numbers as text": (
        "return {'lr': trial.suggest_categorical('lr', ['1e-5', '1e-4'])}",
        "lr",
        {1e-5, 1e-4},
    ),
    "enums": (
        "class Kind(enum.Enum):\n"
        "    A = 'adamw'\n"
        "    R = 'radam'\n"
        "return {'optimizer': trial.suggest_categorical('o', list(Kind))}",
        "optimizer",
        {"adamw", "radam"},
    ),
    "enums of text": (
        "class Kind(str, enum.Enum):\n"
        "    A = 'adamw'\n"
        "    R = 'radam'\n"
        "return {'optimizer': trial.suggest_categorical('o', [Kind.A, Kind.R])}",
        "optimizer",
        {"adamw", "radam"},
    ),
    "a bool for a number": (
        "return {'epochs': trial.suggest_categorical('e', [True]), "
        "'batch_size': trial.suggest_int('b', 4, 5)}",
        "epochs",
        {1},
    ),
    "older names of Optuna": (
        "return {'lr': trial.suggest_loguniform('lr', 1e-5, 1e-3), "
        "'warmup': trial.suggest_uniform('warmup', 0.0, 0.3), "
        "'dropout': trial.suggest_discrete_uniform('dropout', 0.1, 0.2, 0.1)}",
        "dropout",
        {0.1, 0.2},
    ),
    "numpy in a nested tuple": (
        "return {'loss_weights': (np.float32(trial.suggest_int('sst', 2, 3)), np.int8(1), 1)}",
        "loss_weights",
        {Weights(2, 1, 1), Weights(3, 1, 1)},
    ),
}


@warnings_are_errors()
@pytest.mark.parametrize("case", WORKING)
def test_a_search_records_plain_values_of_the_right_type(case: str, tmp_path: Path) -> None:
    body, field, values = WORKING[case]
    storage = storage_in(tmp_path)
    driver = searched(space_file(tmp_path, body), storage, trials=4, sampler="random")
    trials = driver.study.trials[1:]
    assert trials
    assert {trial.state for trial in trials} == {"finished"}
    assert {getattr(trial.config, field) for trial in trials} <= values
    for trial in trials:
        assert trial.fields[field] == getattr(trial.config, field)
        assert "np." not in trial.name
        json.dumps(trial_as_json(trial))
    # What is read back is what was written, and Optuna's own reading takes it too.
    read = Study.load(storage, "s")
    assert [trial.config for trial in read.trials] == [t.config for t in driver.study.trials]
    assert [trial.name for trial in read.trials] == [t.name for t in driver.study.trials]
    for frozen in storage.get_all_trials(1):
        assert all(hash(distribution) for distribution in frozen.distributions.values())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "return {'lr': trial.suggest_categorical('lr', [{}, 1e-4])}",
            "mine.py:9: choices of 'lr' must be None, bool, int, float, str, or tuples of these "
            "(got {})",
        ),
        (
            "return {'lr': trial.suggest_categorical('lr', [float('nan'), 1e-4])}",
            "mine.py:9: choices of 'lr' must be",
        ),
        (
            "return {'loss_weights': trial.suggest_categorical('w', [(1, 1, 2), '1,1,2'])}",
            "mine.py:9: choices of 'w': two of them are the same",
        ),
        ("return {'lr': np.array([1e-4, 1e-3])}", "mine.py:9: lr: must be a valid number"),
        ("return {'lr': np.float64('nan')}", "mine.py:9: lr: must be"),
        ("return {'loss_weights': '1,1'}", "mine.py:9: loss_weights: give three weights"),
        ("return {'optimizer': np.str_('sgd')}", "mine.py:9: optimizer: unknown value 'sgd'"),
        ("return {'lr': trial.suggest_float('lr', '1', 2)}", "mine.py:9: "),
        ("return [('lr', 1e-4)]", "mine.py:8: space() returned list, not a dict of fields"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_file_and_line(
    body: str, message: str, tmp_path: Path
) -> None:
    space = load_space(space_file(tmp_path, body))
    with pytest.raises(InputError) as refused:
        check_space(space, TrainConfig())
    assert str(refused.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(refused.value)


def test_values_of_a_fixed_list_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n"
        "from spaces.paper import Experiment\n"
        "EXPERIMENTS = (Experiment('a', {'lr': np.float32(0.5), 'loss_weights': '2,1,1'}),)\n"
    )
    plan = make_plan(StudySettings(space=str(path)), InputSettings(), load_space(str(path)))
    assert plan.fixed[1].fields == {"lr": 0.5, "loss_weights": Weights(2, 1, 1)}
    assert type(plan.fixed[1].fields["lr"]) is float


def test_errors_of_a_file_given_by_a_relative_path_name_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space_file(tmp_path, "rate = 1 / 0\nreturn {}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^mine\.py:9: ZeroDivisionError: division by zero$"):
        check_space(load_space("mine.py"), TrainConfig())
