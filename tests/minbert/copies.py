"""Counts what a training step copies to its device, with a device of no memory in place of CUDA."""

from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own, as below
    """Counts copies between the CPU and the ``meta`` device while it is entered.

    Attributes:
        to_device: copies from the CPU to it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.to_device = 0

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [each for each in args if isinstance(each, torch.Tensor)]
        if (
            isinstance(result, torch.Tensor)
            and result.device.type == "meta"
            and any(each.device.type == "cpu" and each.ndim for each in given)
        ):
            self.to_device += 1
        return result
