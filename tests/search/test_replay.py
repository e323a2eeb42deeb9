"""Replays of finished searches: what they spend and find, and how far a record carries."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minbert.errors import InputError
from search.replay import main
from search.replaying import Recorded, Replay, Way, as_recorded, recorded_in, replay
from search.review.reading import Run, read_run
from search.storage.folder import RunFolder
from search.storage.study import Study
from testkit.synthetic import rising, synthetic_run
from tests.search.commands import said

TRIALS, EPOCHS = 12, 4


def opened(folder: RunFolder) -> tuple[Run, Study]:
    study = folder.load_study()
    return read_run(folder, study), study


def way(scheduler: str = "none", sampler: str = "random") -> Way:
    return Way(scheduler, sampler, grace_period=1, reduction_factor=3, pruner="none")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A search whose trials were all trained to their end."""
    path = tmp_path_factory.mktemp("replay") / "whole"
    options: dict[str, Any] = {"scheduler": "none", "pruner": "none", "sampler": "random"}
    return synthetic_run(path, rising, space="full", trials=TRIALS, epochs=EPOCHS, **options)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A search of the same data that stopped most of its trials early."""
    path = tmp_path_factory.mktemp("replay") / "stopped"
    return synthetic_run(path, rising, space="full", trials=TRIALS, epochs=EPOCHS)


@pytest.fixture(scope="module")
def recorded(whole: RunFolder) -> Recorded:
    return recorded_in([opened(whole)])


def test_trainings_and_scores_follow_the_reports() -> None:
    # Two trials of two reports each: a report is half a training.
    done = Replay(
        trainings=np.array([0.5, 1.0, 1.5, 2.0]),
        seconds=np.array([1.0, 1.0, 2.0, 2.0]),
        scores=np.array([0.2, 0.4, 0.4, 0.6]),
        missing=0,
    )
    assert math.isnan(done.score_after(0.4))
    assert [done.score_after(spent) for spent in (0.5, 1.4, 1.9, 9)] == [0.2, 0.4, 0.4, 0.6]
    assert [done.trainings_until(score) for score in (0.1, 0.4, 0.6)] == [0.5, 1.0, 2.0]
    assert done.trainings_until(0.61) == math.inf


@pytest.mark.parametrize("sampler", ["random", "recipe", "tpe", "qmc"])
def test_without_a_scheduler_each_trial_is_trained_once_to_its_end(
    recorded: Recorded, sampler: str
) -> None:
    done = replay(recorded, way("none", sampler), seed=3, slots=2)
    assert len(done.scores) == TRIALS * EPOCHS
    assert done.trainings[-1] == pytest.approx(TRIALS)
    assert done.scores[-1] == recorded.best
    assert (done.missing, list(done.scores)) == (0, sorted(done.scores))


def test_the_order_is_the_seeds_and_the_reports_are_those_of_the_record(
    recorded: Recorded, whole: RunFolder
) -> None:
    one, same, other = (replay(recorded, way(), seed, slots=1).scores for seed in (1, 1, 2))
    assert list(one) == list(same)
    assert list(one) != list(other)
    # The recipe comes first, as in every search.
    recipe = read_run(whole).record.trials[0]
    assert one[EPOCHS - 1] == recipe.score
    seen = {report.score for trial in read_run(whole).record.trials for report in trial.reports}
    assert set(one) <= seen


def test_a_scheduler_spends_less(recorded: Recorded) -> None:
    spent = replay(recorded, way("asha"), seed=1, slots=2).trainings[-1]
    assert spent < 2 / 3 * TRIALS


def test_a_replay_ends_where_the_record_ends(stopped: RunFolder) -> None:
    record = read_run(stopped).record
    short = [trial for trial in record.trials if len(trial.reports) < EPOCHS]
    recorded = recorded_in([opened(stopped)])
    assert recorded.stopped == len(short) > 0
    done = replay(recorded, way(), seed=1, slots=1)
    assert done.missing == len(short)
    reports = sum(len(trial.reports) for trial in record.trials)
    assert len(done.scores) == reports
    was = as_recorded(read_run(stopped))
    assert was.trainings[-1] == pytest.approx(reports / EPOCHS)
    assert record.winner is not None
    assert was.scores[-1] == record.winner.score


def test_runs_of_the_same_data_are_replayed_together(
    whole: RunFolder, stopped: RunFolder, tmp_path: Path
) -> None:
    both = recorded_in([opened(whole), opened(stopped)])
    # The recipe was trained in both.
    assert len(both.curves(both.base)) == 2
    assert TRIALS < len(both.points) < 2 * TRIALS
    other = synthetic_run(tmp_path / "other", rising, space="full", trials=3, epochs=2)
    with pytest.raises(
        InputError,
        match=r"cannot be replayed together, as they differ in recipe's"
        r" epochs: 4 and 2$",
    ):
        recorded_in([opened(whole), opened(other)])


def test_a_fixed_list_has_nothing_to_replay(tmp_path: Path) -> None:
    listed = synthetic_run(tmp_path / "listed", rising, space="paper")
    with pytest.raises(InputError, match="there is nothing to replay, as no proposed trial"):
        recorded_in([opened(listed)])


def test_a_recipe_outside_of_the_space_is_replayed_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"space": "full", "recipe": "paper", "trials": 5, "epochs": 2}
    folder = synthetic_run(tmp_path / "outside", rising, **options)
    code, text = said(main, folder, "--seeds", 1, "--slots", 1)
    assert (code, "5 recorded trials" in text) == (0, True), text


def test_the_command_prints_a_table_and_writes_a_plot(stopped: RunFolder) -> None:
    code, text = said(main, stopped, "--seeds", 1, "--slots", 2, "--scheduler", "asha,none")
    assert code == 0
    for words in (
        "12 recorded trials, 2 slots, 1 seed",
        *("as recorded", "asha, recipe", "asha, random", "none, recipe", "none, random"),
        "The record carries only so far",
        "replay.html",
    ):
        assert words in text
    page = (stopped.path / "replay.html").read_text()
    assert "trainings spent" in page
    assert "<script src" not in page


def test_json_has_the_same_figures(whole: RunFolder) -> None:
    arguments = (whole, "--seeds", 1, "--sampler", "random", "--scheduler", "none")
    code, text = said(main, *arguments, "--json")
    content = json.loads(text)
    assert code == 0
    assert content["trials"] == TRIALS
    recorded, replayed = content["ways"]
    assert (recorded["name"], replayed["name"]) == ("as recorded", "none, random")
    assert replayed["trainings"] == recorded["trainings"] == pytest.approx(TRIALS)
    assert replayed["score_after_quartiles"]["8"][1] <= content["best_score"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sampler", "tpr"), "did you mean 'tpe'"),
        (("--sampler", "grid"), "can have any value in a range"),
        (("--sampler", "gp", "--scheduler", "asha"), "gp learns from finished trials alone"),
        (("--seeds", "0"), "give a whole number of at least 1 (got 0)"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_a_line(
    whole: RunFolder, arguments: tuple[str, ...], message: str
) -> None:
    code, text = said(main, whole, *arguments)
    assert code == 2
    assert message in text.splitlines()[-1]
