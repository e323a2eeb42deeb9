"""Metrics of a search: their values, with a stand-in for Ray's metrics."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from optuna.storages import InMemoryStorage

from cluster.local import Cluster
from minbert.config import InputSettings
from minbert.tasks import Task
from search.driver import Driver, Job
from search.plan import make_plan
from search.propose.spaces import load_space
from search.record import SearchRecord, State
from search.settings import StudySettings
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from search.workers import metrics as metrics_module
from search.workers.metrics import SearchMetrics
from testkit.simulation import report_of

NOWHERE = LocalDirectory(Path("/nonexistent"))


# Values, with the metrics in place of Ray's

Tags = frozenset[tuple[str, str]]


class Shown:
    """In place of Ray's metrics: what was set last, by name and tags."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, Tags], float] = {}

    def metric(self, name: str, description: str, tag_keys: tuple[str, ...]) -> "FakeMetric":
        assert description.endswith(".")
        return FakeMetric(self, name, tag_keys)

    def of(self, name: str, **tags: str) -> float | None:
        return self.values.get((name, frozenset({"study": "s", **tags}.items())))

    def of_trial(self, number: int) -> dict[str, float]:
        """All values of a trial, by name and task."""
        return {
            " ".join([name, *(text for key, text in tags if key == "task")]): value
            for (name, tags), value in self.values.items()
            if ("trial", str(number)) in tags
        }

    @property
    def states(self) -> dict[str, float]:
        """Trials by state, without the states that none is in."""
        counts = {state: self.of("minbert_trials", state=state) for state in get_args(State)}
        assert None not in counts.values()
        return {state: count for state, count in counts.items() if count}


@dataclass
class FakeMetric:
    shown: Shown
    name: str
    tag_keys: tuple[str, ...]

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self.tag_keys
        assert all(text.isascii() for text in tags.values())
        self.shown.values[self.name, frozenset(tags.items())] = value

    def inc(self, tags: dict[str, str]) -> None:
        before = self.shown.values.get((self.name, frozenset(tags.items())), 0)
        self.set(before + 1, tags)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    monkeypatch.setattr(metrics_module, "Gauge", shown.metric)
    monkeypatch.setattr(metrics_module, "Counter", shown.metric)
    monkeypatch.setattr(metrics_module, "_SECONDS_BETWEEN_REFRESHES", 0)
    return shown


def open_search(**settings: Any) -> tuple[Driver, SearchMetrics]:
    checked = StudySettings.check(
        {"space": "weights", "epochs": 4, "reports_per_epoch": 1, "pruner": "none", **settings}
    )
    plan = make_plan(checked, InputSettings(), load_space(checked.space))
    study = Study.create(InMemoryStorage(), "s", {})
    store, predictions = CheckpointStore(NOWHERE), DevPredictions(NOWHERE)
    driver = Driver(study, plan, checked, store, predictions).open()
    driver.record.slots = 2
    metrics = SearchMetrics("s", driver.record)
    driver.watchers.append(metrics)
    return driver, metrics


def begin(driver: Driver) -> Job:
    job = driver.next_job(busy=False)
    assert isinstance(job, Job)
    driver.started(job.trial.number)
    return job


def report(driver: Driver, job: Job, sst: float, para: float, sts: float) -> bool:
    """Report these scores: 900 tokens in 2 seconds."""
    scores: dict[Task, float] = {"sst": sst, "para": para, "sts": sts}
    made = report_of(job.trial, len(job.trial.reports) + 1, scores)
    made = made.replace(tokens=900, train_seconds=2.0)
    return driver.reported(job.trial.number, job.attempt.number, made, b"")


def test_values_of_a_running_trial(shown: Shown) -> None:
    driver, metrics = open_search(trials=3)
    baseline = begin(driver)
    metrics.refresh()
    assert shown.of_trial(0) == {"minbert_trial_progress_ratio": 0.0}
    assert shown.of("minbert_best_score") is None
    metrics.used(0, resident=500, cuda=0)
    report(driver, baseline, 0.25, 0.5, 0.75)
    assert shown.of_trial(0) == {
        "minbert_trial_score": 0.5,
        "minbert_trial_task_score sst": 0.25,
        "minbert_trial_task_score para": 0.5,
        "minbert_trial_task_score sts": 0.75,
        "minbert_trial_progress_ratio": 0.25,
        "minbert_trial_tokens_per_second": 450.0,
        "minbert_trial_resident_memory_bytes": 500,
    }
    assert shown.of("minbert_trial_score", trial="0", configuration="recipe") == 0.5
    metrics.used(0, resident=600, cuda=7_000)
    report(driver, baseline, 0.0, 0.25, 0.5)
    assert shown.of("minbert_trial_score", trial="0", configuration="recipe") == 0.25
    assert shown.of_trial(0)["minbert_trial_resident_memory_bytes"] == 600
    assert shown.of_trial(0)["minbert_trial_cuda_max_memory_bytes"] == 7_000
    metrics.refresh()
    # Of the checkpoint that it keeps.
    assert shown.of("minbert_best_score") == 0.5
    assert shown.of("minbert_reports_total") == 2
    assert shown.of("minbert_trials_planned") == 3
    assert shown.of("minbert_slots") == 2
    assert shown.of("minbert_slots_busy") == 1


def test_what_does_not_run_is_not_set_again(shown: Shown) -> None:
    driver, metrics = open_search(trials=7)
    baseline, first = begin(driver), begin(driver)
    for job in (baseline, first):
        metrics.used(job.trial.number, resident=500, cuda=0)
    assert not report(driver, first, 0.1, 0.1, 0.1)
    assert first.trial.state == "paused"
    assert shown.of_trial(1)["minbert_trial_score"] == pytest.approx(0.1)
    shown.values.clear()
    metrics.refresh()
    assert shown.of_trial(1) == {}
    assert shown.of_trial(0) == {
        "minbert_trial_progress_ratio": 0.0,
        "minbert_trial_resident_memory_bytes": 500,
    }


def test_a_trial_is_in_one_state_at_a_time(shown: Shown) -> None:
    driver, metrics = open_search(trials=4, epochs=2, retries=1)

    def states() -> dict[str, float]:
        metrics.refresh()
        assert sum(shown.states.values()) == len(driver.study.trials)
        return shown.states

    assert states() == {"waiting": 1}
    baseline = begin(driver)
    assert states() == {"running": 1}
    low = begin(driver)
    report(driver, low, 0.1, 0.1, 0.1)
    assert states() == {"running": 1, "paused": 1}
    broken = begin(driver)
    driver.failed(2, 1, "crashed", "no such luck")
    assert states() == {"running": 1, "paused": 1, "interrupted": 1}
    broken = begin(driver)
    assert (broken.trial.number, broken.attempt.number) == (2, 2)
    assert states() == {"running": 2, "paused": 1}
    driver.failed(2, 2, "crashed", "no such luck")
    assert states() == {"running": 1, "paused": 1, "failed": 1}
    assert shown.of("minbert_slots_busy") == 1
    # The third at the rung: the best of the rung continues.
    high = begin(driver)
    report(driver, baseline, 0.3, 0.3, 0.3)
    assert report(driver, high, 0.4, 0.4, 0.4)
    assert states() == {"running": 2, "stopped": 1, "failed": 1}
    report(driver, high, 0.9, 0.9, 0.9)
    report(driver, baseline, 0.2, 0.2, 0.2)
    assert states() == {"finished": 2, "stopped": 1, "failed": 1}
    assert shown.of("minbert_best_score") == pytest.approx(0.9)


def test_a_score_that_is_no_number_is_not_shown(shown: Shown) -> None:
    driver, metrics = open_search(trials=2)
    baseline = begin(driver)
    report(driver, baseline, 0.2, 0.2, 0.2)
    shown.values.clear()
    assert not report(driver, baseline, 0.2, 0.2, math.nan)
    assert set(shown.of_trial(0)) == {
        *("minbert_trial_progress_ratio", "minbert_trial_tokens_per_second"),
        *("minbert_trial_task_score sst", "minbert_trial_task_score para"),
    }
    metrics.refresh()
    assert shown.states == {"failed": 1}
    # A trial that failed cannot win.
    assert shown.of("minbert_best_score") is None
    assert metrics.problem is None


def test_an_error_of_the_metrics_does_not_reach_the_search(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no exporter")

    monkeypatch.setattr(metrics_module, "Gauge", broken)
    driver, metrics = open_search(trials=2)
    baseline = begin(driver)
    assert report(driver, baseline, 0.2, 0.2, 0.2)
    assert metrics.problem is not None
    metrics.refresh()
    assert report(driver, baseline, 0.2, 0.2, 0.2)
    assert caplog.messages == ["the metrics stopped: RuntimeError: no exporter"]


def test_tags_are_spelt_in_ascii(shown: Shown) -> None:
    driver, metrics = open_search(trials=2)
    begin(driver)
    drawn = begin(driver)
    report(driver, drawn, 0.5, 0.5, 0.5)
    (configuration,) = {
        text for _, tags in shown.values for key, text in tags if key == "configuration"
    } - {"recipe"}
    assert re.fullmatch(r"alpha=\d\.\d\d beta=\d\.\d\d gamma=\d\.\d\d", configuration)
    SearchMetrics("zoë", SearchRecord(0)).refresh()
    assert ("minbert_slots", frozenset({("study", r"zo\xeb")})) in shown.values
    assert metrics.problem is None


def test_refreshing_often_costs_little(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "_SECONDS_BETWEEN_REFRESHES", 1000)
    driver, metrics = open_search(trials=2)
    metrics.refresh()
    assert shown.states == {"waiting": 1}
    begin(driver)
    metrics.refresh()
    assert shown.states == {"waiting": 1}


@pytest.mark.parametrize(
    ("dashboard", "head", "tunnel"),
    [
        (None, "10.0.0.7", None),
        ("http://127.0.0.1:8265", None, None),
        ("http://127.0.0.1:8265", "10.0.0.7", "ssh -N -L 8265:127.0.0.1:8265 10.0.0.7"),
        ("http://10.0.0.7:8266", "10.0.0.7", "ssh -N -L 8266:10.0.0.7:8266 10.0.0.7"),
    ],
)
def test_tunnel_to_the_dashboard(
    dashboard: str | None, head: str | None, tunnel: str | None
) -> None:
    assert Cluster(dashboard=dashboard, head=head).tunnel == tunnel
