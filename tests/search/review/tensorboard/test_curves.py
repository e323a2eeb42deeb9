"""Curves of a search in TensorBoard: each point once, also after a kill."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from tensorboard.plugins.hparams import api_pb2  # type: ignore[import-untyped]

from minbert.tasks import TASK_NAMES
from search.driver import Job
from search.review.tensorboard.log import run_name
from search.review.tensorboard.mistakes import DevTexts
from tests.in_process import warnings_are_errors

from .logged_search import PREDICTIONS, Search, events, points, row, scored


def test_curves_are_over_training_examples(search: Callable[..., Search]) -> None:
    one = search(trials=1).go().end()
    folder = one.folder / "000 recipe"
    expected: dict[str, list[float]] = {
        "dev/score": [0.253333, 0.256667, 0.26],
        "dev/sst": [0.31, 0.32, 0.33],
        "dev/para": [0.3, 0.3, 0.3],
        "dev/sts": [0.15, 0.15, 0.15],
        "loss/sst": [1.5] * 3,
        "loss/para": [0.5] * 3,
        "loss/sts": [0.25] * 3,
        "train/lr": [2e-4] * 3,
        "train/grad_norm": [1.0] * 3,
        "train/negatives": [40, 80, 120],
        "train/tokens_per_second": [250.0] * 3,
    }
    curves = {tag: list(zip((100, 200, 300), v, strict=True)) for tag, v in expected.items()}
    # What came of it, at the examples that the kept checkpoint had seen.
    final = {"score": 0.26, "sst": 0.33, "para": 0.3, "sts": 0.15, "epochs": 3, "seconds": 7.5}
    curves |= {f"result/{name}": [(300, value)] for name, value in final.items()}
    found = points(folder)
    assert found.keys() == curves.keys()
    for tag, there in found.items():
        assert [step for step, _ in there] == [step for step, _ in curves[tag]]
        assert [v for _, v in there] == pytest.approx([v for _, v in curves[tag]], rel=1e-5), tag


def test_points_are_there_as_soon_as_they_are_reported(search: Callable[..., Search]) -> None:
    one = search().go(most=2)
    assert [step for step, _ in points(one.folder / "000 recipe")["dev/score"]] == [100, 200]


@pytest.mark.usefixtures("_no_picture")
@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_killed_and_resumed_no_point_is_doubled_or_lost(
    cut: int, tmp_path: Path, texts: DevTexts, search: Callable[..., Search]
) -> None:
    (tmp_path / "whole").mkdir()
    whole = Search(tmp_path / "whole", InMemoryStorage(), texts).go().end()
    killed = search().go(most=cut)
    # As a kill may leave it: the last record of a file torn, and a picture that was not removed.
    for file in killed.folder.rglob("*tfevents*"):
        file.write_bytes(file.read_bytes()[:-3])
    (killed.folder / "events.out.tfevents.1").write_bytes(b"torn")
    resumed = search().go().end()
    runs = sorted(path.name for path in whole.folder.iterdir() if path.is_dir())
    assert len(runs) == 7
    assert sorted(path.name for path in resumed.folder.iterdir() if path.is_dir()) == runs
    assert len(list(resumed.folder.glob("*tfevents*"))) == 1
    for run in runs:
        assert len(list((resumed.folder / run).iterdir())) == 1
        assert points(resumed.folder / run) == points(whole.folder / run)
        assert row(resumed.folder / run) == row(whole.folder / run)


@pytest.mark.usefixtures("_no_picture")
def test_the_log_is_a_function_of_the_record(tmp_path: Path, search: Callable[..., Search]) -> None:
    one = search().go().end()
    one.write_log(tmp_path / "again").__exit__()
    for folder in (path for path in one.folder.iterdir() if path.is_dir()):
        (live,) = folder.iterdir()
        (written,) = (tmp_path / "again" / folder.name).iterdir()
        assert live.read_bytes() == written.read_bytes()


@pytest.mark.usefixtures("_no_picture")
def test_an_interrupted_trial_ends_once(search: Callable[..., Search]) -> None:
    first = search().go(most=2).end()
    folder = first.folder / "000 recipe"
    values, status = row(folder)
    assert (values["ended"], status) == ("interrupted", None)
    assert points(folder)["result/epochs"] == [(200, 2.0)]
    search().go().end()
    values, status = row(folder)
    assert (values["ended"], status) == ("finished", api_pb2.STATUS_SUCCESS)
    assert points(folder)["result/epochs"] == [(300, 3.0)]
    assert [step for step, _ in points(folder)["dev/score"]] == [100, 200, 300]


@warnings_are_errors()
def test_a_search_without_a_score_is_shown_too(search: Callable[..., Search]) -> None:
    one = search(trials=1)
    job = one.driver.next_job(busy=False)
    assert isinstance(job, Job)
    nothing = scored(job.trial, 1).replace(score=math.nan, scores=dict.fromkeys(TASK_NAMES, 0.0))
    one.driver.reported(0, 1, nothing, PREDICTIONS)
    one.end()
    found = points(one.folder / "000 recipe")
    assert [(step, math.isnan(value)) for step, value in found["dev/score"]] == [(100, True)]
    assert "result/score" not in found
    assert found["result/epochs"] == [(0, 1.0)]
    assert row(one.folder / "000 recipe")[0]["ended"] == "failed"
    assert len(events(one.folder).Images("study")) == 1


@pytest.mark.parametrize(
    ("number", "name", "run"),
    [
        (7, "lr=2e-05 γ=0.52", "007 lr=2e-5 γ=.52"),
        (12, "dropout=0.105 negatives=0", "012 dropout=.105 negatives=0"),
        (7, "a/b: ../c (d)", "007 a b .. c d"),
        (1234, "../..", "1234 .. .."),
        (0, "one=1 " * 30, "000 one=1 one=1 one=1 one=1 one=1 one=1 one=1"),
        (5, "", "005"),
    ],
)
def test_run_names_are_short_and_safe_as_folders(
    number: int, name: str, run: str, search: Callable[..., Search]
) -> None:
    trial = search().trials[0]
    assert run_name(replace(trial, number=number, name=name)) == run
