"""report.html and its commands: what they say of a search."""

import json
import re
import shlex
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from minbert.config import RECIPES, InputSettings, TrainConfig
from minbert.settings import add_options, command_of, make_parser
from minbert.settings import given as given_options
from search.propose.branches import explore
from search.propose.spaces import load_space
from search.record import SearchRecord, TrialRecord
from search.rerun import train_command, train_options
from search.review import __main__ as review
from search.review import reading
from search.review.page import live
from search.review.page.live import LivePage
from search.review.page.report import page, write_page
from search.review.reading import Run, read_run
from search.storage.folder import RunFolder
from search.storage.provenance import command_line, resume_command, runs_of
from testkit.synthetic import rising, synthetic_run
from testkit.waiting import wait_for
from tests.in_process import run_in_process

from .driver_runs import driver_run

# What it says


def test_page_says_what_was_chosen_and_no_more(folder: RunFolder, record: SearchRecord) -> None:
    text = page(read_run(folder))
    winner, baseline = record.winner, record.baseline
    assert winner is not None
    assert winner is not baseline
    assert f"<b>trial {winner.number}, {winner.name}</b>" in text
    assert baseline is not None
    assert winner.score is not None
    assert baseline.score is not None
    assert f"{winner.score - baseline.score:+.3f}" in text
    assert "Chosen on these dev data from 24 trials, so optimistic." in text
    assert "a &lt;b&gt;run&lt;/b&gt;" in text
    assert "dev evaluations would lead the recipe by" in text
    ours = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", text, flags=re.DOTALL)
    assert not re.search("better|superior|improve|outperform", ours, flags=re.IGNORECASE)


def test_page_of_a_search_that_runs_says_so(folder: RunFolder) -> None:
    with folder.locked():
        assert "The search is running: 24 of 24 trials are over" in page(read_run(folder))
    assert "The search is running" not in page(read_run(folder))


def test_page_before_the_first_report(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", rising, space="lr", trials=1, epochs=1)
    run = read_run(folder)
    first = run.record.trials[0]
    first.reports.clear()
    first.decisions.clear()
    first.state = "running"
    assert "No trial has made a report yet" in page(run)


def test_page_of_two_tasks_has_no_triangle(folder: RunFolder) -> None:
    run = read_run(folder)
    for one in run.record.trials:
        one.reports[:] = [
            made.replace(scores={task: made.scores[task] for task in ("sst", "sts")})
            for made in one.reports
        ]
    text = page(run)
    assert 'id="triangle"' not in text
    assert 'data-figure="front"' in text


def test_page_is_written_while_the_search_runs(
    folder: RunFolder, record: SearchRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_SECONDS_TO_FIRST", 0.01)
    folder.page.unlink()
    with LivePage(folder) as watcher:
        watcher.reported(record.trials[0], record.trials[0].reports[0])
        wait_for(folder.page.exists, "the page")
    assert watcher.problem is None
    assert "The search is running" in folder.page.read_text()
    write_page(read_run(folder))


def test_a_page_that_fails_does_not_end_the_search(
    folder: RunFolder, record: SearchRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such luck")

    monkeypatch.setattr(live, "_SECONDS_TO_FIRST", 0.01)
    monkeypatch.setattr(reading, "read_run", fail)
    with LivePage(folder) as watcher:
        watcher.ended(record.trials[0])
        wait_for(lambda: watcher.problem, "the problem")
    assert watcher.problem is not None
    assert "no such luck" in watcher.problem


# Commands


@pytest.mark.parametrize("space", ["full", "weights", "paper"])
def test_options_turn_the_recipe_into_the_configuration(space: str) -> None:
    loaded = load_space(space)
    name = loaded.recipe or "strong"
    base = RECIPES[name].replace(objective=(1, 2, 1), seed=3)
    for fields in explore(loaded).proposals:
        config = base.replace(**fields)
        parser = make_parser("", "")
        add_options(parser, TrainConfig)
        arguments = parser.parse_args(shlex.split(train_options(config, name)))
        read = RECIPES[name].replace(**given_options(arguments, TrainConfig))
        assert read == config


def test_command_names_the_inputs() -> None:
    inputs = InputSettings(data="my data", layers=2, strict=True, tasks=("sst", "sts"))
    assert train_command(inputs, "paper") == (
        f"{command_of('minbert')} train --recipe paper --data 'my data' --layers 2 --tasks sst,sts "
        "--strict"
    )


@pytest.mark.parametrize(
    ("typed", "goes_on"),
    [
        ("python -m search.run --space lr", "--space lr --name s --resume"),
        ("python -m search.run --name s --resume", "--name s --resume"),
        ("python -m search.run --name=s --data 'my data'", "--name=s --data 'my data' --resume"),
        ("python -m search.run --space lr; ls", "--space 'lr;' ls --name s --resume"),
        ("rm -r ~", None),
        ("python -m search.run 'torn", None),
    ],
)
def test_command_that_goes_on_with_a_search(typed: str, goes_on: str | None) -> None:
    command = resume_command(driver_run(0, None).replace(command=typed), "s")
    assert command == (goes_on and f"{command_of('search.run')} {goes_on}")


def ends(folder: RunFolder, planned: int, **about: Any) -> Run:
    """A finished run as if more had been planned, and its driver had ended so."""
    study = folder.load_study()
    study.note("planned", planned)
    study.note("ended_because", about.pop("because", None))
    study.note("runs", [run.replace(**about).model_dump(mode="json") for run in runs_of(study)])
    study.close()
    return read_run(folder)


def test_review_and_page_say_whether_a_search_is_done_and_how_to_go_on(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", rising, space="lr", trials=9, epochs=3)
    typed, hint = "python -m search.run --space lr", "--space lr --name run --resume"
    hint = f"{command_of('search.run')} {hint}"
    done = ends(folder, 9, command=typed)
    assert (done.in_words, done.resume_command) == ("The search is done.", None)
    early = ends(folder, 12, command=typed, because="the target 0.5 is reached")
    assert early.in_words == "The search ended early: the target 0.5 is reached."
    for out_of_time, why in ((True, "the time was up"), (False, "it was interrupted")):
        cut = ends(folder, 12, command=typed, out_of_time=out_of_time)
        said = f"The search is not done: {why}, and 3 of 12 trials are not over."
        assert cut.in_words == f"{said} To resume: {hint}"
        assert cut.was_interrupted is not out_of_time
        text = page(cut)
        assert f"9 trials, written {time.strftime('%Y-%m-%d')}" in text
        assert f"{said}</p>\n  <p>To resume:</p>\n  <pre>{hint}</pre>" in text
        printed = run_in_process(review.main, folder.path)[1]
        assert printed.splitlines()[1] == cut.in_words
        assert "Winner: trial" in printed
    stored = ends(folder, 12, command=f"{typed} --storage 'postgresql://me:***@db/x'")
    assert f"To resume, with the password for ***: {command_of('search.run')} " in stored.in_words
    assert "<p>To resume, with the password for ***:</p>" in page(stored)
    with folder.locked():
        assert read_run(folder).in_words == "The search is running: 9 of 12 trials are over."


@pytest.mark.parametrize("because", ["the target 0.5 is reached", None])
def test_an_interrupted_trial_says_why(tmp_path: Path, because: str | None) -> None:
    folder = synthetic_run(tmp_path / "run", rising, space="lr", trials=3, epochs=3)
    with sqlite3.connect(folder.path / "study.db") as database:
        last = "delete from trial_user_attributes where trial_id = 1 and key = 'report:0003'"
        assert database.execute(last).rowcount == 1
    database.close()
    run = ends(folder, 3, because=because)
    recipe = run.record.trials[0]
    assert (recipe.state, recipe.why) == ("interrupted", because or "it was interrupted")
    # Its reports keep what was decided of them.
    assert {decision.reason for decision in recipe.decisions} == {"runs to its end"}


def test_no_password_is_noted() -> None:
    with_password = ["--storage", "postgresql://me:secret@db/x", "--storage=mysql://me:secret@y/z"]
    with_password += ["--storage", "postgresql://me:secret@db/x?sslmode=require&password=secret"]
    noted = command_line(["--space", "lr", *with_password])
    assert "secret" not in noted
    assert "--space lr --storage" in noted
    assert "db/x?sslmode=require&password=***" in noted


def test_table_holds_what_the_record_holds(folder: RunFolder, record: SearchRecord) -> None:
    text = folder.page.read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    columns = data["table"]["columns"]
    assert columns[:4] == ["trial", "name", "state", "score"]
    for row, one in zip(data["table"]["rows"], record.ranked, strict=True):
        cells = dict(zip(columns, row["cells"], strict=True))
        assert (cells["trial"], cells["state"]) == (one.number, one.state)
        assert cells["score"] == pytest.approx(one.score, rel=1e-5)
        assert cells["lr"] == pytest.approx(one.config.lr, rel=1e-5)


def test_no_trial_record_is_changed_by_reading(folder: RunFolder) -> None:
    def dump(trials: list[TrialRecord]) -> list[Any]:
        return [(t.number, t.state, [r.score for r in t.reports]) for t in trials]

    before = dump(read_run(folder).record.trials)
    write_page(read_run(folder))
    assert dump(read_run(folder).record.trials) == before


def test_page_of_the_papers_experiments(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", rising, space="paper", examples=60)
    run = read_run(folder)
    text = page(run)
    section = re.search(r'<section id="experiments">(.*?)</section>', text, re.DOTALL)
    assert section is not None
    for number, experiment in enumerate(load_space("paper").experiments, start=1):
        # Number 7 is the recipe, and so trial 0.
        other = {7: " (trial 0)", 8: " (trial 7)"}.get(number, "")
        assert f"<th>{number} {experiment.name}{other}</th>" in section[1]
    # A file of a user's that only has the same name is not taken for it.
    run.setup["file of the space"] = "0" * 64
    assert 'id="experiments"' not in page(run)
