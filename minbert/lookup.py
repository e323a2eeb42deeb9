"""Word embeddings, whose gradient has few rows that are not zero."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WordEmbedding(nn.Embedding):
    """``torch.nn.Embedding`` with one buffer for its gradient on a CPU.

    Torch allocates a gradient of all words in each step, most of it zeros. Here one buffer is
    reused, and the rows that a step touched are cleared before the next one. So the next step
    overwrites the gradient of this one, and ``weight.grad`` must be None by then.
    """

    _buffer: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        if input.device.type != "cpu" or not (
            torch.is_grad_enabled() and self.weight.requires_grad
        ):
            return super().forward(input)
        rows: Tensor = _Lookup.apply(self.weight, input, self)  # type: ignore[no-untyped-call]  # torch's
        return rows

    def gradient(self, ids: Tensor, gradient: Tensor) -> Tensor | None:
        """The gradient of all words from (tokens, hidden); None if it was added to the last one."""
        is_first = self.weight.grad is None
        if self._buffer is None:
            self._buffer = torch.zeros_like(self.weight)
            self._touched: list[Tensor] = []
        if is_first:
            for rows in self._touched:
                self._buffer.index_fill_(0, rows, 0.0)
            self._touched = []
        rows, places = torch.unique(ids, return_inverse=True)
        # Sums in a fixed order, for any number of threads.
        sums = torch.ops.aten.embedding_dense_backward(gradient, places, len(rows), -1, False)
        self._buffer.index_add_(0, rows, sums)
        self._touched.append(rows)
        # Another tensor on the same memory: torch takes a tensor as the gradient if nothing else
        # refers to it, and copies it otherwise.
        return self._buffer.detach() if is_first else None


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, module: WordEmbedding) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.module = module
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        (ids,) = ctx.saved_tensors
        return ctx.module.gradient(ids, gradients[0]), None, None
