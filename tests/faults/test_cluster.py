"""Faults of a cluster, really injected: workers and nodes that die, join, and come and go."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import write_course_folder
from .nodes import Nodes, ray_nodes, wait_for
from .searches import Row, rows, search, tell, whys

# Trials of 40 reports, a quarter to half a second each; its number decides its configuration.
OPTIONS = (
    *("--space", "lr", "--sampler", "random", "--halving", "none", "--pruner", "none"),
    *("--encoder", "tiny", "--epochs", "20", "--reports-per-epoch", "2", "--state-every", "1s"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_course_folder(tmp_path_factory.mktemp("slow") / "data", train=600)


@pytest.fixture
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
    options = (*OPTIONS, "--trials", "5", "--data", str(data), "--address", nodes.address)
    with search(tmp_path / "run", *options, environment=nodes.environment) as one:
        # kill -9 of a worker.
        first = wait_for(lambda: one.trials_on(nodes.ids()[1]))[0]
        one.wait_for_reports(first, 6)
        (worker,) = nodes.workers(1)
        worker.kill()
        died = time.monotonic()
        done = one.reports(first)
        one.wait_for_reports(first, done + 1)
        retried = time.monotonic() - died
        one.wait_for_reports(first, 9)
        # A node dies, and none takes its place.
        lost = wait_for(lambda: one.trials_on(nodes.ids()[2]))[0]
        nodes.kill(2)
        killed = time.monotonic()
        wait_for(lambda: "machine lost" in one.failures(lost), 60)
        detected = time.monotonic() - killed
        assert detected < 30
        # A node joins.
        joined = time.monotonic()
        added = nodes.add()
        wait_for(lambda: one.trials_on(nodes.ids()[added]))
        used = time.monotonic() - joined
        assert used < 30
        status, text = one.end()
        assert status == 0, text
        found, attempts = rows(one.folder), whys(one.folder)
    expected = rows_without_faults(data, tmp_path / "twin", 5)
    tell("kill -9 of a worker", f"reports again after {retried:.1f} s", one.folder, expected)
    tell("node killed", f"found dead after {detected:.1f} s, trial retried", one.folder, expected)
    tell("node joins", f"its first report came after {used:.1f} s", one.folder, expected)
    assert found == expected
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
        stopped = time.monotonic()
        wait_for(lambda: not worker.is_running() or worker.status() == "zombie")
        killed = time.monotonic() - stopped
        status, text = one.end()
        assert status == 0, text
        assert whys(one.folder)[number] == ["start", "retry"]
        found = rows(one.folder)
    expected = rows_without_faults(data, tmp_path / "twin", 4)
    tell(
        "worker stands still",
        f"killed after {killed:.1f} s (asked: 6), retried",
        one.folder,
        expected,
    )
    assert found == expected
    assert "retry: no report within 6 s" in text
    assert not worker.is_running()


@pytest.mark.slow
def test_a_node_that_comes_and_goes_ten_times(data: Path, tmp_path: Path) -> None:
    with ray_nodes(0, 1) as nodes:
        options = [*OPTIONS, "--trials", "14", "--data", str(data), "--address", nodes.address]
        with search(tmp_path / "run", *options, environment=nodes.environment) as one:
            used = []
            for _ in range(10):
                joined = time.monotonic()
                index = nodes.add()
                wait_for(lambda node=index: one.trials_on(nodes.ids()[node]))
                used.append(time.monotonic() - joined)
                nodes.kill(index)
            status, text = one.end(600)
            assert status == 0, text
            found = rows(one.folder)
            attempts = [why for each in whys(one.folder).values() for why in each]
    expected = rows_without_faults(data, tmp_path / "twin", 14)
    for seconds in used:
        tell("node leaves and comes back", f"used after {seconds:.1f} s", one.folder, expected)
    assert found == expected
    assert attempts.count("machine lost") == 10


@pytest.mark.slow
def test_the_head_dies_and_a_new_cluster_goes_on(data: Path, tmp_path: Path) -> None:
    options = [*OPTIONS, "--trials", "3", "--data", str(data)]
    where = tmp_path / "run"
    with ray_nodes(0, 1, 1) as nodes:
        join = [*options, "--address", nodes.address]
        with search(where, *join, environment=nodes.environment) as one:
            one.wait_for_reports(0, 6)
            nodes.kill_head()
            died = time.monotonic()
            status, text = one.end(180)
            ended = time.monotonic() - died
            assert status != 0
            before = rows(one.folder)
    assert before
    with ray_nodes(0, 1, 1) as nodes:
        join = [*options, "--address", nodes.address, "--resume"]
        with search(where, *join, environment=nodes.environment) as two:
            status, after = two.end()
            assert status == 0, after
            found = rows(two.folder)
    expected = rows_without_faults(data, tmp_path / "twin", 3)
    tell("head killed", f"the search ended after {ended:.1f} s; resumed", two.folder, expected)
    assert "the cluster's head does not answer" in text
    assert "Traceback" not in text
    assert found == expected
