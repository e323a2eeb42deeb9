"""What a study was run with, in enough detail to repeat it."""

import contextlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from minbert.examples import Dataset
from minbert.settings import Settings, command_of
from search.record import Moment

from .addresses import without_password
from .study import Study

if TYPE_CHECKING:
    from cluster.local import Cluster

_PACKAGES = ("minbert-search", "ray", "optuna", "torch", "numpy", "tokenizers")
_RUNS = "runs"
_TYPED = ("python", "-m", "search.run")


class Hardware(Settings):
    """What the cluster had when it had most slots, and the driver's processor."""

    machines: int
    cpus: int | float
    gpus: int | float
    processor: str


class DataSummary(Settings):
    """The data that a run of the driver read."""

    name: str
    sizes: dict[str, dict[str, int]]
    """examples by task and split"""
    notes: list[str]
    """on dropped, repeated and truncated rows"""


class DriverRun(Settings):
    """One run of the driver on a study; a study that is resumed has several."""

    at: Moment
    """seconds since the epoch"""
    until: Moment | None = None
    """seconds since the epoch; None while it runs and after a kill"""
    slots: Annotated[int, Field(ge=0, lt=10_000)]
    """trials at once; the largest number if machines joined and left"""
    command: str
    """as typed, without passwords"""
    versions: dict[str, str]
    """of Python and of the packages that the numbers depend on"""
    hardware: Hardware
    out_of_time: bool = False
    """it ended because the time budget was spent"""
    data: DataSummary


def begin_run(study: Study, dataset: Dataset, machines: "Cluster", slots: int) -> None:
    """Note in the study what this run of the driver uses."""
    run = DriverRun(
        at=time.time(),
        slots=slots,
        command=command_line(sys.argv[1:]),
        versions=versions(),
        hardware=hardware_of(machines),
        data={"name": dataset.name, "sizes": sizes(dataset), "notes": list(dataset.notes)},
    )
    study.note(_RUNS, [*_noted(study), run.model_dump(mode="json")])


def hardware_of(machines: "Cluster") -> dict[str, Any]:
    """The hardware of a cluster now, and the processor of this machine."""
    there = machines.machines()
    return {
        "machines": len(there),
        "cpus": sum(machine.cpus for machine in there),
        "gpus": sum(machine.gpus for machine in there),
        "processor": _processor(),
    }


def note_growth(study: Study, slots: int, hardware: dict[str, Any]) -> None:
    """Note for the last run of the driver if there are more slots than before."""
    runs = _noted(study)
    if slots > runs[-1]["slots"]:
        runs[-1] |= {"slots": slots, "hardware": hardware}
        study.note(_RUNS, runs)


def end_run(study: Study, *, out_of_time: bool = False) -> None:
    """Note that the last run of the driver ended, and whether its time budget was spent."""
    runs = _noted(study)
    runs[-1] |= {"until": time.time(), "out_of_time": out_of_time}
    study.note(_RUNS, runs)


def runs_of(study: Study) -> list[DriverRun]:
    """The runs of the driver on a study, in their order."""
    return [DriverRun.model_validate(run) for run in _noted(study)]


def _noted(study: Study) -> list[dict[str, Any]]:
    return list(study.noted(_RUNS) or [])


def command_line(arguments: Sequence[str]) -> str:
    """``python -m search.run`` with these arguments, quoted for a shell, without passwords."""
    shown = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            option, equals, value = "", "", argument
        shown.append(f"{option}{equals}{without_password(value)}")
    return shlex.join([*_TYPED, *shown])


def command_here(run: DriverRun) -> str:
    """The command of a run, with the Python command of this process."""
    typed = shlex.join(_TYPED)
    if not run.command.startswith(typed):
        return run.command
    return command_of("search.run") + run.command.removeprefix(typed)


def resume_command(run: DriverRun, name: str) -> str | None:
    """The command that resumes the search of this name after a run of the driver.

    It is quoted again, because the record may come from someone who put shell code into it. None
    if the record has no command of ours.
    """
    try:
        words = shlex.split(run.command)
    except ValueError:
        return None
    head, given = tuple(words[: len(_TYPED)]), words[len(_TYPED) :]
    if head != _TYPED:
        return None
    if not any(word.partition("=")[0] == "--name" for word in given):
        given += ["--name", name]
    if "--resume" not in given:
        given.append("--resume")
    return f"{command_of('search.run')} {shlex.join(given)}"


def sizes(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Examples by task and split."""
    return {
        task: {name: len(split) for name, split in splits.items()}
        for task, splits in dataset.splits.items()
    }


def versions() -> dict[str, str]:
    """Versions of Python, of our code and of the packages that the numbers depend on."""
    found = {"python": platform.python_version(), "commit": _commit()}
    for name in _PACKAGES:
        # A checkout can be used without being installed.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _commit() -> str:
    """The commit of our code, if it is in a git repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=here,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    try:
        if git("rev-parse", "--show-toplevel") != str(here.parent):
            return "unknown"
        changed = " with changes" if git("status", "--porcelain") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
