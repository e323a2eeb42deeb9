"""Five choices of a training run, for curves that are made up."""

from typing import Any

import optuna


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "lr": trial.suggest_float("lr", 1e-6, 1e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
        "warmup": trial.suggest_float("warmup", 0.0, 0.5),
        "layer_decay": trial.suggest_float("layer_decay", 0.5, 1.0),
        "pooling": trial.suggest_categorical("pooling", ["cls", "mean"]),
    }
