"""python -m search.run as a user types it: one whole search, its review, and how it is resumed."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from transformers import AutoModel

from cluster.local import Cluster
from minbert.__main__ import main as minbert_command
from minbert.checkpoint import load_model
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.evaluate import evaluate
from minbert.settings import command_of
from search import export, run
from search.review import __main__ as review
from search.setup import check_setup, stored_options
from search.storage.folder import RunFolder
from search.storage.study import Study
from tests.in_process import run_in_process, shared_ray

from .commands import said


@pytest.fixture(scope="module")
def machine() -> Iterator[Cluster]:
    with shared_ray() as machine:
        yield machine


def test_more_gpus_than_there_are(machine: Cluster, tmp_path: Path, course_folder: Path) -> None:
    (there,) = machine.machines()
    wanted = int(there.gpus) + 1
    arguments = ["--gpus-per-trial", str(wanted), "--encoder", "tiny", "--data", str(course_folder)]
    code, _, err = run_in_process(run.main, *arguments, "--out", tmp_path / "runs")
    assert code == 2
    assert err == (
        f"error: --gpus-per-trial {wanted}: the cluster has {there.gpus:g}; ask for fewer\n"
    )
    assert not list((tmp_path / "runs").iterdir())


@pytest.fixture(scope="module")
def finished(
    machine: Cluster,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
    course_folder: Path,
) -> tuple[Path, str]:
    """One complete search: its folder and what it printed."""
    out = tmp_path_factory.mktemp("out")
    arguments = ["--data", course_folder, "--encoder", "tiny", "--trials", "4"]
    arguments += ["--epochs", "1", "--dev-limit", "20", "--out", out, "--name", "first"]
    code, text, err = run_in_process(run.main, *arguments)
    assert (code, err) == (0, "")
    return out / "first", text


def test_a_search_says_what_it_will_do_and_what_came_of_it(finished: tuple[Path, str]) -> None:
    folder, text = finished
    for words in (
        "sst 40/20/8, para 40/20/8, sts 40/20/8 (train/dev/test)",
        "Trials    4, recipe strong first",
        "Hardware",
        f"-m tensorboard.main --logdir {folder}/tensorboard",
        "Saving the model of trial",
        "Winner: trial",
        "α 0.",
        "Chosen on these dev data from 4 trials, so optimistic",
        f"-m minbert evaluate --model {folder}/best --data",
    ):
        assert words in text
    assert "trial  0  finished" in text
    assert "better" not in text


def test_of_two_tasks_nothing_is_said_of_the_third(
    machine: Cluster,  # noqa: ARG001
    tmp_path: Path,
    course_folder: Path,
) -> None:
    made = ["--data", course_folder, "--encoder", "tiny", "--layers", "1", "--tasks", "sst,sts"]
    made += ["--trials", "2", "--epochs", "1", "--scheduler", "none", "--out", tmp_path]
    code, text = said(run.main, *made, "--name", "two")
    assert code == 0
    assert ", 1 layer\n" in text
    shown = text.replace("1.5,0,1", "").replace(str(tmp_path), "").replace(str(course_folder), "")
    assert "β" not in shown
    assert re.search(r"Loss weights: α 0\.\d\d  γ 0\.\d\d \(sst, sts\)", text)
    assert "para" not in shown.replace("compar", "")
    # What is suggested works, and the page leaves the third task out as well.
    (suggested,) = re.findall(r"-m search.review (.*) --weights (.*)", text)
    assert suggested == (str(tmp_path / "two"), "1.5,0,1")
    code, text = said(review.main, tmp_path / "two", "--weights", "1.5,0,1")
    assert code == 0
    assert "Under score weights 1.5,0,1 (sst, para, sts): trial" in text
    assert re.search(r"score +sst +sts +report", text)
    ranking = json.loads(said(review.main, tmp_path / "two", "--json")[1])
    assert ranking["weights"] == {"sst": 0.5, "sts": 0.5}
    page = (tmp_path / "two" / "report.html").read_text()
    assert "loss weights α, γ" in page
    assert (
        '"columns":["trial","name","state","score","sst","sts","epochs","seconds","α","γ"' in page
    )


def test_a_search_leaves_its_record(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    assert {path.name for path in folder.iterdir()} == {
        *("predictions", "best", "checkpoints", "lock", "report.html", "run.json", "study.db"),
        *("study.db.copy", "summary.json", "tensorboard", "trials.csv"),
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["trials"]) == 4
    assert summary["trials"][0]["state"] == "finished"
    assert summary["objective"] == pytest.approx({"sst": 1 / 3, "para": 1 / 3, "sts": 1 / 3})
    scores = [trial["score"] for trial in summary["trials"]]
    assert scores[summary["winner"]] == max(scores)
    assert len((folder / "trials.csv").read_text().splitlines()) == 5
    # One run a trial, and what concerns them all.
    assert len(list((folder / "tensorboard").iterdir())) == 5


def test_best_is_the_winners_model_with_its_predictions(
    finished: tuple[Path, str], course_folder: Path
) -> None:
    folder, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    winner = summary["trials"][summary["winner"]]
    best = load_model(folder / "best")
    info = best.info
    assert info.report.scores == winner["scores"]
    assert info.config.model_dump(mode="json") == winner["config"]
    data = load_dataset(info.inputs, best.tokenizer, cache=None)
    assert info.inputs.data == str(course_folder)
    results = evaluate(best.model, data)
    assert {task: result.score for task, result in results.items()} == winner["scores"]
    written = sorted(path.name for path in (folder / "best" / "predictions").iterdir())
    assert written == [
        f"{task}-{split}-output.csv" for task in ("para", "sst", "sts") for split in ("dev", "test")
    ]
    assert AutoModel.from_pretrained(folder / "best").config.num_hidden_layers == 2


def test_review_shows_the_run_and_any_weighting(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, text = said(review.main, folder)
    assert code == 0
    assert "4 of 4 trials" in text
    assert "Winner: trial" in text
    code, text = said(review.main, folder, "--weights", "0,0,1", "--selection-rules")
    assert code == 0
    one_line = " ".join(text.split())
    assert re.search(
        r"Under score weights 0,0,1 \(sst, para, sts\): trial \d .* highest, .*; its model is kept",
        one_line,
    )
    assert "What each selection rule keeps" in text
    code, text = said(review.main, folder, "--json", "--weights", "0,0,1")
    ranking = json.loads(text)["ranking"]
    assert [one["score"] for one in ranking] == sorted(one["score"] for one in ranking)[::-1]
    assert ranking[0]["score"] == ranking[0]["scores"]["sts"]


def test_page_of_a_search_tells_what_it_was_run_with(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    text = (folder / "report.html").read_text()
    summary = json.loads((folder / "summary.json").read_text())
    winner = summary["trials"][summary["winner"]]
    assert f"<b>trial {winner['number']}, {winner['name']}</b>" in text
    assert ". The search is done." in text
    assert "If all configurations were equal" in text
    assert f"<pre>{command_of('search.run')} --data" in text
    assert f"<code>{command_of('search.export')} " in text
    assert f"<pre>{command_of('minbert')} train " in text
    for sha256 in summary["data"]["files"].values():
        assert sha256 in text


def test_review_shows_one_trial(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, text = said(review.main, folder, "--trial", "0")
    assert code == 0
    trial = json.loads((folder / "summary.json").read_text())["trials"][0]
    assert text.startswith("Trial 0, recipe\nfinished: all epochs are trained\n")
    last = trial["reports"][-1]
    assert re.search(rf"2/2 +1\.00 +{last['score']:.3f} .*finish: all epochs are trained", text)
    assert re.search(r"Attempt 1 on \S+ \(\w{6}\): start", text)
    assert "-m minbert train --recipe strong --data" in text
    code, text = said(review.main, folder, "--trial", "9")
    assert (code, text) == (2, "error: --trial 9: there are trials 0 to 3\n")


def test_review_compares_two_trials(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, text = said(review.main, folder, "--compare", "0", "1")
    assert code == 0
    trials = json.loads((folder / "summary.json").read_text())["trials"]
    difference = trials[1]["score"] - trials[0]["score"]
    found = re.search(r"score .* ([+-][\d.]+) +([+-][\d.]+) to ([+-][\d.]+)", text)
    assert found is not None
    value, low, high = map(float, found.groups())
    assert value == pytest.approx(difference, abs=6e-4)
    assert low <= value <= high
    assert "allows neither for how the two were chosen" in " ".join(text.split())
    assert said(review.main, folder, "--compare", "0", "4")[0] == 2


def test_review_writes_the_page_again(finished: tuple[Path, str]) -> None:
    page = finished[0] / "report.html"
    page.unlink()
    code, text = said(review.main, finished[0], "--html")
    assert (code, text) == (0, f"Written: {page}\n")
    assert "The answer" in page.read_text()


@pytest.mark.parametrize("which", [["--weights", "0,0,1"], ["--weights", "1,0,0"], []])
def test_exported_model_has_the_recorded_scores(
    finished: tuple[Path, str], tmp_path: Path, which: list[str]
) -> None:
    folder, _ = finished
    code, text = said(export.main, folder, *which, "--to", tmp_path / "model")
    assert code == 0, text
    _, reviewed = said(review.main, folder, "--json", *which)
    best = json.loads(reviewed)["ranking"][0]
    saved = load_model(tmp_path / "model")
    data = load_dataset(saved.info.inputs, saved.tokenizer, cache=None)
    results = evaluate(saved.model, data)
    assert {task: result.score for task, result in results.items()} == best["scores"]
    inputs = f"--data {saved.info.inputs.data} --dev-limit 20"
    assert f"evaluate --model {tmp_path / 'model'} {inputs}\n" in text
    assert (tmp_path / "model" / "predictions" / "sts-dev-output.csv").is_file()
    is_winner = saved.info.report == load_model(folder / "best").info.report
    assert ("note: test was already predicted for trial" in text) is not is_winner


def test_a_model_that_is_not_kept_comes_with_the_command_that_trains_it(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / finished[0].name
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("checkpoints"))
    code, text = said(export.main, folder, "--trial", "0", "--to", tmp_path / "model")
    assert code == 1
    command_line = text.splitlines()[1].split()
    assert command_line[1:6] == ["-m", "minbert", "train", "--recipe", "strong"]
    assert minbert_command(command_line[3:]) == 0
    summary = json.loads((finished[0] / "summary.json").read_text())
    again = load_model(tmp_path / "model").info.report
    assert again.scores == summary["trials"][0]["scores"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere holds no run"),
        (["RUN", "--weights", "1,2"], "--weights 1,2: give three weights"),
        (["RUN", "--weights", "0,0,0"], "--weights 0,0,0: weights must not all be zero"),
    ],
)
def test_review_refuses_in_one_line(
    finished: tuple[Path, str], arguments: list[str], words: str
) -> None:
    given = [str(finished[0]) if one == "RUN" else one for one in arguments]
    code, text = said(review.main, *given)
    assert code == 2
    assert text.startswith("error: ")
    assert words in text


def test_export_refuses_what_there_is_not(finished: tuple[Path, str], tmp_path: Path) -> None:
    code, text = said(export.main, finished[0], "--trial", "9", "--to", tmp_path / "x")
    assert (code, text) == (2, "error: --trial 9: there are trials 0 to 3\n")
    code, text = said(export.main, finished[0], "--to", finished[0])
    assert code == 2
    assert "is there already and not empty" in text


def resume_options(folder: Path, data: Path) -> list[object]:
    made = ["--data", data, "--encoder", "tiny", "--epochs", "1", "--dev-limit", "20"]
    return [*made, "--out", folder.parent, "--name", folder.name, "--resume"]


def test_a_run_whose_study_is_gone_is_not_started_again(
    finished: tuple[Path, str], course_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / finished[0].name
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("study.db"))
    kept = sorted(path.name for path in folder.glob("checkpoints/*/*"))
    code, text = said(run.main, *resume_options(folder, course_folder))
    assert code == 2
    assert "study.db is missing" in text
    assert sorted(path.name for path in folder.glob("checkpoints/*/*")) == kept


def test_a_study_made_with_other_settings_is_not_resumed(
    finished: tuple[Path, str], course_folder: Path
) -> None:
    folder, _ = finished
    made = resume_options(folder, course_folder)
    code, text = said(run.main, *made, "--objective", "1,2,1")
    assert code == 2
    assert text == (
        "error: --objective 1,2,1: the study was made with --objective 1,1,1; give that, or start "
        "a new run with another --name\n"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", "3"], "--seed 3: the study was made with --seed 0; give that, or start"),
        (["--dev-limit", "9"], "--dev-limit 9: the study was made with --dev-limit 20; give that"),
        (["--layers", "1"], "--layers 1: the study was made without --layers; leave it out, or st"),
        (["--tasks", "sst,sts"], "--tasks sst,sts: the study was made with --tasks sst,para,sts; "),
        (["--space", "lr"], "--space lr: the study was made with --space weights; give that, or"),
        (["--pruner", "none"], "--pruner none: the study was made with --pruner median; give that"),
    ],
)
def test_what_differs_from_the_study_is_told_by_the_option(
    options: list[str], words: str, finished: tuple[Path, str]
) -> None:
    folder, _ = finished
    # What is not given is what the study was made with.
    made = ["--resume", "--out", folder.parent, "--name", folder.name]
    code, text = said(run.main, *made, *options)
    assert code == 2
    assert text.startswith(f"error: {words}")
    assert text.count("\n") == 1


def test_what_changed_since_the_study_was_made_is_told_without_hashes() -> None:
    study = Study.create(
        InMemoryStorage(),
        "s",
        made := {
            "file of the space": "e9d8",
            "recipe's lr": 2e-4,
            "data files": {"sts-dev.csv": "ab", "sts-train.csv": "cd"},
            "encoder": {"name": "mine", "sha256": "ef"},
        },
    )
    check_setup(study, made)
    for change, words in (
        ({"file of the space": "0"}, "the space file has changed since"),
        ({"recipe's lr": 1e-4}, "the recipe has changed since the study was made: lr was 0.0002"),
        ({"data files": {"sts-dev.csv": "ab", "sts-train.csv": "0"}}, "sts-train.csv has changed"),
        ({"data files": {"sts-dev.csv": "ab"}}, "sts-train.csv is gone since"),
        ({"encoder": {"name": "mine", "sha256": "0"}}, "the encoder's weights have changed since"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(words)}") as refused:
            check_setup(study, {**made, **change})
        assert str(refused.value).endswith(", or start a new run with another --name")
        assert not re.search("e9d8|'cd'|'ef'", str(refused.value))


def test_a_sampler_that_unpickles_is_not_taken_because_a_folder_says_so() -> None:
    setup = {"recipe": "strong", "sampler": "cmaes", "scheduler": "none"}
    study = Study.create(InMemoryStorage(), "s", setup)
    assert stored_options(study)[0].get("sampler") is None
    assert stored_options(study)[0]["scheduler"] == "none"


def test_resume_needs_no_more_than_the_name(finished: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "first")
    name = ["--resume", "--out", tmp_path, "--name", "first"]
    code, text = said(run.main, *name, "--trials", "5")
    assert code == 0
    assert "Trials    5, recipe strong first (epochs: 1," in text
    assert "sst 40/20/8" in text
    study = RunFolder(tmp_path / "first").load_study()
    for changed, words in (
        # Of a space file only its name is stored.
        ({"space": "mine"}, "--space is required: the study was made with the file mine.py"),
        # The built-in one is not as it was.
        ({"file of the space": "0"}, "the space file has changed since the study was made"),
        # Optuna would unpickle what the study holds.
        (
            {"sampler": "cmaes", "scheduler": "none"},
            "--sampler is required: the study was made with",
        ),
    ):
        study._storage.set_study_user_attr(study._id, "setup", {**study.setup, **changed})
        code, text = said(run.main, *name)
        assert code == 2
        assert text.startswith(f"error: {words}")
    # What is not given is taken from the study, for what is checked together too.
    code, text = said(run.main, *name, "--sampler", "cmaes")
    assert "--scheduler" not in text


def test_second_driver_is_refused(finished: tuple[Path, str], course_folder: Path) -> None:
    folder, _ = finished
    with RunFolder(folder).locked():
        code, text = said(run.main, *resume_options(folder, course_folder))
    assert code == 2
    assert "another search is at work on" in text


def test_a_finished_search_is_extended(
    finished: tuple[Path, str], course_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / finished[0].name
    shutil.copytree(finished[0], folder)
    made = resume_options(folder, course_folder)
    code, out, err = run_in_process(run.main, *made, "--trials", "6", "--quiet")
    assert (code, err) == (0, "")
    # --quiet prints only the results.
    assert out.split()[:2] == ["#", "trial"]
    assert "Winner: trial" in out
    before, after = (
        json.loads((each / "summary.json").read_text())["trials"] for each in (finished[0], folder)
    )
    assert len(after) == 6
    for was, now in zip(before, after, strict=False):
        assert now["reports"][: len(was["reports"])] == was["reports"]
