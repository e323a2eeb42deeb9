"""What a training step takes at least: its matrix products, and what AdamW has to move.

Both are estimated at the rates that this device reaches, measured here. Attention, layer norms,
dropout, and the gradients' way to memory come on top, so that no step gets there.
"""

import time
from collections.abc import Callable

import torch

from minbert.encoder_config import EncoderConfig
from minbert.linear import operations, seconds

# Weight, gradient and two moments are read, weight and moments written, four bytes each.
ADAMW_BYTES = 28


def operations_per_token(config: EncoderConfig) -> int:
    """Of the linear layers, forward and backward; attention and the rest are left out."""
    hidden = config.hidden_size
    return 6 * config.layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)


def matrix_rate(config: EncoderConfig, device: str) -> float:
    """Operations a second: on a CPU the best of all back-ends in float32 over the products of a
    layer, with the threads that torch has; elsewhere the best of ten 8192³ products in bfloat16.
    """
    if device == "cpu":
        shape = config.hidden_size, config.intermediate_size
        return operations(*shape) / min(min(rounds) for rounds in seconds(*shape).values())
    left, right = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / _best(lambda: torch.mm(left, right), device)


def bandwidth(device: str) -> float:
    """Bytes a second that a copy of 1 GB reads and writes."""
    source = torch.zeros(2**28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), device)


def step_seconds(
    tokens: float, parameters: int, operations: int, rate: float, width: float
) -> float:
    """Seconds of a step.

    Args:
        tokens: of the step.
        parameters: that AdamW updates.
        operations: of a token.
        rate: operations a second.
        width: bytes a second.
    """
    return tokens * operations / rate + parameters * ADAMW_BYTES / width


def _best(run: Callable[[], object], device: str) -> float:
    run()
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)
