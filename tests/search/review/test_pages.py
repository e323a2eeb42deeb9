"""What a person sees of one search on the toy data, in a browser, while it runs and after it."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbert.settings import command_of
from search.review.reading import read_run
from search.review.tensorboard.log import run_name
from search.review.tensorboard.server import tensorboard_server
from testkit.browser import Browser
from testkit.waiting import wait_for
from tests.faults.searches import Search, search
from tests.gate import Gate
from tests.servers import free_port

TRIALS = 4


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """Lets a first report of each trial pass, but for the last, which waits from its start."""
    gate = Gate(tmp_path_factory.mktemp("gate"))
    gate.hold(1)
    gate.hold(0, TRIALS - 1)
    return gate


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Search]:
    options = ["--data", "toy", "--encoder", "tiny", "--train-limit", "100", "--epochs", "1"]
    options += ["--space", "optimizer", "--trials", str(TRIALS), "--tensorboard", "--no-dashboard"]
    with search(tmp_path_factory.mktemp("pages") / "seen", *options, gate=gate) as one:
        yield one


@pytest.fixture(scope="module")
def optuna_dashboard(seen: Search, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of optuna-dashboard on the study's storage, as the README has it."""
    seen.wait_for_words(r"report 1/")
    port = free_port()
    log = tmp_path_factory.mktemp("optuna") / "log"
    command = [
        str(Path(sys.executable).with_name("optuna-dashboard")),
        seen.folder.storage_address(),
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_for(answers, "Optuna's dashboard")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def test_pages_while_the_search_runs_and_after_it(
    seen: Search, gate: Gate, optuna_dashboard: str, browser: Browser, tmp_path: Path
) -> None:
    look_while_it_runs(seen, optuna_dashboard, browser)
    look_after_it(seen, gate, optuna_dashboard, browser, tmp_path)


def look_while_it_runs(seen: Search, optuna_dashboard: str, browser: Browser) -> None:
    tensorboard = seen.wait_for_words(r"Curves +(http://127\.0\.0\.1:\d+/)")[1]

    def has_curves() -> bool:
        with urllib.request.urlopen(f"{tensorboard}data/plugin/scalars/tags") as tags:
            return b"/score" in tags.read()

    # TensorBoard reads its files now and then, and an open page does not ask again by itself.
    wait_for(has_curves, "curves")
    browser.open(f"{tensorboard}#timeseries")
    browser.wait_to_read("/score", "000 recipe")
    browser.open(f"{optuna_dashboard}dashboard")
    browser.wait_for("seen")
    browser.wait(seen.folder.page.exists, what="the page")
    browser.open(seen.folder.page.as_uri())
    browser.wait_for("The search is running", f"of {TRIALS} trials are over", "Learning curves")
    assert browser.complaints() == []
    assert seen.process.poll() is None


def look_after_it(
    seen: Search, gate: Gate, optuna_dashboard: str, browser: Browser, tmp_path: Path
) -> None:
    # On a single slot the others begin when the recipe is through.
    gate.hold(2, 0)
    seen.wait_for_words(r"trial +2  report 1/")
    seen.process.send_signal(signal.SIGINT)
    status, text = seen.end()
    assert status == 130, text
    record = read_run(seen.folder).record
    begun = len(record.trials)
    with tensorboard_server(seen.folder.tensorboard, tmp_path / "log") as address:
        browser.open(f"{address}?#hparams", width=3000)
        rows = [f"{run_name(trial)} {trial.state}" for trial in record.trials]
        browser.wait_to_read(*rows, f"session groups: {begun}", "optimizer adamw radam")
    browser.open(f"{optuna_dashboard}dashboard/studies/1/trials")
    browser.wait_for(f"{begun} Trials", "Waiting")
    browser.open(seen.folder.page.as_uri())
    browser.wait_for(
        f"{begun} trials, written ",
        f"it was interrupted, and {record.left} of {TRIALS} trials are not over.",
        f"To resume:\n{command_of('search.run')} ",
        f"{begun} of {begun} trials",
    )
    browser.run("elements.forEach(draw)")
    assert browser.requests() == [seen.folder.page.as_uri()]
    assert browser.complaints() == []
