"""The result files of a search, for people and programs."""

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minbert.files import write_whole
from minbert.tasks import TASK_NAMES

from .record import GREEK, SearchRecord, TrialRecord


def table_of(record: SearchRecord) -> list[dict[str, Any]]:
    """One row per trial, best first; scores are those of the checkpoint that a trial has selected.

    Returns:
        Rows for a table such as ``pandas.DataFrame(rows)``. All have the same columns. Unknown
        values are None; ``alpha`` to ``gamma`` are the normalised loss weights.
    """
    varied = sorted({name for trial in record.trials for name in trial.fields} - {"loss_weights"})
    return [_row(trial, varied) for trial in record.ranked]


def _row(trial: TrialRecord, varied: Iterable[str]) -> dict[str, Any]:
    config = trial.config.model_dump(mode="json")
    row: dict[str, Any] = {
        "trial": trial.number,
        "name": trial.name,
        "state": trial.state,
        "score": trial.score,
    }
    for task in TASK_NAMES:
        row[task] = trial.kept.scores.get(task) if trial.kept else None
    row["epochs"] = trial.reports[-1].epoch if trial.reports else 0.0
    row["reports"] = len(trial.reports)
    row["seconds"] = trial.seconds
    for name, task in zip(("alpha", "beta", "gamma"), TASK_NAMES, strict=True):
        row[name] = trial.weights.get(task)
    for name in varied:
        # Not "epochs", which is what was trained: a trial may be stopped before its last epoch.
        row["config_epochs" if name == "epochs" else name] = config[name]
    row["machines"] = "; ".join(trial.machines)
    row["error"] = trial.error
    return row


_FOUR_DECIMALS = ("score", *TASK_NAMES, "epochs", "alpha", "beta", "gamma")
_DECIMALS = {"seconds": 1, **dict.fromkeys(_FOUR_DECIMALS, 4)}


def write_table(path: Path, record: SearchRecord) -> None:
    """Write ``table_of`` as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        rows = table_of(record)
        writer.writerow(rows[0] if rows else ())
        for row in rows:
            writer.writerow(_as_cell(value, _DECIMALS.get(name)) for name, value in row.items())


def _as_cell(value: Any, decimals: int | None) -> Any:
    if value is not None and decimals is not None:
        return f"{value:.{decimals}f}"
    return ",".join(map(str, value)) if isinstance(value, list) else value


def write_summary(path: Path, record: SearchRecord, about: dict[str, Any]) -> None:
    """Write everything that is known about the search as JSON.

    Args:
        about: entries to add: what was asked for and what it ran on.
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
    """A value for strict JSON, with null in place of NaN and infinity."""
    if isinstance(value, dict):
        return {key: strict_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def trial_as_json(trial: TrialRecord) -> dict[str, Any]:
    """Everything that is known about a trial, for JSON."""
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
