"""How much each task weighs in training: the loss weights, uniform over all combinations."""

import math
from typing import Any

import optuna

from minbert.config import TrainConfig
from minbert.weights import Weights

# The sampler sees these two numbers in place of the three weights; people see the weights.
UNIT_SQUARE = ("u", "v")
SHOWN = dict.fromkeys(UNIT_SQUARE, ("loss_weights", "α, β, γ ≥ 0 with α + β + γ = 1, uniform"))


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {"loss_weights": suggest_weights(trial)}


def at(config: TrainConfig) -> dict[str, Any]:
    return dict(zip(UNIT_SQUARE, unit_square_at(config.loss_weights), strict=True))


def suggest_weights(trial: optuna.Trial) -> Weights:
    """Three weights that add up to 1; uniform draws make all combinations equally likely."""
    return weights_at(*(trial.suggest_float(name, 0.0, 1.0) for name in UNIT_SQUARE))


def weights_at(u: float, v: float) -> Weights:
    """The point of the simplex for a point of the unit square.

    α = 1 − √u, β = (1 − α)·v, γ = (1 − α)·(1 − v). A uniform (u, v) gives uniform weights: the
    part of the simplex with α > a is a triangle with the share (1 − a)² of the area, and there
    u < (1 − a)². Given α, v divides the rest uniformly. Equal weights are at u = 4/9, v = 1/2.
    """
    rest = math.sqrt(u)
    return Weights(1 - rest, rest * v, rest * (1 - v))


def unit_square_at(weights: Weights) -> tuple[float, float]:
    """The point (u, v) that ``weights_at`` maps to ``weights``, which may have any scale.

    If all weight is on the first task, any v fits; v is then 1/2.
    """
    rest = (weights.para + weights.sts) / sum(weights)
    v = weights.para / (weights.para + weights.sts) if rest else 0.5
    return rest**2, v
