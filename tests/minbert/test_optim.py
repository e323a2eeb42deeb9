"""The optimizer beside those of torch.optim, and its state."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from minbert.optim import Optimizer, ParameterGroup

STEPS = 12


def parameters() -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((7, 5), (5,), (3, 4))]


def give_gradients(to: list[nn.Parameter], step: int, size: float) -> None:
    """Random ones of about this size; the last parameter, a head, has one in each third step."""
    draw = torch.Generator().manual_seed(1 + step)
    for number, parameter in enumerate(to):
        gradient = size * torch.randn(parameter.shape, generator=draw)
        parameter.grad = None if number == 2 and step % 3 else gradient


def ours(of: list[nn.Parameter], *, rectified: bool) -> Optimizer:
    groups = [ParameterGroup(of[:1], 1e-2, 0.1), ParameterGroup(of[1:], 3e-2, 0.0)]
    return Optimizer(groups, rectified=rectified)


def of_torch(of: list[nn.Parameter], make: Callable[..., Any]) -> Any:
    return make(
        [
            {"params": of[:1], "lr": 1e-2, "full_lr": 1e-2, "weight_decay": 0.1},
            {"params": of[1:], "lr": 3e-2, "full_lr": 3e-2, "weight_decay": 0.0},
        ]
    )


# The sizes of gradients also show where epsilon is added.
@pytest.mark.parametrize("size", [1.0, 1e-7])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("rectified", [False, True])
def test_steps_are_those_of_torch(rectified: bool, clip_norm: float, size: float) -> None:
    def radam(groups: Any) -> Any:
        return torch.optim.RAdam(groups, decoupled_weight_decay=True)

    mine, theirs = parameters(), parameters()
    optimizer = ours(mine, rectified=rectified)
    reference = of_torch(theirs, radam if rectified else torch.optim.AdamW)
    for step in range(STEPS):
        factor = 1 - step / STEPS
        for both in (mine, theirs):
            give_gradients(both, step, size)
        expected = torch.nn.utils.clip_grad_norm_(theirs, clip_norm or torch.inf)
        for group in reference.param_groups:
            group["lr"] = factor * group["full_lr"]
        reference.step()
        assert float(optimizer.step(factor, clip_norm)) == pytest.approx(float(expected))
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("rectified", [False, True])
def test_a_loaded_state_goes_on_bit_for_bit(rectified: bool) -> None:
    whole, cut = parameters(), parameters()
    first, second = ours(whole, rectified=rectified), ours(cut, rectified=rectified)
    for step in range(STEPS):
        if step in (1, 8):
            state = second.state_dict()
            second = ours(cut, rectified=rectified)
            second.load_state_dict(state)
        for both in (whole, cut):
            give_gradients(both, step, 1.0)
        first.step(1.0, 1.0)
        second.step(1.0, 1.0)
    assert all(torch.equal(one, other) for one, other in zip(whole, cut, strict=True))


def test_a_state_of_torchs_adamw_is_taken_over() -> None:
    mine, theirs = parameters(), parameters()
    reference = of_torch(theirs, torch.optim.AdamW)
    optimizer = ours(mine, rectified=False)
    for step in range(STEPS):
        give_gradients(theirs, step, 1.0)
        if step == 6:
            with torch.no_grad():
                for one, other in zip(mine, theirs, strict=True):
                    one.copy_(other)
            optimizer.load_state_dict(reference.state_dict())
        reference.step()
        if step >= 6:
            give_gradients(mine, step, 1.0)
            optimizer.step(1.0, 0.0)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_training_imports_no_compiler() -> None:
    code = """
import sys
import torch
from minbert.encoder import Encoder
from minbert.hub import load_pretrained
from minbert.optim import Optimizer, ParameterGroup
Encoder.from_pretrained(load_pretrained("tiny"), 0.1)
parameter = torch.nn.Parameter(torch.ones(3))
optimizer = Optimizer([ParameterGroup([parameter], 0.1, 0.1)], rectified=True)
for _ in range(9):
    optimizer.zero_grad()
    parameter.sum().backward()
    optimizer.step(1.0, 1.0)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
