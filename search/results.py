"""What a search found: its trials as they go, and the files written at the end."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from minbert.checkpoint import ModelInfo, save_model, write_whole
from minbert.config import InputSettings, TrainConfig
from minbert.data import Dataset
from minbert.evaluate import predict, write_predictions
from minbert.hub import Pretrained
from minbert.report import Report
from minbert.tasks import TASK_NAMES, SplitName, Task
from minbert.weights import Weights

# finished: all its epochs; stopped: by halving; cut short: the search ended first.
State = Literal["waiting", "running", "finished", "stopped", "failed", "cut short"]

GREEK: dict[Task, str] = {"sst": "α", "para": "β", "sts": "γ"}


@dataclass
class TrialRecord:
    """One trial of a search.

    Attributes:
        number: from 0; trial 0 is the recipe itself.
        name: what a person calls it.
        fields: where its configuration departs from the recipe.
        fixed: never stopped early: the recipe itself, or of a fixed list.
        checkpoint: where the model lies that it keeps so far, once that is saved.
        saved: the report that the checkpoint belongs to.
        seconds: of training and dev evaluation, over all reports.
        error: why it failed, in one line.
    """

    number: int
    name: str
    fields: dict[str, Any]
    config: TrainConfig
    fixed: bool = False
    state: State = "waiting"
    reports: list[Report] = field(default_factory=list)
    checkpoint: Any = None
    saved: Report | None = None
    seconds: float = 0.0
    error: str | None = None

    @property
    def kept(self) -> Report | None:
        """The report whose checkpoint the trial keeps so far."""
        if self.state == "cut short":
            # The last report's checkpoint may not have been saved in time.
            return self.saved
        return next((report for report in reversed(self.reports) if report.kept), None)

    @property
    def score(self) -> float | None:
        """Score of the checkpoint that the trial keeps so far."""
        return self.kept.score if self.kept else None

    @property
    def reports_in_all(self) -> int:
        return self.config.epochs * self.config.reports_per_epoch

    @property
    def is_trained(self) -> bool:
        """All epochs are trained."""
        return len(self.reports) == self.reports_in_all

    @property
    def weights(self) -> dict[Task, float]:
        """Its loss weights, scaled to add up to 1."""
        return self.config.loss_weights.normalised(1.0)


@dataclass
class SearchRecord:
    """All trials of a search.

    Attributes:
        planned: trials there will be if nothing ends the search early.
    """

    planned: int
    trials: list[TrialRecord] = field(default_factory=list)

    @property
    def ranked(self) -> list[TrialRecord]:
        """All trials, best score first; those without a score last."""
        return sorted(
            self.trials,
            key=lambda trial: (trial.score is None, -(trial.score or 0.0), trial.number),
        )

    def best(self, *states: State) -> TrialRecord | None:
        """The trial that scores highest of those in one of the states; of equals the first."""
        return next((trial for trial in self.ranked if trial.kept and trial.state in states), None)

    @property
    def winner(self) -> TrialRecord | None:
        """The trial that scores highest of those that are over and did not fail."""
        return self.best("finished", "stopped", "cut short")

    @property
    def baseline(self) -> TrialRecord | None:
        return self.trials[0] if self.trials else None

    def count(self, *states: State) -> int:
        return sum(trial.state in states for trial in self.trials)


def field_texts(fields: dict[str, Any]) -> list[str]:
    """Fields as people read them: ``lr=2e-05``, and loss weights as α, β, γ that add up to 1."""
    texts = []
    for name, value in fields.items():
        if name == "loss_weights":
            shares = Weights(*value).normalised(1.0)
            texts += [f"{GREEK[task]}={share:.2f}" for task, share in shares.items()]
        elif isinstance(value, float):
            texts.append(f"{name}={value:.3g}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            texts.append(f"{name}={','.join(map(str, value))}")
        else:
            texts.append(f"{name}={value}")
    return texts


def write_table(path: Path, record: SearchRecord) -> None:
    """Write the trials as CSV, best first: scores are of the checkpoint that a trial keeps."""
    varied = sorted({name for trial in record.trials for name in trial.fields} - {"loss_weights"})
    columns = ["trial", "name", "state", "score", *TASK_NAMES, "epochs", "reports", "seconds"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "alpha", "beta", "gamma", *varied, "error"])
        for trial in record.ranked:
            scores = trial.kept.scores if trial.kept else {}
            config = trial.config.model_dump(mode="json")
            writer.writerow(
                [
                    trial.number,
                    trial.name,
                    trial.state,
                    _decimals(trial.score),
                    *(_decimals(scores.get(task)) for task in TASK_NAMES),
                    _decimals(trial.reports[-1].epoch if trial.reports else 0.0),
                    len(trial.reports),
                    f"{trial.seconds:.1f}",
                    *map(_decimals, trial.weights.values()),
                    *(_as_cell(config[name]) for name in varied),
                    trial.error or "",
                ]
            )


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _as_cell(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def write_summary(path: Path, record: SearchRecord, about: dict[str, Any]) -> None:
    """Write everything that is known of the search as JSON.

    Args:
        path: the file.
        record: the trials.
        about: what was asked for and what it ran on.
    """
    winner = record.winner
    content = {
        **about,
        "winner": winner.number if winner else None,
        "winner_is": "chosen on these dev data, so optimistic",
        "baseline": record.baseline.number if record.baseline else None,
        "trials": [_as_json(trial) for trial in record.trials],
    }
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _as_json(trial: TrialRecord) -> dict[str, Any]:
    return {
        "number": trial.number,
        "name": trial.name,
        "state": trial.state,
        "error": trial.error,
        "score": trial.score,
        "scores": trial.kept.scores if trial.kept else None,
        "kept_report": trial.kept.step if trial.kept else None,
        "weights": {GREEK[task]: share for task, share in trial.weights.items()},
        "seconds": trial.seconds,
        "config": trial.config.model_dump(mode="json"),
        "reports": [report.model_dump(mode="json") for report in trial.reports],
    }


def save_best(
    folder: Path,
    record: SearchRecord,
    dataset: Dataset,
    pretrained: Pretrained,
    inputs: InputSettings,
    recipe: str,
) -> TrialRecord | None:
    """Save the winner's model with its dev and test predictions; None where there is no winner."""
    # Only now: with Ray comes the time to import it, which reading results does not need.
    from .trial import load_checkpoint

    best = record.winner
    if best is None:
        return None
    with best.checkpoint.as_directory() as checkpoint:
        model, report = load_checkpoint(Path(checkpoint), best.config, dataset, pretrained)
    info = ModelInfo(
        inputs=inputs,
        config=best.config,
        recipe=recipe,
        tasks=dataset.tasks,
        classes=dataset.classes,
        files=dataset.files,
        report=report,
    )
    save_model(folder, model, pretrained.tokenizer(), info)
    splits: tuple[SplitName, ...] = ("dev", "test")
    for split in splits:
        answers = predict(model, dataset, split)
        write_predictions(folder / "predictions", dataset, split, answers)
    return best
