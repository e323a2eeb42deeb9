"""What a search varies, as columns: one per field, and α, β, γ for the loss weights."""

from collections.abc import Sequence
from typing import Any

from minbert.tasks import TASK_NAMES
from search.record import GREEK, TrialRecord

LOSS_WEIGHTS = "loss_weights"


def varied_columns(trials: Sequence[TrialRecord]) -> list[str]:
    """Names of the columns, in the order in which the trials first set the fields."""
    fields = dict.fromkeys(name for trial in trials for name in trial.fields)
    greek = [GREEK[task] for task in TASK_NAMES if any(task in t.weights for t in trials)]
    columns: list[str] = []
    for name in fields:
        columns += greek if name == LOSS_WEIGHTS else [name]
    return columns


def value_of(trial: TrialRecord, column: str) -> bool | int | float | str:
    """A trial's value in a column: what it was trained with, even if the space did not set it."""
    for task in TASK_NAMES:
        if column == GREEK[task]:
            return trial.weights.get(task, 0.0)
    value: Any = getattr(trial.config, column)
    if isinstance(value, bool | int | float | str):
        return value
    return "none" if value is None else ",".join(map(str, value))
