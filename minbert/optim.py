"""AdamW and RAdam, parameter groups and learning rate schedule."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .config import TrainConfig
from .model import MultitaskModel

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8
# As in torch.nn.utils.clip_grad_norm_, so that a norm of 0 causes no division by 0.
_CLIP_EPS = 1e-6


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with one learning rate (before the schedule) and one weight decay."""

    parameters: list[nn.Parameter]
    lr: float
    weight_decay: float


def parameter_groups(model: MultitaskModel, config: TrainConfig) -> list[ParameterGroup]:
    """Parameters that share a learning rate and a weight decay.

    The encoder's last layer has the learning rate of the configuration, each layer below it
    ``layer_decay`` times that of the layer above (Howard and Ruder 2018, section 3.2), and the
    heads ``head_lr_multiple`` times that of the last layer. Biases and LayerNorm are not decayed.
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
        ParameterGroup(parameters, lr, config.weight_decay if decayed else 0.0)
        for (lr, decayed), parameters in groups.items()
    ]


@dataclass
class _Moments:
    """The number of gradients that a parameter has had, and their running averages."""

    count: int
    # The same on the parameter's device, where the fused step reads it.
    step: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) or RAdam (Liu et al. 2020) with decoupled weight decay.

    Both use torch's fused AdamW step. After the first steps RAdam differs from it only by factors
    of the learning rate and of epsilon. ``torch.optim`` is not used: its RAdam has no fused step,
    and its classes import torch's compiler, which delays the first step of a process.

    Args:
        groups: parameter groups. A step does not change parameters without a gradient.
        rectified: RAdam instead of AdamW.
    """

    def __init__(self, groups: list[ParameterGroup], *, rectified: bool):
        self._groups = groups
        self._rectified = rectified
        self._moments: dict[nn.Parameter, _Moments] = {}

    @property
    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._groups for parameter in group.parameters]

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, factor: float, clip_norm: float) -> torch.Tensor:
        """Update the parameters by their gradients, which are changed too.

        Args:
            factor: factor of all learning rates, from the schedule.
            clip_norm: gradients whose norm over all parameters is larger are scaled down to it;
                0 does not clip.

        Returns:
            The norm before clipping, on the parameters' device.
        """
        norms = [torch.linalg.vector_norm(p.grad) for p in self._parameters if p.grad is not None]
        norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(norms))
        # The divisor of the gradients.
        scale = ((norm + _CLIP_EPS) / clip_norm).clamp(min=1.0) if clip_norm else None
        for group in self._groups:
            by_count: dict[int, list[nn.Parameter]] = {}
            for parameter in group.parameters:
                if parameter.grad is not None:
                    moments = self._moments_of(parameter)
                    moments.count += 1
                    by_count.setdefault(moments.count, []).append(parameter)
            # Heads have a gradient only in steps of their own task.
            for count, parameters in by_count.items():
                self._update(parameters, count, factor * group.lr, group.weight_decay, scale)
        return norm

    def _update(
        self,
        parameters: list[nn.Parameter],
        count: int,
        lr: float,
        weight_decay: float,
        scale: torch.Tensor | None,
    ) -> None:
        eps, rectification = _EPS, 1.0
        if self._rectified:
            rectification = _rectification(count)
            if not rectification:
                self._update_by_mean(parameters, count, lr, weight_decay, scale)
                return
            # Torch's RAdam adds epsilon before the bias of the second moment is corrected.
            eps /= math.sqrt(1 - _BETA2**count)
        moments = [self._moments[parameter] for parameter in parameters]
        steps = [each.step for each in moments]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            list[torch.Tensor](parameters),
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [each.mean for each in moments],
            [each.square for each in moments],
            [],
            steps,
            amsgrad=False,
            lr=lr * rectification,
            beta1=_BETA1,
            beta2=_BETA2,
            # The step multiplies it by the learning rate.
            weight_decay=weight_decay / rectification,
            eps=eps,
            maximize=False,
            grad_scale=scale,
            found_inf=None,
        )

    def _update_by_mean(
        self,
        parameters: list[nn.Parameter],
        count: int,
        lr: float,
        weight_decay: float,
        scale: torch.Tensor | None,
    ) -> None:
        """RAdam's first steps, in which the variance of the second moment is not tractable."""
        for parameter in parameters:
            moments, gradient = self._moments[parameter], parameter.grad
            assert gradient is not None
            if scale is not None:
                gradient /= scale
            moments.step += 1
            moments.mean.lerp_(gradient, 1 - _BETA1)
            moments.square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
            parameter.mul_(1 - lr * weight_decay)
            parameter.add_(moments.mean, alpha=-lr / (1 - _BETA1**count))

    def _moments_of(self, parameter: nn.Parameter) -> _Moments:
        if parameter not in self._moments:
            self._moments[parameter] = _Moments(
                0,
                torch.zeros((), device=parameter.device),
                torch.zeros_like(parameter, memory_format=torch.preserve_format),
                torch.zeros_like(parameter, memory_format=torch.preserve_format),
            )
        return self._moments[parameter]

    def state_dict(self) -> dict[str, Any]:
        """The moments by parameter number, under the names of ``torch.optim.AdamW``."""
        state = {}
        for number, parameter in enumerate(self._parameters):
            if (each := self._moments.get(parameter)) is not None:
                state[number] = {
                    "step": each.step,
                    "exp_avg": each.mean,
                    "exp_avg_sq": each.square,
                }
        return {"state": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        parameters = self._parameters
        self._moments = {}
        for number, of_one in state["state"].items():
            device = parameters[number].device
            step, mean, square = (
                of_one[name].to(device, copy=True) for name in ("step", "exp_avg", "exp_avg_sq")
            )
            self._moments[parameters[number]] = _Moments(int(step), step, mean, square)


def _rectification(count: int) -> float:
    """RAdam's factor of the learning rate at a parameter's step ``count`` (from 1).

    Liu et al. 2020, algorithm 2; 0 where the variance is not tractable.
    """
    longest = 2 / (1 - _BETA2) - 1
    length = longest - 2 * count * _BETA2**count / (1 - _BETA2**count)
    # The paper has 4; torch, whose results this must equal, has 5.
    if length <= 5:
        return 0.0
    return math.sqrt(
        ((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length)
    )


def make_optimizer(model: MultitaskModel, config: TrainConfig) -> Optimizer:
    """The optimizer that the configuration names, over all parameters of the model."""
    return Optimizer(parameter_groups(model, config), rectified=config.optimizer == "radam")


def schedule_factor(step: int, steps: int, config: TrainConfig) -> float:
    """The factor of the learning rates at optimizer step ``step`` (from 0) of ``steps``.

    It rises linearly over the warm-up and reaches 1 at its last step; after it, a
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
