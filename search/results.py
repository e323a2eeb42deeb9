"""The files that a search leaves for people and programs."""

import csv
import json
import math
from pathlib import Path
from typing import Any

from minbert.card import ModelInfo
from minbert.checkpoint import save_model
from minbert.config import InputSettings
from minbert.evaluate import predict, write_predictions
from minbert.examples import Dataset
from minbert.files import write_whole
from minbert.hub import Pretrained
from minbert.report import Report
from minbert.tasks import TASK_NAMES, SplitName

from .checkpoints import load_model
from .directory import Directory
from .record import GREEK, SearchRecord, TrialRecord


def write_table(path: Path, record: SearchRecord) -> None:
    """Write the trials as CSV, best first: scores are of the checkpoint that a trial keeps."""
    varied = sorted({name for trial in record.trials for name in trial.fields} - {"loss_weights"})
    columns = ["trial", "name", "state", "score", *TASK_NAMES, "epochs", "reports", "seconds"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "alpha", "beta", "gamma", *varied, "machines", "error"])
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
                    *(_decimals(trial.weights.get(task)) for task in TASK_NAMES),
                    *(_as_cell(config[name]) for name in varied),
                    "; ".join(trial.machines),
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
        "trials": [trial_as_json(trial) for trial in record.trials],
    }
    text = json.dumps(strict_json(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def strict_json(value: Any) -> Any:
    """A value for JSON with null for numbers that are none, which strict JSON does not know."""
    if isinstance(value, dict):
        return {key: strict_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def trial_as_json(trial: TrialRecord) -> dict[str, Any]:
    """Everything that is known of a trial."""
    return {
        "number": trial.number,
        "name": trial.name,
        "state": trial.state,
        "why": trial.why,
        "error": trial.error,
        "score": trial.score,
        "scores": trial.kept.scores if trial.kept else None,
        "kept_report": trial.kept.step if trial.kept else None,
        "weights": {GREEK[task]: share for task, share in trial.weights.items()},
        "seconds": trial.seconds,
        "config": trial.config.model_dump(mode="json"),
        "attempts": [attempt.model_dump(mode="json") for attempt in trial.attempts],
        "reports": [
            {**report.model_dump(mode="json"), **decision.model_dump(mode="json")}
            for report, decision in zip(trial.reports, trial.decisions, strict=True)
        ],
    }


def save_trial(
    folder: Path,
    checkpoint: Directory,
    trial: TrialRecord,
    report: Report,
    dataset: Dataset,
    pretrained: Pretrained,
    inputs: InputSettings,
    recipe: str,
) -> None:
    """Save the model of a checkpoint with its dev and test predictions.

    Args:
        folder: where to.
        checkpoint: its directory.
        trial: that it is of.
        report: that it is of.
        dataset: to answer.
        pretrained: the encoder that the trial started from.
        inputs: where the two come from.
        recipe: name of the recipe that the trial departs from.

    Raises:
        InputError: the checkpoint is damaged.
    """
    model = load_model(checkpoint, trial.config, dataset, pretrained)
    info = ModelInfo(
        inputs=inputs,
        config=trial.config,
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
