"""TensorBoard logs: one run a trial; the x axis is training examples."""

import re
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from minbert.report import Report
from search.record import TrialRecord


class TensorBoardLog:
    """Writes the curves of trials as they go, and how each ended."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._writers: dict[int, Any] = {}

    def started(self, trial: TrialRecord) -> None:
        run = self._folder / run_name(trial)
        self._writers[trial.number] = SummaryWriter(str(run))

    def reported(self, trial: TrialRecord, report: Report) -> None:
        values = {
            "dev/score": report.score,
            **{f"dev/{task}": score for task, score in report.scores.items()},
            **{f"loss/{task}": loss for task, loss in report.losses.items()},
            "train/lr": report.lr,
            "train/grad_norm": report.grad_norm,
            "train/negatives": report.negatives,
            "train/tokens_per_second": report.tokens_per_second,
        }
        writer = self._writers[trial.number]
        for tag, value in values.items():
            writer.add_scalar(tag, value, report.examples)
        # A person may be watching.
        writer.flush()

    def set_aside(self, trial: TrialRecord, reason: str) -> None:  # noqa: ARG002
        # Many trials may be paused; each open writer is a thread.
        if (writer := self._writers.pop(trial.number, None)) is not None:
            writer.close()

    def ended(self, trial: TrialRecord) -> None:
        writer: Any = self._writers.pop(trial.number, None)
        if writer is None and not trial.reports:
            return
        # A trial that ends while it is paused has none open.
        writer = writer or SummaryWriter(str(self._folder / run_name(trial)))
        if trial.kept is not None:
            metrics: dict[str, float] = dict(trial.kept.scores) | {"score": trial.kept.score}
            summaries = hparams(_hyperparameters(trial), metrics)  # type: ignore[no-untyped-call]  # torch's own
            for summary in summaries:
                writer.file_writer.add_summary(summary)
            for tag, value in metrics.items():
                writer.add_scalar(tag, value, trial.kept.examples)
        writer.close()


def run_name(trial: TrialRecord) -> str:
    """Name of a trial's run: its number and what is particular to it."""
    words = re.sub(r"[^\w.=,+-]+", " ", trial.name).strip()
    return f"{trial.number:03d} {words}"[:80]


def _hyperparameters(trial: TrialRecord) -> dict[str, Any]:
    """Fields that depart from the recipe, loss weights as three numbers, and how it ended."""
    values: dict[str, Any] = {"ended": trial.state}
    for name in trial.fields:
        value = getattr(trial.config, name)
        if name == "loss_weights":
            values |= {f"weight_{task}": share for task, share in trial.weights.items()}
        else:
            values[name] = value if isinstance(value, int | float | str) else str(value)
    return values
