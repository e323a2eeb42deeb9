"""What TensorBoard shows of a search: curves, hyperparameters, texts, a picture, and its server."""

import html
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]  # has no types
    EventAccumulator,
)
from tensorboard.plugin_util import (  # type: ignore[import-untyped]
    markdown_to_safe_html,
)
from tensorboard.plugins.hparams import api_pb2, metadata  # type: ignore[import-untyped]

from minbert.config import InputSettings
from minbert.errors import InputError, escape_markdown
from minbert.examples import Dataset, Split
from minbert.hub import Pretrained
from minbert.report import Report
from minbert.tasks import TASK_NAMES, Task
from search.driver import Driver, Job
from search.plan import make_plan
from search.propose.spaces import load_space
from search.record import TrialRecord
from search.review.tensorboard import log as tensorboard
from search.review.tensorboard import server
from search.review.tensorboard.log import TensorBoardLog, domain_of, run_name
from search.review.tensorboard.mistakes import (
    DevTexts,
    Mistake,
    mean_overlaps,
    word_overlap,
    worst_rows,
)
from search.review.tensorboard.server import tensorboard_server
from search.review.tensorboard.study_picture import study_picture
from search.review.tensorboard.trial_text import trial_text
from search.settings import StudySettings
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions, pack_predictions
from search.storage.study import Study
from testkit.browser import Browser
from testkit.simulation import report_of
from testkit.waiting import PATIENCE, wait_for
from tests.in_process import warnings_are_errors

SPACE = """\
from spaces.weights import suggest_weights

def space(trial):
    return {
        "loss_weights": suggest_weights(trial),
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "radam"]),
        "batch_size": trial.suggest_categorical("batch_size", [64, 16]),
        "lr": trial.suggest_float("my_lr", 1e-5, 1e-3, log=True),
        "schedule": "linear",
    }
"""


class Search:
    """A driver with its log on made-up scores, which are a function of trial and step.

    Args:
        folder: for predictions and log.
        storage: with the study, or empty.
        texts: of the data.
    """

    def __init__(self, folder: Path, storage: BaseStorage, texts: DevTexts, **settings: Any):
        (folder / "mine.py").write_text(SPACE)
        given = {"space": str(folder / "mine.py"), "epochs": 3, "reports_per_epoch": 1}
        checked = StudySettings.check({**given, "trials": 7, "pruner": "none", **settings})
        plan = make_plan(checked, InputSettings(), load_space(checked.space))
        try:
            study = Study.load(storage, "s")
        except InputError:
            study = Study.create(storage, "s", {})
        self.predictions = DevPredictions(LocalDirectory(folder / "predictions"))
        store = CheckpointStore(LocalDirectory(folder / "checkpoints"))
        self.driver = Driver(study, plan, checked, store, self.predictions).open()
        self.trials = self.driver.study.trials
        self.folder = folder / "tensorboard"
        self.texts, self.plan = texts, plan
        self.log = self.write_log(self.folder)
        self.driver.watchers.append(self.log)

    def write_log(self, folder: Path) -> TensorBoardLog:
        driver = self.driver
        return TensorBoardLog(
            folder, driver.record, self.plan, driver.pareto_front, self.texts, self.predictions
        )

    def go(self, most: int = 1000) -> "Search":
        """Run so many reports on one slot; trial 3 fails before it comes to one."""
        while most and isinstance(job := self.driver.next_job(busy=False), Job):
            number, attempt = job.trial.number, job.attempt.number
            self.driver.started(number)
            if number == 3:
                self.driver.failed(3, attempt, "diverged", "the loss of *all* is <nan>")
                continue
            continues = True
            while continues and most:
                report = scored(job.trial, len(job.trial.reports) + 1)
                continues = self.driver.reported(number, attempt, report, PREDICTIONS)
                most -= 1
        return self

    def end(self) -> "Search":
        self.driver.leave()
        self.log.__exit__()
        return self


PREDICTIONS = pack_predictions(
    {
        "sst": np.arange(24, dtype=np.float32) % 3,
        "para": np.ones(24, dtype=np.float32),
        "sts": np.full(24, 2.5, dtype=np.float32),
    }
)


def scored(trial: TrialRecord, step: int) -> Report:
    base = 0.3 + 0.05 * ((3 * trial.number) % 7)
    scores: dict[Task, float] = {"sst": base + 0.01 * step, "para": base, "sts": base / 2}
    return report_of(trial, step, scores).replace(
        examples=100 * step,
        losses={"sst": 1.5, "para": 0.5, "sts": 0.25},
        negatives=40 * step,
        tokens=500,
        train_seconds=2.0,
        dev_seconds=0.5,
    )


@pytest.fixture(scope="module")
def texts(dataset: Dataset, tiny: Pretrained) -> DevTexts:
    return DevTexts(dataset, tiny.tokenizer())


@pytest.fixture
def search(tmp_path: Path, texts: DevTexts) -> Callable[..., Search]:
    """Opens a driver and its log on a study, the same one each time."""
    storage = InMemoryStorage()
    return lambda **settings: Search(tmp_path, storage, texts, **settings)


@pytest.fixture
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pictures are not looked at: one takes a third of a second."""
    monkeypatch.setattr(tensorboard, "study_picture", lambda *_: (b"", 1, 1))


def events(folder: Path) -> Any:
    loaded = EventAccumulator(str(folder))
    loaded.Reload()
    return loaded


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All scalar points of a run, by tag."""
    run = events(folder)
    return {tag: [(e.step, e.value) for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]}


def about_hparams(folder: Path, tag: str) -> bytes:
    return bytes(events(folder).SummaryMetadata(tag).plugin_data.content)


def row(folder: Path) -> tuple[dict[str, Any], Any]:
    """A run's hyperparameters with their types, and its status; None where it has none."""
    run = events(folder)
    tags = run.Tags()["tensors"]
    start = metadata.parse_session_start_info_plugin_data(
        about_hparams(folder, metadata.SESSION_START_INFO_TAG)
    )
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    if metadata.SESSION_END_INFO_TAG not in tags:
        return values, None
    end = metadata.parse_session_end_info_plugin_data(
        about_hparams(folder, metadata.SESSION_END_INFO_TAG)
    )
    return values, end.status


def text_of(folder: Path) -> str:
    (event,) = events(folder).Tensors("trial")
    return str(event.tensor_proto.string_val[0].decode())


# Curves


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
def test_a_trial_that_was_cut_short_ends_once(search: Callable[..., Search]) -> None:
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


# Hyperparameters


def test_hyperparameters_have_their_types_and_domains(search: Callable[..., Search]) -> None:
    # Another learning rate and another batch size than the space has.
    one = search(trials=4, try_=["lr=2e-3,batch_size=128"]).go().end()
    experiment = metadata.parse_experiment_plugin_data(
        about_hparams(one.folder, metadata.EXPERIMENT_TAG)
    )
    interval = {
        info.name: (info.domain_interval.min_value, info.domain_interval.max_value)
        for info in experiment.hparam_infos
        if info.type == api_pb2.DATA_TYPE_FLOAT64
    }
    discrete = {
        info.name: [value.string_value for value in info.domain_discrete.values]
        for info in experiment.hparam_infos
        if info.type == api_pb2.DATA_TYPE_STRING
    }
    # The schedule, which is the same in all trials, would be an idle column.
    assert interval == {
        "α": (0, 1),
        "β": (0, 1),
        "γ": (0, 1),
        "batch_size": (16, 128),
        "lr": (1e-5, 2e-3),
    }
    assert discrete == {
        "optimizer": ["adamw", "radam"],
        "ended": ["failed", "finished", "interrupted", "paused", "stopped"],
    }
    shown = [(info.name.tag, info.display_name) for info in experiment.metric_infos]
    names = ["score", "sst", "para", "sts", "epochs", "seconds"]
    assert shown == [(f"result/{name}", name) for name in names]


def test_domains_hold_what_there_is() -> None:
    for values, kind, interval, discrete in (
        ([0.3, 0.1], api_pb2.DATA_TYPE_FLOAT64, (0.1, 0.3), []),
        ([3, 8, 1], api_pb2.DATA_TYPE_FLOAT64, (1, 8), []),
        ([True, False, True], api_pb2.DATA_TYPE_BOOL, (0, 0), [False, True]),
        (["b", "a", "b"], api_pb2.DATA_TYPE_STRING, (0, 0), ["a", "b"]),
    ):
        info = api_pb2.HParamInfo()
        domain_of(values).update_hparam_info(info)
        assert info.type == kind
        assert (info.domain_interval.min_value, info.domain_interval.max_value) == interval
        found = [getattr(v, v.WhichOneof("kind")) for v in info.domain_discrete.values]
        assert found == discrete


@pytest.mark.usefixtures("_no_picture")
@pytest.mark.parametrize(("most", "unfinished"), [(8, "paused"), (11, "interrupted")])
def test_every_trial_is_a_row_with_its_own_values(
    most: int, unfinished: str, search: Callable[..., Search]
) -> None:
    one = search().go(most).end()
    states = [trial.state for trial in one.trials]
    assert set(states) == {"finished", "stopped", "failed", unfinished}
    for trial in one.trials:
        values, status = row(one.folder / run_name(trial))
        config = trial.config
        assert values == {
            **dict(zip("αβγ", trial.weights.values(), strict=True)),
            "optimizer": config.optimizer,
            "batch_size": config.batch_size,
            "lr": config.lr,
            "ended": trial.state,
        }
        over = {"finished": api_pb2.STATUS_SUCCESS, "failed": api_pb2.STATUS_FAILURE}
        over["stopped"] = api_pb2.STATUS_SUCCESS
        assert status == over.get(trial.state)
    # A row is a group of its own, of which two never become one.
    failed = one.folder / run_name(one.trials[3])
    start = metadata.parse_session_start_info_plugin_data(
        about_hparams(failed, metadata.SESSION_START_INFO_TAG)
    )
    assert start.group_name == failed.name
    assert points(failed) == {"result/epochs": [(0, 0.0)], "result/seconds": [(0, 0.0)]}


def test_a_configuration_that_was_refused_is_not_shown_as_the_recipes(
    search: Callable[..., Search],
) -> None:
    one = search(trials=2)
    refused = TrialRecord(1, "refused", {}, one.plan.base, origin="tpe", error="lr: too high")
    one.driver.study.add_trial(refused)
    one.log.ended(refused)
    assert row(one.folder / "001 refused") == ({"ended": "failed"}, api_pb2.STATUS_FAILURE)
    assert "Differences from" not in text_of(one.folder / "001 refused")
    assert "recipe" not in text_of(one.folder / "001 refused")


# Texts


def shown(markdown: str) -> str:
    """What a person reads of a text."""
    return html.unescape(re.sub("<[^>]*>", "", markdown_to_safe_html(markdown)))


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert('a')</script> & <b>bold</b> &lt; &#65;",
        "**strong** _low_ __init__ `code` ~~gone~~ [link](http://a.b) ![image](x) http://c.d",
        "a | b || c \\| d \\ e",
        "1. first # title > quote - item + item * item = = ---",
        "two\nlines\r\n\r\n    and\ta \x00tab\u2028",
        "ünïcode 漢字 🙂 ﷽",
    ],
)
def test_sentences_of_strangers_are_shown_as_they_are(text: str) -> None:
    one_line = " ".join(text.replace("\x00", " ").split())
    cell = escape_markdown(text)
    page = markdown_to_safe_html(f"| head | other |\n| --- | --- |\n| {cell} | end |")
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [one_line, "end"]
    assert "<" not in cells[0]
    paragraph = markdown_to_safe_html(f"### {cell}\n\n- {cell}")
    assert html.unescape(re.findall(r"<li>(.*?)</li>", paragraph)[0]) == one_line


def test_a_trials_text_says_what_it_is_and_what_became_of_it(
    search: Callable[..., Search],
) -> None:
    one = search(trials=4, scheduler="none").go().end()
    lines = shown(text_of(one.folder / run_name(one.trials[1]))).splitlines()
    trial = one.trials[1]
    assert lines[:2] == ["Trial 1", "finished: all epochs are trained"]
    assert "It keeps the checkpoint of report 3 of 3: score 0.385 (sst 0.480" in lines[2]
    assert lines[3].startswith("Differences from the recipe (random start): α=")
    assert f"lr={trial.config.lr:.3g}" in lines[3]
    assert "Attempt 1, start" in lines
    assert "Report 3, finish: all epochs are trained" in lines
    assert "Worst dev mistakes, report 3" in lines
    rest = lines[lines.index("The rest of its configuration") + 1]
    assert rest.startswith("train_tasks=sst,para,sts, pooling=mean")
    assert "lr=" not in rest.replace("head_lr", "")
    failed = shown(text_of(one.folder / run_name(one.trials[3]))).splitlines()
    assert failed[:3] == [
        "Trial 3",
        "failed: the loss of *all* is <nan>",
        "It keeps no checkpoint.",
    ]
    assert not any("mistakes" in line for line in failed)


# Mistakes


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("How do I cook rice?", "how do I cook RICE", 1.0),
        ("a b c", "b c d", 0.5),
        ("the the the cat", "the dog", 1 / 3),
        ("a cat", "two dogs", 0.0),
        ("?!", "...", 0.0),
    ],
)
def test_overlap_of_words(first: str, second: str, overlap: float) -> None:
    assert word_overlap(first, second) == overlap


def test_worst_is_farthest_from_the_label() -> None:
    labels = np.array([0, 1, 2, 3, 4], np.float32)
    predictions = np.array([1, 1, 0, 0, 3], np.uint8)
    assert worst_rows("sst", predictions, labels, None, 5) == [3, 2, 0, 4]
    assert worst_rows("sst", predictions, labels, None, 2) == [3, 2]
    similar = np.array([0.5, 1.0, 4.5, 3.0, 3.9], np.float32)
    assert worst_rows("sts", similar, labels, np.ones(5), 3) == [2, 0, 4]


def test_worst_paraphrases_are_those_that_go_by_shared_words() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1], np.float32)
    predictions = np.array([1, 1, 0, 0, 0, 1], np.uint8)
    overlaps = np.array([0.5, 0.9, 0.2, 0.95, 1.0, 0.0])
    # Wrongly yes at .5 and .9; wrongly no at .2 (misled by .8) and .95 (by .05).
    assert worst_rows("para", predictions, labels, overlaps, 9) == [1, 2, 0, 3]
    assert mean_overlaps(predictions, labels, overlaps) == (0.7, 1.0)
    # No pair was taken for a paraphrase: the three that are none share .5, .9 and 1.
    assert mean_overlaps(predictions * 0, labels, np.array([0.5, 0.75, 0, 0, 1, 0])) == (None, 0.75)


def written_split(
    task: Task, rows: Sequence[tuple[str, ...]], labels: list[float], tiny: Pretrained
) -> Split:
    """Sentences as the tokenizer gives them, each row's own."""
    tokenizer = tiny.tokenizer()
    sentences = [tokenizer.encode(s, add_special_tokens=False).ids for row in rows for s in row]
    numbers = np.arange(len(sentences), dtype=np.int32).reshape(len(rows), -1)
    return Split(
        task=task,
        ids=np.arange(len(rows)).astype(str),
        tokens=np.concatenate([np.array(ids, np.int32) for ids in sentences]),
        offsets=np.cumsum([0, *map(len, sentences)]),
        first=numbers[:, 0],
        second=numbers[:, 1] if numbers.shape[1] == 2 else None,
        labels=np.array(labels, np.float32),
    )


def test_mistakes_of_a_data_set(
    dataset: Dataset, tiny: Pretrained, search: Callable[..., Search]
) -> None:
    sentiment = [("the dog likes a song .",), ("the cat finds a tree .",)]
    pairs = [
        ("the dog sees the sea .", "the sea sees the dog ."),
        ("the man wants a book .", "a horse hears some bread ."),
    ]
    splits: dict[Task, Any] = {
        "sst": {"dev": written_split("sst", sentiment, [4, 1], tiny)},
        "para": {"dev": written_split("para", pairs, [0, 0], tiny)},
        "sts": {"dev": written_split("sts", pairs, [1.5, 3], tiny)},
    }
    texts = DevTexts(replace(dataset, splits=splits), tiny.tokenizer())
    predictions: dict[Task, np.ndarray] = {
        "sst": np.array([1, 1], np.uint8),
        "para": np.array([1, 0], np.uint8),
        "sts": np.array([4.75, 3], np.float32),
    }
    (sst,) = texts.worst("sst", predictions["sst"], 5)
    (para,) = texts.worst("para", predictions["para"], 5)
    (sts,) = texts.worst("sts", predictions["sts"], 5)
    same = ("the dog sees the sea.", "the sea sees the dog.")
    assert sst == Mistake(("the dog likes a song.",), 4.0, 1.0, None)
    assert para == Mistake(same, 0.0, 1.0, 1.0)
    assert sts == Mistake(same, 1.5, 4.75, 1.0)
    one = search(trials=1).go(most=1).end()
    text = trial_text(one.trials[0], {}, texts, predictions)
    page = markdown_to_safe_html(text)
    rows = [
        [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    ]
    assert [row for row in rows if row] == [
        ["the dog likes a song.", "4", "1"],
        [*same, "no", "yes", "100 %"],
        [*same, "1.5", "4.8", "100 %"],
    ]
    # Of the nine words of the second pair both have one: "a".
    assert (
        "those predicted as paraphrases share 100 % of their words on average, the others 11 %."
        in shown(text)
    )


# The picture


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def test_the_study_has_one_picture(search: Callable[..., Search]) -> None:
    one = search()
    assert events(one.folder).Tags()["images"] == []
    one.go().end()
    (image,) = events(one.folder).Images("study")
    assert image.step == sum(len(trial.reports) for trial in one.trials)
    assert (image.width, image.height) == size_of(image.encoded_image_string) == (800, 700)


@pytest.mark.parametrize(("seconds", "times"), [(60.0, 1), (-1.0, 8)])
def test_pictures_are_drawn_seldom(
    seconds: float, times: int, search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "_SECONDS_BETWEEN_PICTURES", seconds)
    drawn = []

    def picture(record: Any, *_: Any) -> tuple[bytes, int, int]:
        drawn.append(record)
        return b"", 1, 1

    monkeypatch.setattr(tensorboard, "study_picture", picture)
    search().go().end()
    assert len(drawn) == times


@pytest.mark.parametrize("tasks", [TASK_NAMES, TASK_NAMES[:2], TASK_NAMES[2:]])
def test_pictures_of_fewer_tasks(tasks: tuple[Task, ...], search: Callable[..., Search]) -> None:
    one = search().go()
    png, width, height = study_picture(one.driver.record, one.driver.pareto_front, tasks)
    assert size_of(png) == (width, height)


# The server


def answers_at(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((str(urlsplit(address).hostname), urlsplit(address).port or 0)) == 0


def test_a_server_that_dies_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho starting\necho 'no such plugin'\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    said = rf"TensorBoard does not start: no such plugin \(see {tmp_path}/log\)"
    with pytest.raises(InputError, match=said), tensorboard_server(tmp_path, tmp_path / "log"):
        pass


def test_of_two_servers_that_find_the_same_port_free_each_is_told_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_is_free", lambda _: True)
    with tensorboard_server(tmp_path / "one", tmp_path / "one.log") as first:
        port = urlsplit(first).port or 0
        monkeypatch.setattr(server, "_PORTS", range(port, port + 9))
        with tensorboard_server(tmp_path / "two", tmp_path / "two.log") as second:
            assert urlsplit(second).port not in (None, port)
            for address, name in ((first, "one"), (second, "two")):
                with urllib.request.urlopen(f"{address}data/environment") as answer:
                    assert json.load(answer)["data_location"] == str(tmp_path / name)


def test_no_free_port_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(server, "_PORTS", range(port, port + 1))
        with (
            pytest.raises(InputError, match=f"no port is free from {port} to {port}"),
            tensorboard_server(tmp_path, tmp_path / "log"),
        ):
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_server_ends_with_its_search_and_prints_nothing(tmp_path: Path, number: int) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from search.review.tensorboard.server import tensorboard_server\n"
        "folder = Path(sys.argv[1])\n"
        "try:\n"
        "    with tensorboard_server(folder, folder / 'log') as address:\n"
        "        print(address, flush=True)\n"
        "        time.sleep(float(sys.argv[2]))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), str(PATIENCE)],
        cwd=Path(server.__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert answers_at(address)
    (served,) = psutil.Process(process.pid).children()
    # As a terminal does it: to the whole group of processes.
    os.killpg(process.pid, number)
    is_killed = number == signal.SIGKILL
    assert process.stdout.read() == ("" if is_killed else "interrupted\n")
    assert process.wait(timeout=PATIENCE) == (-signal.SIGKILL if is_killed else 0)
    # Whoever started it, nobody may wait for it any more.
    wait_for(lambda: not served.is_running() or served.status() == psutil.STATUS_ZOMBIE)


def test_a_person_sees_curves_and_the_table_of_trials(
    search: Callable[..., Search], browser: Browser, tmp_path: Path
) -> None:
    one = search().go(most=8).end()
    rows = []
    for trial in one.trials:
        scores = [] if trial.kept is None else [trial.kept.score, *trial.kept.scores.values()]
        numbers = [trial.config.lr, *trial.weights.values(), *scores, len(trial.reports)]
        cells = [run_name(trial), trial.state, *(f"{number:#.5g}" for number in numbers)]
        rows.append(" ".join(cells))
    assert rows[0] == (
        "000 recipe finished 0.00020000 0.33333 0.33333 0.33333 0.26000 0.33000 0.30000 0.15000 "
        "3.0000"
    )
    with tensorboard_server(one.folder, tmp_path / "log") as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:6\d\d\d/", address)
        browser.open(f"{address}#timeseries")
        # Below a chart stands the last point of each run: smoothed, its value, its step.
        browser.wait_to_read("/score", "000 recipe 0.2578 0.26 300")
        # Another query, as the page would not be loaded anew; wide, so that no column is hidden.
        browser.open(f"{address}?#hparams", width=3000)
        heading = "Trial ID Show Metrics ended lr α β γ score sst para sts epochs"
        browser.wait_to_read(f"{heading} {' '.join(rows)} ")
        # Text has its values to choose from, numbers have a range.
        browser.wait_to_read("ended failed finished interrupted paused stopped lr Min")
        browser.wait_to_read("optimizer adamw radam Metrics", "session groups: 5")
    assert not answers_at(address)
