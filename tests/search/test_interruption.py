"""python -m search.run keeps what there is when it is interrupted."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minbert.checkpoint import load_model
from minbert.settings import command_of
from search import run
from search.review import __main__ as review

from .commands import said

ROOT = Path(run.__file__).parent.parent

INTERRUPTS_ITSELF = """
import os, signal
from cluster.local import Cluster
from minbert.settings import run_command
from search import run
from search.driver import Driver

def reported(driver, number, attempt, report, *more, reported=Driver.reported):
    continues = reported(driver, number, attempt, report, *more)
    if report.step == 3:
        # As a terminal and `timeout` do it: the signal goes to the whole group of processes.
        os.killpg(0, int(os.environ["SIGNAL"]))
    return continues

Driver.reported = reported
Cluster.slots = lambda *_: 1
run_command(run.main)
"""


# SIGTERM takes the way of SIGINT, after one of its own.
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_an_interruption_keeps_what_there_is(
    number: signal.Signals, tmp_path: Path, course_folder: Path
) -> None:
    arguments = ["--data", str(course_folder), "--encoder", "tiny", "--epochs", "900"]
    arguments += ["--no-dashboard", "--out", str(tmp_path), "--name", "cut"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTS_ITSELF, *arguments],
        cwd=ROOT,
        env={**os.environ, "SIGNAL": str(int(number))},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert (
        "The search is not done: it was interrupted, and 10 of 10 trials are not over"
    ) in done.stdout
    (hint,) = re.findall(r"To resume: (.*)", done.stdout)
    typed = shlex.join([*arguments, "--resume"])
    assert hint == f"{command_of('search.run')} {typed}"
    code, text = said(review.main, tmp_path / "cut")
    assert (code, text.count(f"not over. To resume: {hint}\n")) == (0, 1)
    summary = json.loads((tmp_path / "cut" / "summary.json").read_text())
    recipe = summary["trials"][0]
    assert (recipe["state"], recipe["why"]) == ("interrupted", "it was interrupted")
    assert len((tmp_path / "cut" / "trials.csv").read_text().splitlines()) == 2
    best = load_model(tmp_path / "cut" / "best")
    assert best.info.report.scores == summary["trials"][summary["winner"]]["scores"]
