"""TensorBoard's server: how it starts, how it ends, and what a person sees."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from minbert.errors import InputError
from search.review.tensorboard import server
from search.review.tensorboard.log import run_name
from search.review.tensorboard.server import tensorboard_server
from testkit.browser import Browser
from testkit.waiting import PATIENCE, wait_for

from .logged_search import Search


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
    # Its parent is gone, so it may stay as a zombie that no process waits for.
    wait_for(lambda: not served.is_running() or served.status() == psutil.STATUS_ZOMBIE)


def test_a_person_sees_curves_and_the_table_of_trials(
    search: Callable[..., Search], browser: Browser, tmp_path: Path
) -> None:
    one = search(sampler="tpe").go(most=8).end()
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
        # Another query, or the page would not be loaded again; wide, so that no column is hidden.
        browser.open(f"{address}?#hparams", width=3000)
        heading = "Trial ID Show Metrics ended lr α β γ score sst para sts epochs"
        browser.wait_to_read(f"{heading} {' '.join(rows)} ")
        # Text has its values to choose from, numbers have a range.
        browser.wait_to_read("ended failed finished interrupted paused stopped lr Min")
        browser.wait_to_read("optimizer adamw radam Metrics", "session groups: 5")
    assert not answers_at(address)
