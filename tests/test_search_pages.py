"""What a person sees of one search on the toy data, in a browser, while it runs and after it.

The search has more epochs than any machine trains in the meantime, and is then interrupted.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search import run
from search.folder import RunFolder
from search.review.reading import read_run
from search.review.server import tensorboard_server
from search.review.tensorboard import run_name

from .browser import Browser

ROOT = Path(run.__file__).parent.parent
TRIALS = 4


class Search:
    """A search that was started as a user starts it."""

    def __init__(self, folder: Path):
        self.folder = RunFolder(folder / "seen")
        self._log = folder / "log"
        options = ["--data", "toy", "--encoder", "tiny", "--train-limit", "600", "--epochs", "900"]
        options += ["--space", "optimizer", "--trials", str(TRIALS), "--tensorboard"]
        options += ["--no-dashboard", "--out", str(folder), "--name", "seen"]
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "search.run", *options],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def wait_for(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait until it printed something; fails where it ended without that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            over = self.process.poll() is not None
            if found := re.search(pattern, self._log.read_text()):
                return found
            assert not over, self._log.read_text()
            time.sleep(0.1)
        pytest.fail(f"not within {seconds:g} s: {pattern}\n{self._log.read_text()}")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    one = Search(tmp_path_factory.mktemp("pages"))
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


@pytest.fixture(scope="module")
def optuna_dashboard(search: Search, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of optuna-dashboard on the study's storage, as the README has it."""
    search.wait_for(r"report 1/", 60)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("optuna") / "log"
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), search.folder.storage()]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def test_pages_while_the_search_runs(
    search: Search, optuna_dashboard: str, browser: Browser
) -> None:
    tensorboard = search.wait_for(r"Curves +(http://127\.0\.0\.1:\d+/)", 60)[1]
    browser.open(f"{tensorboard}#timeseries")
    browser.wait_to_read("/score", "000 recipe")
    browser.open(f"{optuna_dashboard}dashboard")
    browser.wait_for("seen")
    browser.wait(search.folder.page.exists, what="the page")
    browser.open(search.folder.page.as_uri())
    browser.wait_for("The search is running", f"of {TRIALS} trials are over", "Learning curves")
    assert browser.complaints() == []
    assert search.process.poll() is None


def test_pages_after_the_search(
    search: Search, optuna_dashboard: str, browser: Browser, tmp_path: Path
) -> None:
    search.wait_for(r"trial +2  report 1/", 120)
    search.process.send_signal(signal.SIGINT)
    search.wait_for("Everything is in", 60)
    assert search.process.wait(timeout=30) == 130
    record = read_run(search.folder).record
    begun = len(record.trials)
    with tensorboard_server(search.folder.tensorboard, tmp_path / "log") as address:
        browser.open(f"{address}?#hparams", width=3000)
        rows = [f"{run_name(trial)} {trial.state}" for trial in record.trials]
        browser.wait_to_read(*rows, f"session groups: {begun}", "optimizer adamw radam")
    browser.open(f"{optuna_dashboard}dashboard/studies/1/trials")
    browser.wait_for(f"{begun} Trials", "Waiting")
    browser.open(search.folder.page.as_uri())
    browser.wait_for(
        f"{begun} trials. It is not done: {record.left} of {TRIALS} are not over",
        f"{begun} of {begun} trials",
    )
    browser.run("elements.forEach(draw)")
    assert browser.requests() == [search.folder.page.as_uri()]
    assert browser.complaints() == []
