"""Metrics of a search: their values, and what Prometheus and the Ray dashboard show of one."""

import contextlib
import json
import math
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from optuna.storages import InMemoryStorage
from ray._private import ray_constants
from selenium.webdriver.common.by import By

import cluster
from cluster.local import Cluster, guard_token
from minbert.config import InputSettings
from minbert.report import Report
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
from testkit.browser import Browser
from testkit.simulation import report_of
from testkit.waiting import PATIENCE, wait_for
from tests.faults.searches import Search, read, search
from tests.gate import Gate

ROOT = Path(__file__).parents[3]
CONFIGURATION = Path(cluster.__file__).parent / "monitoring" / "prometheus.yml"
SLOTS = r"Hardware .*: (\d+) trials? at once"
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
    # The third at the rung: the best of it goes on.
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


# One running search, as Prometheus and the dashboard show it


def test_the_token_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    # Where there is none nothing is made.
    guard_token()
    assert not token.exists()
    token.touch(mode=0o644)
    guard_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


@dataclass
class Running:
    """A search that runs; its trials wait after their third reports.

    Attributes:
        dashboard: address, such as ``http://127.0.0.1:8265``.
    """

    search: Search
    dashboard: str
    token: str

    def of_dashboard(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        return fetch(urllib.request.Request(f"{self.dashboard}{path}", headers=headers))


def fetch(request: urllib.request.Request | str) -> Any:
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


@contextmanager
def started(*command: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of a test, ended as Ctrl-C ends it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def agents_port() -> Iterator[None]:
    """The one port that Ray's agents listen on by default is taken, as by another cluster."""
    with contextlib.ExitStack() as stack:
        # Where it cannot be had, it is taken already.
        with contextlib.suppress(OSError):
            port = ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


@pytest.fixture(scope="module")
def running(
    agents_port: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
    course_folder: Path,
) -> Iterator[Running]:
    """A search that has come to a stop: what is not paused or over waits at the gate."""
    folder = tmp_path_factory.mktemp("running")
    gate = Gate(folder / "gate")
    gate.hold(3)
    token = secrets.token_hex(16)
    options = ["--data", str(course_folder), "--encoder", "tiny", "--epochs", "1000"]
    options += ["--trials", "4", "--pruner", "none"]
    environment = {
        **os.environ,
        "RAY_AUTH_TOKEN": token,
        "RAY_metrics_report_interval_ms": "2000",
    }
    with search(folder / "watched", *options, environment=environment, gate=gate) as one:
        found = one.wait_for_words(r"Dashboard (http://127\.0\.0\.1:\d+)\n")
        slots = int(one.wait_for_words(SLOTS)[1])

        def has_stopped() -> bool:
            study = one.study()
            trials = study.trials if study else []
            running = {t.number for t in trials if not t.is_over and t.state != "paused"}
            held = gate.waiting().keys()
            return 0 in held and running == held and (len(held) == slots or len(trials) == 4)

        wait_for(has_stopped, lambda: f"all trials wait; the search said: {one.said}")
        yield Running(one, found[1], token)
        one.process.send_signal(signal.SIGINT)
        one.end()


def test_everything_listens_on_loopback_alone(running: Running) -> None:
    """The search and all that Ray starts for it: dashboard, agent, exporter, workers."""
    parents = {
        int(path.parent.name): int(path.read_text().rpartition(")")[2].split()[1])
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.is_file()
    }

    def is_ours(process: int | None) -> bool:
        while process is not None and process != running.search.process.pid:
            process = parents.get(process)
        return process is not None

    own = {process for process in parents if is_ours(process)}
    assert len(own) > 5
    told = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    addresses = [
        line.split()[3]
        for line in told.splitlines()
        if own & {int(number) for number in re.findall(r"pid=(\d+)", line)}
    ]
    assert running.dashboard.removeprefix("http://") in addresses
    (found,) = wait_for(lambda: running.of_dashboard("/api/prometheus/sd"), "what to scrape")
    # The first is the node's exporter. The others have fixed ports, and may be another cluster's.
    assert found["targets"][0] in addresses
    assert all(re.match(r"127\.0\.0\.1:|\[(::ffff:127\.0\.0\.1|::1)\]:", one) for one in addresses)


def test_job_tells_of_the_study(running: Running) -> None:
    (job,) = running.of_dashboard("/api/jobs/")
    assert job["status"] == "RUNNING"
    assert "-m tests.gate" in job["entrypoint"]
    told = {
        "job_name": "watched",
        "study": "watched",
        "space": "weights",
        "recipe": "strong",
        "trials": "4",
        "encoder": "tiny",
    }
    assert told.items() <= job["metadata"].items()


@pytest.fixture(scope="module")
def prometheus(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prometheus with our configuration, in which only the addresses are others."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("needs Debian's package prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "auth_token").write_text(running.token)
    file = folder / "prometheus.yml"
    text = CONFIGURATION.read_text()
    assert text.count("http://127.0.0.1:8265/") == 1
    file.write_text(text.replace("http://127.0.0.1:8265", running.dashboard))
    subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, check=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    options = [f"--config.file={file}", f"--storage.tsdb.path={folder}/data"]
    with started("prometheus", *options, f"--web.listen-address={address}", log=folder / "log"):
        yield f"http://{address}"


def query(prometheus: str, text: str) -> list[tuple[dict[str, str], float]]:
    """Tags and values of the series that a query finds now."""
    address = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': text})}"
    try:
        answer = fetch(address)
    except OSError:  # it starts
        return []
    assert answer["status"] == "success"
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


def states_of(study: Study) -> Counter[State]:
    """Number of trials in each state, of a study whose driver is at work."""
    return Counter(
        "running" if trial.state == "interrupted" and study.is_running(trial) else trial.state
        for trial in study.trials
    )


def test_series_arrive_in_prometheus(running: Running, prometheus: str) -> None:
    def counted() -> bool:
        series = query(prometheus, 'ray_minbert_trials{study="watched"}')
        states = states_of(read(running.search.folder))
        told = {tags["state"]: value for tags, value in series}
        return told == {state: states[state] for state in get_args(State)}

    wait_for(counted, "the number of trials in each state")

    def value(name: str, **tags: str) -> float:
        """Of the one series, which may come some scrapes later than others."""
        chosen = ",".join(f'{key}="{text}"' for key, text in {"study": "watched", **tags}.items())
        text = f"ray_minbert_{name}{{{chosen}}}"
        ((_, found),) = wait_for(lambda: query(prometheus, text), text)
        return float(found)

    recipe = {"trial": "0", "configuration": "recipe"}
    score = value("trial_score", **recipe)
    sst = value("trial_task_score", **recipe, task="sst")
    sts = value("trial_task_score", **recipe, task="sts")
    speed = value("trial_tokens_per_second", **recipe)
    progress = value("trial_progress_ratio", **recipe)
    memory = value("trial_resident_memory_bytes", **recipe)
    best = value("best_score")
    total = value("reports_total")
    study = read(running.search.folder)
    reports: list[Report] = study.trials[0].reports
    assert score in {report.score for report in reports}
    assert sst in {report.scores["sst"] for report in reports}
    assert sts in {report.scores["sts"] for report in reports}
    assert speed in {report.tokens_per_second for report in reports}
    assert progress in {report.step / 2000 for report in reports}
    assert 100e6 < memory < 10e9
    assert best in {r.score for trial in study.trials for r in trial.reports if r.kept}
    assert best >= reports[0].score
    assert 0 < total <= sum(len(trial.reports) for trial in study.trials)
    assert value("trials_planned") == 4
    assert value("slots") == int(running.search.wait_for_words(SLOTS)[1])
    states = states_of(study)
    assert states["running"] >= 1
    assert value("slots_busy") == states["running"]

    def lapsed() -> bool:
        over = {str(trial.number) for trial in study.trials if trial.is_over}
        told = {tags["trial"] for tags, _ in query(prometheus, "ray_minbert_trial_score")}
        return "0" in told and told.isdisjoint(over)

    wait_for(lapsed, "only the trials that run have a score")
    ((tags, _),) = query(prometheus, "ray_minbert_slots")
    assert not [key for key in tags if key.startswith("otel_scope")]


def test_dashboard_shows_the_job_and_its_actors(running: Running, browser: Browser) -> None:
    browser.open(f"{running.dashboard}/#/jobs")
    browser.wait_for("Authentication Token Required")
    field = browser.driver.find_element(By.CSS_SELECTOR, "input[type=password]")
    field.send_keys(running.token)
    browser.driver.find_element(By.XPATH, "//button[normalize-space()='Submit']").click()
    text = browser.wait_for("watched", "RUNNING", "-m tests.gate")
    assert "01000000 watched" in text
    browser.open(f"{running.dashboard}/#/actors")
    text = browser.wait_for("study watched", "ALIVE")
    assert "DEAD" not in text
    # The log of an actor says which trial runs there.
    row = "//tr[contains(., 'study watched')]"
    link = browser.driver.find_element(By.XPATH, f"{row}//a[contains(@href, '/actors/')]")
    browser.open(str(link.get_attribute("href")))
    browser.wait_for("study watched trial")
