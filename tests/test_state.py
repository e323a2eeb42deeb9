"""What tests leave for those after them, and signals that commands hear however they start."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import ray

from cluster.local import ray_cluster
from search import run
from testkit.waiting import PATIENCE, wait_for

from . import state
from .state import hear_signals, no_process_left, nothing_changed

ROOT = Path(run.__file__).parent.parent


@pytest.fixture
def deaf() -> Iterator[None]:
    """As where a script starts this process in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


CHANGES: dict[str, Callable[[], object]] = {
    "handler of SIGUSR2": lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
    "blocked signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}),
    "environment variable MINBERT_LEFT": lambda: os.environ.update(MINBERT_LEFT="x"),
    "current folder": lambda: os.chdir("/"),
    "umask": lambda: os.umask(0o077),
}


@pytest.fixture
def _put_back() -> Iterator[None]:
    folder, mask = Path.cwd(), os.umask(0o022)
    os.umask(mask)
    yield
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    os.environ.pop("MINBERT_LEFT", None)
    os.chdir(folder)
    os.umask(mask)


@pytest.mark.usefixtures("_put_back")
@pytest.mark.parametrize("name", CHANGES)
def test_a_test_that_leaves_a_change_fails(name: str) -> None:
    said = f"^left for the tests that come after: {name}: "
    with pytest.raises(pytest.fail.Exception, match=said), nothing_changed():
        CHANGES[name]()


def test_a_file_that_leaves_a_process_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PATIENCE", 0.1)
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as ended,
        pytest.raises(pytest.fail.Exception, match=r"^still running: cat$"),
        no_process_left(),
    ):
        left = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    ended.wait()
    left.communicate()


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("heard", [False, True])
def test_commands_hear_what_the_tests_themselves_do_not(heard: bool) -> None:
    if heard:
        hear_signals()
    program = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{not heard}\n"


SPACE = """
import time
from pathlib import Path

def space(trial):
    Path({mark!r}).touch()
    time.sleep({seconds})
"""


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_search_that_a_script_starts_in_the_background_hears_signals(
    number: signal.Signals, tmp_path: Path
) -> None:
    mark = tmp_path / "is there"
    (tmp_path / "mine.py").write_text(SPACE.format(mark=str(mark), seconds=PATIENCE))
    command = [sys.executable, "-m", "search.run", "--space", str(tmp_path / "mine.py")]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: mark.exists() or process.poll() is not None)
    process.send_signal(number)
    assert process.communicate()[1] == (
        "interrupted; --resume continues from what was recorded, if any\n"
    )
    assert process.returncode == 130


def test_handlers_of_signals_are_as_before_a_cluster() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    with mock.patch.dict(os.environ), mock.patch.object(ray, "init") as init:
        init.side_effect = lambda **_: (
            [signal.signal(n, lambda *_: None) for n in numbers] and 1 / 0
        )
        with pytest.raises(ZeroDivisionError), ray_cluster():
            pass
    assert [signal.getsignal(number) for number in numbers] == before
