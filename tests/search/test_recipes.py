"""The recipes that --recipe takes: names, files, saved models, and winners of runs."""

import json
from pathlib import Path

import pytest

from minbert.config import RECIPES, InputSettings, TrainConfig
from minbert.settings import command_of
from search import run
from search.plan import Plan, make_plan
from search.propose.spaces import load_space
from search.recipes import stored_recipe
from search.rerun import train_command, train_options
from search.settings import StudySettings
from search.storage.folder import RunFolder
from search.storage.optuna_storage import open_storage

from .commands import said
from .simulated import by_number, finish, open_driver


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_for(recipe: str, **settings: object) -> Plan:
    checked = StudySettings.check({"recipe": recipe, "space": "lr", **settings})
    return make_plan(checked, InputSettings(), load_space(checked.space))


def write(name: str, content: object) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(json.dumps(content))


def make_run(*scores: float) -> TrainConfig:
    """Make runs/s, with a trial for each score; gives the configuration of the highest."""
    folder = RunFolder("runs/s")
    folder.create()
    storage = open_storage(folder.storage_address())
    driver = open_driver(storage, trials=max(1, len(scores)), scheduler="none")
    if scores:
        finish(driver, by_number(*scores))
    else:
        driver.leave()
    driver.study.close()
    return max(zip(scores or [0.0], driver.study.trials, strict=True), key=lambda p: p[0])[1].config


def test_a_file_gives_what_the_study_does_not_set() -> None:
    write("my.json", {"lr": 1e-3, "dropout": 0.2, "epochs": 5, "seed": 9, "objective": [1, 0, 0]})
    plan = plan_for("my.json", objective="0,1,3", reports_per_epoch=4, seed=7)
    assert plan.recipe == "my.json"
    assert plan.base == RECIPES["strong"].replace(
        lr=1e-3, dropout=0.2, epochs=5, objective=(0, 1, 3), reports_per_epoch=4, seed=7
    )
    assert plan.fixed[0].config == plan.base
    assert plan_for("my.json", epochs=2).base.epochs == 2


def test_a_file_holds_a_whole_configuration_too() -> None:
    paper = RECIPES["paper-weighted"]
    Path("whole.json").write_text(paper.model_dump_json())
    assert plan_for("whole.json", reports_per_epoch=1).base == paper


def test_a_name_wins_over_a_folder_of_that_name() -> None:
    write("paper/minbert.json", {"config": {"lr": 0.5}})
    assert plan_for("paper", reports_per_epoch=1).base == RECIPES["paper"]
    assert plan_for("./paper").base.lr == 0.5


@pytest.mark.parametrize("given", ["runs/a/best", "runs/a/best/", "runs/a/best/minbert.json"])
def test_a_saved_model_gives_its_configuration(given: str) -> None:
    # Models outlive versions: "keep" is now "select".
    write("runs/a/best/minbert.json", {"recipe": "strong", "config": {"lr": 0.5, "keep": "last"}})
    plan = plan_for(given)
    assert plan.recipe == ("minbert.json" if given.endswith(".json") else "a/best")
    assert (plan.base.lr, plan.base.select) == (0.5, "last")


def test_a_run_gives_its_winner() -> None:
    winner = make_run(0.2, 0.4, 0.3)
    plan = plan_for("runs/s", epochs=9, reports_per_epoch=1)
    assert plan.recipe == "winner of runs/s"
    assert plan.base == winner != RECIPES["strong"]


def test_a_run_without_a_score_has_no_winner() -> None:
    make_run()
    assert said(run.main, "--recipe", "runs/s") == (
        2,
        "error: --recipe runs/s: the run has no winner, as no trial has a score yet\n",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "storng",
            "unknown recipe 'storng'; did you mean 'strong'?; there are: strong, paper, "
            "paper-weighted; or give a JSON file, or the folder of a run or a saved model",
        ),
        ("none.json", "--recipe none.json: cannot be read (No such file or directory)"),
        ("broken.json", "--recipe broken.json: not readable as JSON ("),
        ("list.json", "--recipe list.json: not a JSON object"),
        ("field.json", "--recipe field.json: unknown setting 'lrr'; did you mean 'lr'?"),
        ("old.json", "--recipe old.json: 'keep' is now 'select'"),
        ("value.json", "--recipe value.json: lr: must be less than or equal to 1 (got 3)"),
        ("sts.json --tasks sst", "--recipe sts.json trains only sts, which --tasks sst leaves"),
        ("runs/none", "--recipe runs/none: runs/none holds no run (there is no run.json in it)"),
        ("runs", "--recipe runs: runs holds no run (there is no run.json in it)"),
        ("good.json --space paper", "--space paper works only with --recipe paper"),
        ("~nobody-here/x.json", "--recipe: no home folder is known for ~nobody-here"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(arguments: str, words: str) -> None:
    Path("runs").mkdir()
    Path("broken.json").write_text('{"lr": ')
    write("list.json", [1])
    write("field.json", {"lrr": 1e-3})
    write("old.json", {"keep": "last"})
    write("value.json", {"lr": 3})
    write("sts.json", {"train_tasks": ["sts"]})
    write("good.json", {"lr": 1e-3})
    code, text = said(run.main, "--recipe", *arguments.split())
    assert code == 2
    assert text.startswith(f"error: {words}")
    assert text.count("\n") == 1
    assert not list(Path("runs").iterdir())


def test_a_trial_is_trained_again_without_the_file() -> None:
    config = RECIPES["strong"].replace(lr=1e-3)
    assert train_command(InputSettings(), "my.json") == (
        f"{command_of('minbert')} train --recipe strong"
    )
    assert train_options(config, "my.json") == "--lr 0.001"


def test_a_study_holds_the_recipe_of_the_user_alone() -> None:
    setup = {"recipe": "my.json", "objective": [1, 1, 1], "recipe's lr": 1e-3}
    own = stored_recipe(setup)
    assert own is not None
    assert own.config == RECIPES["strong"].replace(lr=1e-3)
    assert stored_recipe({**setup, "recipe": "strong"}) is None
