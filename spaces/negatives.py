"""Negative similarity pairs: how many per true pair, and how they are chosen."""

from typing import Any

import optuna


def space(trial: optuna.Trial) -> dict[str, Any]:
    ratio = trial.suggest_float("negatives", 0.0, 4.0, step=0.5)
    if ratio == 0:
        return {"negatives": 0.0}
    strategy = trial.suggest_categorical("negative_strategy", ["random", "hard"])
    return {"negatives": ratio, "negative_strategy": strategy}
