"""Faults of a cluster, really injected: workers and nodes that die, join, and come and go."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import write_course_folder
from .nodes import Nodes, ray_nodes, wait_for
from .searches import Row, rows, search, whys

# Trials of 20 reports, about half a second each; its number decides a trial's configuration.
OPTIONS = (
    *("--space", "lr", "--sampler", "random", "--halving", "none", "--pruner", "none"),
    *("--encoder", "tiny", "--epochs", "10", "--reports-per-epoch", "2", "--state-every", "1s"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_course_folder(tmp_path_factory.mktemp("slow") / "data", train=600)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head without trials and two workers, of which tests may kill all but the head."""
    with ray_nodes(0, 1, 1) as started:
        yield started


def rows_without_faults(data: Path, where: Path, trials: int) -> list[Row]:
    """The record of such a search on this machine alone."""
    options = (*OPTIONS, "--trials", str(trials), "--data", str(data), "--no-dashboard")
    with search(where, *options) as one:
        status, text = one.end()
        assert status == 0, text
        return rows(one.folder)


def test_a_search_outlives_its_workers_and_nodes(nodes: Nodes, data: Path, tmp_path: Path) -> None:
    options = (*OPTIONS, "--trials", "4", "--data", str(data), "--address", nodes.address)
    with search(tmp_path / "run", *options, environment=nodes.environment) as one:
        # kill -9 of a worker.
        first = wait_for(lambda: one.trials_on(nodes.ids()[1]))[0]
        one.wait_for_reports(first, 6)
        (worker,) = nodes.workers(1)
        worker.kill()
        one.wait_for_reports(first, 9)
        # A node dies, and none takes its place.
        lost = wait_for(lambda: one.trials_on(nodes.ids()[2]))[0]
        nodes.kill(2)
        killed = time.monotonic()
        wait_for(lambda: one.failure(lost) == "machine lost", 60)
        assert time.monotonic() - killed < 30
        # A node joins.
        joined = time.monotonic()
        added = nodes.add()
        wait_for(lambda: one.trials_on(nodes.ids()[added]))
        assert time.monotonic() - joined < 30
        status, text = one.end()
        assert status == 0, text
        found, attempts = rows(one.folder), whys(one.folder)
    assert found == rows_without_faults(data, tmp_path / "twin", 4)
    assert attempts[first].count("retry") == 1
    assert attempts[lost].count("machine lost") == 1
    others = [attempts[number] for number in attempts if number not in (first, lost)]
    assert others == [["start"]] * len(others)
    # It went on from a state, not from the beginning.
    assert f"trial  {first}  goes on after report" in text
    assert "machines went: 1 trial at once" in text
    assert "machines came: 2 trials at once" in text
    assert "Traceback" not in text
    assert "(raylet)" not in text


@pytest.mark.slow
def test_a_worker_that_stands_still_is_killed(nodes: Nodes, data: Path, tmp_path: Path) -> None:
    nodes.add()
    options = [*OPTIONS, "--trials", "4", "--data", str(data), "--address", nodes.address]
    options += ["--report-timeout", "6s"]
    with search(tmp_path / "run", *options, environment=nodes.environment) as one:
        number = wait_for(lambda: one.trials_on(nodes.ids()[1]))[0]
        one.wait_for_reports(number, 3)
        (worker,) = nodes.workers(1)
        os.kill(worker.pid, signal.SIGSTOP)
        status, text = one.end()
        assert status == 0, text
        assert whys(one.folder)[number] == ["start", "retry"]
        found = rows(one.folder)
    assert found == rows_without_faults(data, tmp_path / "twin", 4)
    assert "retry: no report within 6 s" in text
    assert not worker.is_running()


@pytest.mark.slow
def test_a_node_that_comes_and_goes_ten_times(data: Path, tmp_path: Path) -> None:
    with ray_nodes(0, 1) as nodes:
        options = [*OPTIONS, "--trials", "20", "--data", str(data), "--address", nodes.address]
        with search(tmp_path / "run", *options, environment=nodes.environment) as one:
            for _ in range(10):
                index = nodes.add()
                wait_for(lambda node=index: one.trials_on(nodes.ids()[node]))
                nodes.kill(index)
            status, text = one.end(600)
            assert status == 0, text
            found = rows(one.folder)
            attempts = [why for each in whys(one.folder).values() for why in each]
    assert found == rows_without_faults(data, tmp_path / "twin", 20)
    assert attempts.count("machine lost") == 10
