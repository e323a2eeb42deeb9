"""Faults of a cluster, really injected: workers and nodes that die, join, and come and go."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.waiting import wait_for

from ..gate import Gate
from .nodes import Nodes, ray_nodes
from .searches import Row, rows, rows_of, search, tell, whys, without_faults

# Four trials of six reports, with a state after each; its number decides a trial's configuration.
OPTIONS = (
    *("--space", "lr", "--sampler", "random", "--scheduler", "none", "--pruner", "none"),
    *("--encoder", "tiny", "--epochs", "3", "--reports-per-epoch", "2", "--state-every", "0.001s"),
    *("--trials", "4"),
)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A head without trials and two workers; tests may kill the workers, but not the head."""
    with ray_nodes(0, 1, 1) as started:
        yield started


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture(scope="module")
def options(course_folder: Path) -> tuple[str, ...]:
    return (*OPTIONS, "--data", str(course_folder))


@pytest.fixture(scope="module")
def expected(options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The record of such a search without a fault."""
    return rows_of(without_faults(options, tmp_path_factory.mktemp("twin")).study)


def trial_held_on(gate: Gate, node: str) -> int:
    """The trial that waits at the gate on a node, as soon as one does."""

    def held() -> list[int]:
        return [number for number, there in gate.waiting().items() if there == node]

    return wait_for(held, lambda: f"a trial on {node}; waiting: {gate.waiting()}")[0]


def test_a_search_outlives_its_workers_and_nodes(
    nodes: Nodes, gate: Gate, options: tuple[str, ...], expected: list[Row], tmp_path: Path
) -> None:
    join = (*options, "--address", nodes.address)
    gate.hold(2)
    with search(tmp_path / "run", *join, environment=nodes.environment, gate=gate) as one:
        # kill -9 of a worker.
        first = trial_held_on(gate, nodes.ids()[1])
        lost = trial_held_on(gate, nodes.ids()[2])
        (worker,) = nodes.workers(1)
        worker.kill()
        died = time.monotonic()
        one.wait_for_failures(first, "retry")
        gate.hold(3, first)
        one.wait_for_reports(first, 3)
        retried = time.monotonic() - died
        # A node dies, and none takes its place.
        nodes.kill(2)
        killed = time.monotonic()
        one.wait_for_failures(lost, "machine lost")
        detected = time.monotonic() - killed
        one.wait_for_words("machines went: 1 trial at once")
        # A node joins.
        joined = time.monotonic()
        added = nodes.add()
        assert trial_held_on(gate, nodes.ids()[added]) == lost
        used = time.monotonic() - joined
        one.wait_for_words("machines came: 2 trials at once")
        gate.open()
        status, text = one.end()
        assert status == 0, text
        found, attempts = rows(one.folder), whys(one.folder)
    tell("kill -9 of a worker", f"reports again after {retried:.1f} s", one.folder, expected)
    tell("node killed", f"found dead after {detected:.1f} s, trial retried", one.folder, expected)
    tell("node joins", f"its first report came after {used:.1f} s", one.folder, expected)
    assert found == expected
    assert attempts[first].count("retry") == 1
    assert attempts[lost].count("machine lost") == 1
    others = [attempts[number] for number in attempts if number not in (first, lost)]
    assert others == [["start"]] * len(others)
    # They went on from a state, not from the beginning.
    for number in (first, lost):
        assert f"trial  {number}  continues after report 2" in text
    assert "Traceback" not in text
    assert "(raylet)" not in text


@pytest.mark.slow
def test_a_worker_that_stands_still_is_killed(
    nodes: Nodes, gate: Gate, options: tuple[str, ...], expected: list[Row], tmp_path: Path
) -> None:
    nodes.add()
    join = [*options, "--address", nodes.address, "--report-timeout", "20s"]
    gate.hold(2, 0)
    with search(tmp_path / "run", *join, environment=nodes.environment, gate=gate) as one:
        gate.wait_until_held(0)
        index = nodes.ids().index(gate.waiting()[0])
        (worker,) = nodes.workers(index)
        os.kill(worker.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        gate.open()
        wait_for(lambda: not worker.is_running() or worker.status() == "zombie")
        killed = time.monotonic() - stopped
        status, text = one.end()
        assert status == 0, text
        assert whys(one.folder)[0] == ["start", "retry"]
        found = rows(one.folder)
    told = f"killed after {killed:.1f} s (asked: 20), retried"
    tell("worker stands still", told, one.folder, expected)
    assert found == expected
    assert "retry: no report within 20 s" in text


@pytest.mark.slow
def test_a_node_that_comes_and_goes_ten_times(
    gate: Gate, options: tuple[str, ...], expected: list[Row], tmp_path: Path
) -> None:
    gate.hold(2)
    with ray_nodes(0, 1) as nodes:
        join = [*options, "--address", nodes.address]
        with search(tmp_path / "run", *join, environment=nodes.environment, gate=gate) as one:
            trial_held_on(gate, nodes.ids()[1])
            used, lost = [], []
            for _ in range(10):
                joined = time.monotonic()
                index = nodes.add()
                lost.append(trial_held_on(gate, nodes.ids()[index]))
                used.append(time.monotonic() - joined)
                nodes.kill(index)
                one.wait_for_failures(lost[-1], "machine lost", lost.count(lost[-1]))
            gate.open()
            status, text = one.end()
            assert status == 0, text
            found = rows(one.folder)
            attempts = [why for each in whys(one.folder).values() for why in each]
    for seconds in used:
        tell("node leaves and comes back", f"used after {seconds:.1f} s", one.folder, expected)
    assert found == expected
    assert attempts.count("machine lost") == 10


@pytest.mark.slow
def test_the_head_dies_and_a_new_cluster_goes_on(
    gate: Gate, options: tuple[str, ...], expected: list[Row], tmp_path: Path
) -> None:
    where = tmp_path / "run"
    gate.hold(3)
    with ray_nodes(0, 1, 1) as nodes:
        join = [*options, "--address", nodes.address]
        with search(where, *join, environment=nodes.environment, gate=gate) as one:
            gate.wait_until_held(0, 1)
            nodes.kill_head()
            died = time.monotonic()
            status, text = one.end()
            ended = time.monotonic() - died
            assert status != 0
            before = rows(one.folder)
    assert len(before) == 6
    with ray_nodes(0, 1, 1) as nodes:
        join = [*options, "--address", nodes.address, "--resume"]
        with search(where, *join, environment=nodes.environment) as two:
            status, after = two.end()
            assert status == 0, after
            found = rows(two.folder)
    tell("head killed", f"the search ended after {ended:.1f} s; resumed", two.folder, expected)
    assert "the cluster's head does not answer" in text
    assert "Traceback" not in text
    assert found == expected
