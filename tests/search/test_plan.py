"""Settings of a search, and what they make it run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minbert.config import RECIPES, InputSettings
from minbert.errors import InputError
from minbert.examples import Dataset
from minbert.hub import Pretrained
from search.inputs import LoadedInputs
from search.plan import Plan, make_plan
from search.propose.spaces import load_space
from search.record import SearchRecord
from search.review.terminal.messages import introduction
from search.settings import HELP_GROUPS, StudySettings, parse_duration
from search.storage.folder import RunFolder
from tests.inline import OneCore


def plan_for(inputs: InputSettings | None = None, **settings: object) -> Plan:
    checked = StudySettings.check(settings)
    return make_plan(checked, inputs or InputSettings(), load_space(checked.space))


def test_settings_import_nothing_that_takes_time() -> None:
    heavy = ("optuna", "psutil", "pyarrow", "ray", "sqlalchemy", "torch")
    code = "import sys, search.settings; search.settings.StudySettings(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(heavy) == set()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("1m5", 65)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5x", "m", "1.2.3h", "-5", "10m1h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="time_budget: give a time such as"):
        StudySettings.check({"time_budget": text})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("trials", "0", "trials: must be greater than or equal to 1"),
        ("objective", "1,-1,1", "objective: weights must be finite numbers of at least 0"),
        ("objective", "0,0,0", "objective: weights must not all be zero"),
        ("objective", "1,1", "give three weights"),
        ("gpus_per_trial", "-1", "gpus_per_trial: must be"),
        ("address", "ray://head:10001", "ray job submit"),
        ("name", "a/b", "name: "),
        ("time_budget", "0", "time_budget: must be greater than 0"),
    ],
)
def test_refused_settings(name: str, value: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        StudySettings.check({name: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_first_trial_is_the_recipe_under_the_settings_of_the_study() -> None:
    plan = plan_for(space="lr", objective="0,1,3", epochs=2, seed=7, trials=5)
    strong = RECIPES["strong"]
    assert plan.base == strong.replace(objective=(0, 1, 3), epochs=2, seed=7, reports_per_epoch=2)
    assert [(trial.name, trial.config) for trial in plan.fixed] == [("recipe", plan.base)]
    assert (plan.trials, plan.most_reports) == (5, 4)


def test_only_tasks_that_are_loaded_are_trained() -> None:
    plan = plan_for(InputSettings.check({"tasks": "sst,sts"}))
    assert plan.base.train_tasks == ("sst", "sts")


def test_objective_must_weigh_a_task_that_is_loaded() -> None:
    with pytest.raises(InputError, match="gives no weight to any of: sst"):
        plan_for(InputSettings.check({"tasks": "sst"}), objective="0,1,1")


def test_paper_runs_the_recipe_first_and_once() -> None:
    plan = plan_for(space="paper")
    assert plan.recipe == "paper"
    assert plan.trials == len(plan.fixed) == 8
    assert plan.fixed[0].name == "6 epochs, any task"
    assert plan.fixed[0].config == plan.base == RECIPES["paper"]
    assert [trial.name for trial in plan.fixed[1:3]] == ["SST only, 10 epochs", "three data sets"]
    assert plan.most_reports == 10


def test_what_a_search_of_a_list_will_do_names_the_trial_0(
    dataset: Dataset, tiny: Pretrained, tmp_path: Path
) -> None:
    def said(space: str) -> str:
        settings = StudySettings.check({"space": space})
        plan, record = plan_for(space=space), SearchRecord(8, slots=1)
        folder = RunFolder(tmp_path / "run")
        inputs = LoadedInputs(InputSettings(), dataset, tiny)
        about = introduction(settings, plan, record, inputs, OneCore(), folder, None)
        return "\n".join(about)

    assert "  number 7 of the list is the recipe itself, so it is trial 0\n" in said("paper")
    assert "trial 0" not in said("lr")


def test_every_option_is_in_one_group_of_the_help() -> None:
    grouped = [name for names in HELP_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted([*StudySettings.model_fields, *InputSettings.model_fields])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"recipe": "strong"}, "works only with --recipe paper"),
        ({"trials": 3}, "leave --trials out"),
        ({"epochs": 3}, "leave --epochs out"),
    ],
)
def test_what_a_fixed_list_refuses(option: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_for(space="paper", **option)


def test_most_reports_are_those_of_the_longest_branch(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("def space(trial):\n    return {'epochs': trial.suggest_int('epochs', 1, 9)}\n")
    assert plan_for(space=str(path)).most_reports == 18
