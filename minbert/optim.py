"""Optimizer, parameter groups and learning rate schedule."""

import math

import torch
from torch import nn

from .config import TrainConfig
from .model import MultitaskModel


def parameter_groups(model: MultitaskModel, config: TrainConfig) -> list[dict[str, object]]:
    """Parameters that share a learning rate and a weight decay.

    The encoder's last layer has the learning rate of the configuration, each layer below it
    ``layer_decay`` times that of the layer above (Howard and Ruder 2018, section 3.2), and the
    heads ``head_lr_multiple`` times as much. Biases and LayerNorm are not decayed.

    Returns:
        Groups for an optimizer; ``full_lr`` is the learning rate before the schedule.
    """
    encoder = model.encoder
    top = encoder.config.layers  # depth of the last layer
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("encoder."):
            depth = encoder.depth_of(name.removeprefix("encoder."))
            lr = config.lr * config.layer_decay ** max(0, top - depth)
        else:
            lr = config.lr * config.head_lr_multiple
        # Weights of LayerNorm and all biases are vectors, as are the cosine's scale and shift.
        groups.setdefault((lr, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr,
            "full_lr": lr,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (lr, decayed), parameters in groups.items()
    ]


def make_optimizer(model: MultitaskModel, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that the configuration names, over all parameters of the model."""
    groups = parameter_groups(model, config)
    if config.optimizer == "radam":
        return torch.optim.RAdam(groups, decoupled_weight_decay=True)
    return torch.optim.AdamW(groups, fused=True)


def schedule_factor(step: int, steps: int, config: TrainConfig) -> float:
    """What the learning rates are multiplied by at optimizer step ``step`` (from 0) of ``steps``.

    It rises in a straight line over the warm-up and reaches 1 at its last step; after it, a
    decaying schedule falls from 1 and would reach 0 one step after the end.
    """
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "linear":
        return 1.0 - progress
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = factor * group["full_lr"]
