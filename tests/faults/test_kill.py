"""kill -9 of the driver at chosen moments, then --resume, compared with a search left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search import run
from search.storage.checkpoints import read_verified
from search.storage.directory import LocalDirectory
from search.storage.folder import RunFolder
from search.storage.study import Study
from testkit.waiting import PATIENCE

from .searches import without_faults

ROOT = Path(run.__file__).parent.parent
SPACE = '''"""Nine points, so that every run of the search goes through the same."""


def space(trial):
    return {
        "lr": trial.suggest_categorical("lr", [1e-4, 1e-3, 5e-3]),
        "batch_size": trial.suggest_categorical("batch_size", [8, 16, 32]),
    }
'''
# In the order in which they are inflicted on one study, with the number of times that each lets
# pass before it strikes, so that every run gets somewhere.
MOMENTS = [
    ("before the study is made", 1),
    ("before a report", 3),
    ("in a checkpoint write", 1),
    ("while a report is written", 4),
    ("in a promotion", 1),
    ("after a trial is made", 1),
    ("between predictions and report", 3),
    ("in a removal", 2),
    ("before a promotion", 1),
    ("between two steps", 25),
    ("before a final state", 1),
    ("while the best is saved", 1),
]


def options(out: Path, data: Path) -> list[str]:
    given = ["--space", str(out / "nine.py"), "--sampler", "grid", "--trials", "10"]
    given += ["--data", str(data), "--encoder", "tiny", "--epochs", "2"]
    return [*given, "--reports-per-epoch", "3", "--pruner", "none", "--pareto-models", "4"]


def search(moment: str, nth: int, where: str, out: Path, data: Path, *more: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.faults.killed_driver", moment, str(nth), where]
    command += [*options(out, data), "--no-dashboard", "--out", str(out), "--name", "killed"]
    done = subprocess.run(
        [*command, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def rows(study: Study) -> list[tuple[Any, ...]]:
    """All of the record that does not depend on the clock or on how often it was restarted."""
    return [
        (
            *(trial.number, trial.name, trial.state, trial.error, report.step),
            *(report.scores, report.losses, report.kept),
            *(decision.verdict, decision.reason, decision.order),
        )
        for trial in study.trials
        for report, decision in zip(trial.reports, trial.decisions, strict=True)
    ]


def inflict(moments: list[tuple[str, int]], where: str, out: Path, data: Path) -> list[str]:
    """Kill a search at each moment in turn, let it end, and compare it with its twin.

    Args:
        moments: with the number of times that each lets pass.
        where: trials run: under ``ray``, or ``inline``, in the driver's process.
        out: for the runs.
        data: a folder in the course's layout.

    Returns:
        The moments that came.
    """
    (out / "nine.py").write_text(SPACE)
    twin = without_faults(options(out, data), out / "twin")
    came: list[str] = []
    for moment, nth in moments:
        begun = (out / "killed" / "run.json").exists()
        code, text = search(moment, nth, where, out, data, *(["--resume"] if begun else []))
        if code == -signal.SIGKILL:
            came.append(moment)
        else:
            assert code == 0, text
    code, text = search("never", 1, where, out, data, "--resume")
    assert code == 0, text
    expected, found = rows(twin.study), rows(RunFolder(out / "killed").load_study())
    assert found == expected
    assert sorted(row[-1] for row in found) == list(range(len(found)))
    left = {}
    for name in ("twin", "killed"):
        checkpoints = out / name / "checkpoints"
        for path in checkpoints.glob("*/*"):
            read_verified(LocalDirectory(path), "weights.safetensors")
        left[name] = {path.name.partition("-")[0] for path in checkpoints.glob("*/*")}
    assert left["twin"] == left["killed"]
    assert (out / "killed" / "best" / "minbert.json").is_file()
    return came


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path, course_folder: Path) -> None:
    moments = [MOMENTS[0], MOMENTS[2], MOMENTS[4]]
    assert inflict(moments, "inline", tmp_path, course_folder) == [moment for moment, _ in moments]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, course_folder: Path) -> None:
    assert inflict(MOMENTS, "ray", tmp_path, course_folder) == [moment for moment, _ in MOMENTS]
