"""The learning rate of the encoder; the heads keep the recipe's multiple of it."""

from typing import Any

import optuna


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {"lr": trial.suggest_float("lr", 5e-6, 1e-3, log=True)}
