"""AdamW or RAdam, each with suitable ranges of learning rate, weight decay and warm-up."""

from typing import Any

import optuna

from minbert.config import TrainConfig


def space(trial: optuna.Trial) -> dict[str, Any]:
    if trial.suggest_categorical("optimizer", ["adamw", "radam"]) == "adamw":
        return {
            "optimizer": "adamw",
            "lr": trial.suggest_float("adamw_lr", 5e-6, 1e-3, log=True),
            "weight_decay": trial.suggest_float("adamw_weight_decay", 1e-4, 0.1, log=True),
            "warmup": trial.suggest_float("adamw_warmup", 0.0, 0.3),
        }
    # RAdam's rectification is itself a warm-up (Liu et al. 2020, section 4), so RAdam needs no
    # other. Its first steps are small, so its learning rates are larger.
    return {
        "optimizer": "radam",
        "lr": trial.suggest_float("radam_lr", 1e-5, 2e-3, log=True),
        "weight_decay": trial.suggest_float("radam_weight_decay", 1e-4, 0.1, log=True),
        "warmup": 0.0,
    }


def at(config: TrainConfig) -> dict[str, Any]:
    fields = ("lr", "weight_decay", "warmup")
    return {f"{config.optimizer}_{name}": getattr(config, name) for name in fields}
