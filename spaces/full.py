"""Everything at once: loss weights, optimizer, negatives, heads, pair encoding, order of tasks."""

from typing import Any

import optuna

from minbert.config import TrainConfig

from . import negatives, optimizer, weights

SHOWN = weights.SHOWN


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {
        **weights.space(trial),
        **optimizer.space(trial),
        **negatives.space(trial),
        **_model(trial),
        **_order_of_tasks(trial),
        "head_lr_multiple": trial.suggest_float("head_lr_multiple", 1.0, 50.0, log=True),
        "layer_decay": trial.suggest_float("layer_decay", 0.7, 1.0),
        "schedule": trial.suggest_categorical("schedule", ["constant", "linear", "cosine"]),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
    }


def at(config: TrainConfig) -> dict[str, Any]:
    return {**weights.at(config), **optimizer.at(config)}


def _model(trial: optuna.Trial) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "pooling": trial.suggest_categorical("pooling", ["cls", "mean"]),
        "pair_encoding": trial.suggest_categorical("pair_encoding", ["separate", "joint"]),
        "para_hidden_layers": trial.suggest_int("para_hidden_layers", 0, 2),
        "sts_hidden_layers": trial.suggest_int("sts_hidden_layers", 0, 2),
    }
    if fields["pair_encoding"] == "joint":
        return {**fields, "para_head": "linear", "sts_head": "linear"}
    # Without linear_cosine, which can only predict −1 or 1 and learns nothing.
    return {
        **fields,
        "para_head": trial.suggest_categorical("para_head", ["linear", "cosine", "difference"]),
        "sts_head": trial.suggest_categorical("sts_head", ["linear", "cosine", "difference"]),
    }


def _order_of_tasks(trial: optuna.Trial) -> dict[str, Any]:
    sampling = trial.suggest_categorical("sampling", ["sequential", "proportional", "round_robin"])
    if sampling != "proportional":
        return {"sampling": sampling}
    return {
        "sampling": sampling,
        "sampling_exponent": trial.suggest_float("sampling_exponent", 0.0, 1.0),
        "sampling_exponent_end": trial.suggest_float("sampling_exponent_end", 0.0, 1.0),
    }
