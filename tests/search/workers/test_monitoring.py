"""One running search, as Prometheus and the Ray dashboard show it."""

import contextlib
import json
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
from ray._private import ray_constants
from selenium.webdriver.common.by import By

import cluster
from cluster.local import guard_token
from minbert.report import Report
from search.record import State
from search.storage.study import Study
from testkit.browser import Browser
from testkit.waiting import PATIENCE, wait_for
from tests.faults.searches import Search, read, search
from tests.gate import Gate

ROOT = Path(__file__).parents[3]
CONFIGURATION = Path(cluster.__file__).parent / "monitoring" / "prometheus.yml"
SLOTS = r"Hardware .*: (\d+) trials? at once"


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
