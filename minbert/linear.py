"""Linear layers in float32 on a CPU, by whichever of torch's two libraries is faster there.

``F.linear`` calls torch's BLAS, which is MKL in the usual builds. On processors other than Intel's
it takes a path without AVX-512, and oneDNN can be twice as fast. The operator that reaches
oneDNN is private to torch (its compiler uses it), so nothing outside this file calls it.
"""

import functools
import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Backend
from .settings import choose

# A smaller gain is noise, and would let two runs of one study differ in their last digits.
_FASTER_BY = 1.15
_PROBE_TOKENS = 256
_PROBE_ROUNDS = 5
# With smaller matrices, overhead dominates.
_SMALLEST_HIDDEN = 128


class Linear(nn.Linear):
    """``torch.nn.Linear`` with a choice of library for its matrix products on a CPU.

    Attributes:
        backend: the library used in float32 on a CPU; elsewhere torch chooses.
    """

    backend: Backend = "blas"

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        plain = input.device.type != "cpu" or torch.is_autocast_enabled("cpu")
        if self.backend == "blas" or plain or input.dtype != torch.float32 or input.ndim != 2:
            return super().forward(input)
        output: Tensor = _OneDnn.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch's own
        return output


def use_backend(model: nn.Module, backend: Backend) -> None:
    """Set the back-end of all ``Linear`` layers of a model."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.backend = backend


class _OneDnn(torch.autograd.Function):
    """x Wᵀ + b and its gradients; x is (tokens, inputs), W (outputs, inputs)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_x = _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        return of_x, _product(gradient.t(), x.t()), gradient.sum(0)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def check_backend(name: str) -> Backend:
    """The back-end with the name that a saved state gives; InputError for an unknown one."""
    known: dict[str, Backend] = {backend: backend for backend in get_args(Backend)}
    return choose("back-end of linear layers", name, known)


def fastest_backend(hidden: int, intermediate: int) -> Backend:
    """The faster back-end on this machine, with as many threads as torch has now.

    Measures for some tens of milliseconds, once per process. oneDNN is chosen only if it is
    available, agrees with the BLAS and is clearly faster.

    Args:
        hidden: size of the encoder's hidden states.
        intermediate: size of its feed-forward layers.
    """
    return _probe(hidden, intermediate, torch.get_num_threads())


@functools.cache
def _probe(hidden: int, intermediate: int, threads: int) -> Backend:  # noqa: ARG001
    if hidden < _SMALLEST_HIDDEN:
        return "blas"
    taken = seconds(hidden, intermediate)
    if "onednn" not in taken:
        return "blas"
    faster_by = sorted(
        blas / onednn for blas, onednn in zip(taken["blas"], taken["onednn"], strict=True)
    )
    # Another program may disturb a round or two, in favour of either.
    return "onednn" if faster_by[1] > _FASTER_BY else "blas"


def seconds(hidden: int, intermediate: int) -> dict[Backend, list[float]]:
    """Time the products of a layer, forward and backward, by each back-end in turn.

    Returns:
        By back-end the seconds of each round but the first; a round takes ``operations``. oneDNN is
        missing if torch has no such operator, or if it does not agree with the BLAS.
    """
    draw = torch.Generator().manual_seed(0)
    runs: dict[Backend, list[Callable[[], Tensor]]] = {"blas": [], "onednn": []}
    for inputs, outputs in _layer_shapes(hidden, intermediate):
        x = torch.randn(_PROBE_TOKENS, inputs, generator=draw)
        weight = torch.randn(outputs, inputs, generator=draw)
        bias = torch.randn(outputs, generator=draw)
        gradient = torch.randn(_PROBE_TOKENS, outputs, generator=draw)
        runs["blas"] += [
            partial(F.linear, x, weight, bias),
            partial(torch.mm, gradient, weight),
            partial(torch.mm, gradient.t(), x),
        ]
        runs["onednn"] += [
            partial(_product, x, weight, bias),
            partial(_product, gradient, weight.t()),
            partial(_product, gradient.t(), x.t()),
        ]
    pairs = zip(runs["blas"], runs["onednn"], strict=True)
    if not _has_onednn() or not all(_agree(one(), other()) for one, other in pairs):
        del runs["onednn"]
    taken: dict[Backend, list[float]] = {backend: [] for backend in runs}
    for round_ in range(1 + _PROBE_ROUNDS):
        for backend, products in runs.items():
            start = time.perf_counter()
            for product in products:
                product()
            if round_:
                taken[backend].append(time.perf_counter() - start)
    return taken


def operations(hidden: int, intermediate: int) -> int:
    """Floating-point operations in a round of ``seconds``."""
    return sum(6 * _PROBE_TOKENS * a * b for a, b in _layer_shapes(hidden, intermediate))


def _layer_shapes(hidden: int, intermediate: int) -> list[tuple[int, int]]:
    """Inputs and outputs of the linear layers of a BERT layer."""
    return [
        (hidden, 3 * hidden),
        (hidden, hidden),
        (hidden, intermediate),
        (intermediate, hidden),
    ]


def _has_onednn() -> bool:
    try:
        _product(torch.ones(2, 2), torch.ones(2, 2))
    except (AttributeError, RuntimeError):  # this torch has no such operator, or it differs
        return False
    return True


def _agree(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-4 * one.abs().max())
