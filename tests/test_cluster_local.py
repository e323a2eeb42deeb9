"""python -m cluster local: a search on several nodes of one machine, and what is left then."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster
from search import run

ROOT = Path(run.__file__).parent.parent


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Of commands whose Ray notes its address in a folder of their own, with a short name."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        yield {**os.environ, "RAY_TMPDIR": folder, "PYTHONUNBUFFERED": "1"}


def processes_of(folder: str) -> list[str]:
    """Command lines that name a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in line:
            lines.append(line)
    return lines


def test_search_on_several_nodes_leaves_nothing_behind(
    environment: dict[str, str], tmp_path: Path, course_folder: Path
) -> None:
    nodes = subprocess.Popen(
        [sys.executable, "-m", "cluster", "local", "--nodes", "2"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert nodes.stdout is not None
        assert nodes.stdout.readline().startswith("Nodes: 2, CPUs of each: 1. Ctrl-C ends them.")
        address = re.search(r"--address (127\.0\.0\.1:\d+)", nodes.stdout.readline())
        assert address is not None
        noted = Path(environment["RAY_TMPDIR"], "ray", "ray_current_cluster")
        assert noted.read_text() == address[1]
        (folder,) = Path("/tmp").glob(f"minbert-ray-{nodes.pid}-*")
        assert processes_of(folder.name)
        options = ["--data", str(course_folder), "--encoder", "tiny", "--trials", "4"]
        options += ["--epochs", "1", "--address", "auto", "--out", str(tmp_path), "--name", "n"]
        done = subprocess.run(
            [sys.executable, "-m", "search.run", *options],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "2 CPUs, no GPU on 2 machines: 2 trials at once" in done.stdout
        assert "trial  0  finished" in done.stdout
        nodes.send_signal(signal.SIGINT)
        assert nodes.wait(timeout=60) == 0
    finally:
        nodes.kill()
        nodes.wait()
    end = time.monotonic() + 20
    while left := processes_of(folder.name):
        assert time.monotonic() < end, left
        time.sleep(0.2)
    assert not folder.exists()
    assert not noted.exists()


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
