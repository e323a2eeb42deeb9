"""Dropout (Srivastava et al. 2014), with masks that a CPU draws fast.

On a CPU torch draws them one by one, in double precision. Here each is a 16-bit part of a random
word. On CUDA torch's own masks are fast.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 1 << 16
# Over the full range of int64, random_ uses the generator's words unchanged.
_LOWEST = -(1 << 63)


class Dropout(nn.Dropout):
    """Like ``torch.nn.Dropout``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        if not self.training or not self.p:
            return input
        if input.device.type != "cpu":
            return F.dropout(input, self.p)
        mask, scale = keep_mask(input.shape, self.p)
        return input * mask.mul_(scale)

    def add(self, base: Tensor, input: Tensor) -> Tensor:  # noqa: A002
        """``base + self(input)``, on a CPU in one pass."""
        if self.training and self.p and input.device.type == "cpu":
            mask, scale = keep_mask(input.shape, self.p)
            return torch.addcmul(base, input, mask, value=scale)
        dropped: Tensor = self(input)
        return base + dropped


def keep_mask(shape: Sequence[int], rate: float) -> tuple[Tensor, float]:
    """Draw which elements are kept, from torch's CPU generator.

    Args:
        shape: shape of the mask.
        rate: share of elements to drop, rounded to 1/65536.

    Returns:
        The float32 mask, 1 where an element is kept and 0 elsewhere; and the factor for kept
        elements that preserves the expectation.
    """
    dropped = round(rate * _LEVELS)
    if dropped == _LEVELS:
        return torch.zeros(shape), 1.0
    size = math.prod(shape)
    words = torch.empty((size + 3) // 4, dtype=torch.int64).random_(_LOWEST, None)
    bits = words.view(torch.int16)[:size].view(shape)
    mask = torch.empty(shape)
    # Signed numbers begin at minus half the levels.
    torch.ge(bits, dropped - _LEVELS // 2, out=mask)
    return mask, _LEVELS / (_LEVELS - dropped)
