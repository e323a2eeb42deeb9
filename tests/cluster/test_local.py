"""python -m cluster local: a search on several nodes of one machine, and what is left then."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

import cluster
from search import run
from testkit.waiting import PATIENCE, wait_for
from tests.faults.searches import search
from tests.gate import Gate

ROOT = Path(run.__file__).parent.parent
BIN = Path(sys.executable).parent


class Local:
    """A running ``python -m cluster local``.

    Attributes:
        process: the command.
        environment: of commands that join; Ray notes the address in a folder of their own.
        address: that it says.
        dashboard: that it says.
        folder: of what its nodes write.
    """

    def __init__(self, folder: str, nodes: int):
        self.environment = {**os.environ, "RAY_TMPDIR": folder, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cluster", "local", "--nodes", str(nodes)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.folder = Path("/nonexistent")

    def wait_for_start(self, nodes: int) -> None:
        assert self.process.stdout is not None
        first, second, third = (self.process.stdout.readline() for _ in range(3))
        assert first.startswith(f"Nodes: {nodes}, CPUs of each: 1. Ctrl-C ends them.")
        self.address = second.split()[-1]
        self.dashboard = re.findall(r"http://[\d.:]+", third)[0]
        (self.folder,) = Path("/tmp").glob(f"minbert-ray-{self.process.pid}-*")

    @property
    def noted(self) -> Path:
        """Ray's file of the address."""
        return Path(self.environment["RAY_TMPDIR"], "ray", "ray_current_cluster")

    def end(self) -> None:
        """End it, by force if need be."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=PATIENCE)
        self.process.kill()
        self.process.wait()
        for pid, _ in processes_of(self.folder.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, *command: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout


@contextmanager
def started(nodes: int) -> Iterator[Local]:
    """A cluster of nodes with one CPU each."""
    # A short name, as Ray's sockets need.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        one = Local(folder, nodes)
        try:
            one.wait_for_start(nodes)
            yield one
        finally:
            one.end()


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with started(nodes=3) as one:
        yield one


def processes_of(folder: str) -> list[tuple[int, str]]:
    """Processes whose command lines name a folder, or that descend from such a one."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if folder in " ".join(process.cmdline()):
                for each in (process, *process.children(recursive=True)):
                    found[each.pid] = each.name()
    return sorted(found.items())


def copy_of_ours(folder: Path) -> Path:
    """A folder with our packages in it, as in the repository."""
    ours = folder / "ours"
    for name in ("cluster", "minbert", "search", "spaces"):
        shutil.copytree(ROOT / name, ours / name, ignore=shutil.ignore_patterns("__pycache__"))
    return ours


OPTIONS = ("--encoder", "tiny", "--epochs", "2", "--scheduler", "none", "--pruner", "none")


def test_a_search_uses_all_nodes_and_only_the_driver_reads_the_data(
    local: Local, tmp_path: Path, course_folder: Path
) -> None:
    """All workers start at once, and none is given up because others are done sooner."""
    assert local.noted.read_text() == local.address
    data = tmp_path / "data"
    shutil.copytree(course_folder, data)
    gate = Gate(tmp_path / "gate")
    gate.hold_workers(but=1)
    gate.hold(1, 7)
    options = [*OPTIONS, "--trials", "8", "--data", str(data), "--address", "auto"]
    with search(tmp_path / "n", *options, environment=local.environment, gate=gate) as one:
        one.wait_for_words("Results")
        # The driver has read them; no trial has begun.
        shutil.rmtree(data)
        starting = wait_for(lambda: len(gate.waiting_workers()) == 2 and gate.waiting_workers())
        # The first worker does the rest meanwhile.
        gate.wait_until_held(7)
        assert gate.waiting_workers() == starting
        over = one.over()
        assert len(over) == 5
        gate.open_workers()
        for number in {0, 1, 2} - over:
            one.wait_for_reports(number, 1)
        gate.open()
        status, text = one.end()
    assert status == 0, text
    assert "3 CPUs, no GPU on 3 machines: 3 trials at once" in text
    study = one.study()
    assert study is not None
    machines = {decision.machine for trial in study.trials for decision in trial.decisions}
    assert len(machines) == 3
    assert {trial.state for trial in study.trials} == {"finished"}


def test_our_code_travels_to_the_nodes(local: Local, tmp_path: Path) -> None:
    # A copy, which is gone when the nodes need it.
    ours = copy_of_ours(tmp_path)
    code = """
import shutil, sys
import cluster
address = cluster.prepare_to_join("auto")
import ray
from cluster.local import ray_cluster
def where():
    import minbert, search, spaces
    return [each.__file__ for each in (minbert, search, spaces)]
with ray_cluster(address):
    shutil.rmtree(sys.argv[1])
    print(ray.get(ray.remote(num_cpus=1)(where).remote()))
"""
    command = [sys.executable, "-c", code, str(ours)]
    status, text = local.run(*command, cwd=tmp_path, PYTHONPATH=str(ours))
    assert status == 0, text
    assert text.count("py_modules_files") == 3, text


def test_without_the_token_nobody_gets_in(local: Local, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "search.run", *OPTIONS, "--data", "toy", "--trials", "2"]
    command += ["--address", local.address, "--out", str(tmp_path)]
    status, text = local.run(*command, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    assert (status, text.count("\n")) == (2, 1), text
    assert text.startswith(
        f"error: --address {local.address}: the cluster there asks for its token"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{local.dashboard}/api/jobs/")
    assert caught.value.code == 401
    assert not list(tmp_path.iterdir())


@pytest.fixture
def second() -> Iterator[Local]:
    """A cluster for one test alone, which may end it, beside that of all."""
    with started(nodes=1) as one:
        yield one


def test_a_search_is_submitted_as_a_job_to_one_of_two_clusters(
    local: Local, second: Local, tmp_path: Path, course_folder: Path
) -> None:
    assert second.address != local.address
    assert second.dashboard != local.dashboard
    for node in range(3):
        assert (local.folder / str(node) / "ray_current_cluster").read_text() == local.address
    submit = [str(BIN / "ray"), "job", "submit", "--address", local.dashboard]
    submit += ["--working-dir", ".", "--submission-id", "j", "--", "python", "-m", "search.run"]
    submit += [*OPTIONS, "--data", str(course_folder), "--trials", "3", "--address", "auto"]
    submit += ["--out", str(tmp_path), "--name", "job"]
    # Of a copy: other tests may write beside the originals while Ray packs them.
    ours = copy_of_ours(tmp_path)
    status, text = local.run(*submit, cwd=ours, RAY_AUTH_MODE="token")
    assert status == 0, text
    assert "Job 'j' succeeded" in text
    # What the dashboard's page of the job shows.
    token = cluster.token_file().read_text()
    request = urllib.request.Request(
        f"{local.dashboard}/api/jobs/j/logs", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as answer:
        log = json.load(answer)["logs"]
    assert "3 CPUs, no GPU on 3 machines: 3 trials at once" in log
    assert "3 of 3 over" in log
    assert "Winner: trial" in log
    assert token not in log
    assert (tmp_path / "job" / "best" / "model.safetensors").is_file()


def test_ctrl_c_ends_all_of_it(second: Local) -> None:
    assert processes_of(second.folder.name)
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    pids = {pid for pid, _ in processes_of(second.folder.name)}
    addresses = {
        line.split()[3]
        for line in listening.splitlines()
        if pids & {int(number) for number in re.findall(r"pid=(\d+)", line)}
    }
    assert len(addresses) > 5
    assert all(re.match(r"127\.0\.0\.1:|\[(::ffff:127\.0\.0\.1|::1)\]:", one) for one in addresses)
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(timeout=PATIENCE) == 0
    left = partial(processes_of, second.folder.name)
    wait_for(lambda: not left(), lambda: f"the end of {left()}")
    assert not second.folder.exists()
    assert not second.noted.exists()


@pytest.mark.parametrize(
    ("address", "noted", "joined", "several"),
    [
        ("auto", "127.0.0.1:6379", "127.0.0.1:6379", "0"),
        ("auto", "10.0.0.7:6379", "10.0.0.7:6379", "1"),
        ("auto", None, "auto", "1"),
        ("localhost:7000", "10.0.0.7:6379", "localhost:7000", "0"),
        ("10.0.0.8:7000", None, "10.0.0.8:7000", "1"),
    ],
)
def test_how_an_address_is_joined(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    noted: str | None,
    joined: str,
    several: str,
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Put back what it may set, which would be of other tests' clusters too.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    if noted is not None:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(noted)
    assert cluster.prepare_to_join(address) == joined
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == several


def test_no_nodes_are_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "local", "--nodes", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "error: --nodes 0: give at least 1\n")
