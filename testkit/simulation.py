"""Searches without training: scores come from curves, and time is simulated."""

from collections.abc import Callable
from typing import Any

from minbert.config import TrainConfig
from minbert.report import Report
from minbert.tasks import TASK_NAMES, Task
from search import simulation
from search.driver import Driver
from search.record import TrialRecord
from search.simulation import Happened
from search.storage.directory import Directory

# The task scores of a trial at a step.
Curve = Callable[[TrialRecord, int], dict[Task, float]]


def report_of(trial: TrialRecord, step: int, scores: dict[Task, float]) -> Report:
    """A report with these scores under equal weights, kept if it is the best of the trial."""
    score = sum(scores.values()) / len(scores)
    before = [report.score for report in trial.reports[: step - 1]]
    return made_up_report(trial.config, step, scores, kept=not before or score > max(before))


def made_up_report(
    config: TrainConfig, step: int, scores: dict[Task, float], *, kept: bool, seconds: float = 1.0
) -> Report:
    """A report with these scores, under equal weights."""
    return Report(
        step=step,
        epoch=step / config.reports_per_epoch,
        examples=step,
        scores=scores,
        score=sum(scores.values()) / len(scores),
        kept=kept,
        metrics={},
        losses={},
        negatives=0,
        lr=config.lr,
        grad_norm=1.0,
        tokens=1,
        train_seconds=seconds,
        dev_seconds=0.0,
    )


def equal_scores(score: float) -> dict[Task, float]:
    return dict.fromkeys(TASK_NAMES, score)


class PaperDirectory(Directory):
    """Checkpoints without content: only the names of their files.

    Attributes:
        folders: names of the files in each folder that has files.
    """

    where = address = "paper"

    def __init__(self, folders: dict[str, set[str]] | None = None, name: str = ""):
        self.folders = {} if folders is None else folders
        self._name = name

    def __truediv__(self, name: str) -> "PaperDirectory":
        return PaperDirectory(self.folders, name)

    def read(self, name: str) -> bytes:
        raise FileNotFoundError(name)

    def write(self, name: str, content: bytes) -> None:  # noqa: ARG002
        self.folders.setdefault(self._name, set()).add(name)

    def files(self) -> list[str]:
        if self._name:
            return sorted(self.folders.get(self._name, ()))
        return [f"{folder}/{file}" for folder, files in self.folders.items() for file in files]

    def directories(self) -> list[str]:
        return []

    def modified(self, name: str) -> float | None:  # noqa: ARG002
        return None

    def remove(self, name: str = "") -> None:
        folder, _, file = name.rpartition("/")
        if self.folders.pop(name, None) is None:
            self.folders.get(folder, set()).discard(file)


def save_on_paper(directory: PaperDirectory, number: int, step: int, attempt: int) -> None:
    """Write the files that a worker writes before it reports: a checkpoint with a state."""
    for name in ("weights.safetensors", "state.pt", "checkpoint.json"):
        (directory / f"{number:04d}/{step:04d}-{attempt}").write(name, b"")


def simulate(driver: Driver, curve: Curve, slots: int, **more: Any) -> list[Happened]:
    """``search.simulation.simulate`` with the scores of a curve; a report takes a second."""

    def given(trial: TrialRecord, step: int) -> Report:
        return report_of(trial, step, curve(trial, step))

    return simulation.simulate(driver, given, slots, **more)
