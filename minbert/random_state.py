"""Torch's random state of one trainer, kept apart from that of the process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class RandomState:
    """A random state of its own on the CPU and, for a CUDA device, on that device.

    What else is trained in the process, before or in between, does not change what is drawn.

    Args:
        seed: of the first draw.
        device: where to draw.
    """

    def __init__(self, seed: int, device: torch.device):
        self._device = device
        self._in_use = False
        with self._forked():
            torch.manual_seed(seed)
            self._states = self._of_process()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Draw from this state, and leave the process's as it was."""
        with self._forked():
            torch.set_rng_state(self._states["cpu"].cpu())
            if self._on_cuda and "cuda" in self._states:
                torch.cuda.set_rng_state(self._states["cuda"].cpu(), self._device)
            self._in_use = True
            try:
                yield
            finally:
                self._states = self._of_process()
                self._in_use = False

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state now, while it is in use too."""
        return self._of_process() if self._in_use else self._states

    def load_state_dict(self, states: dict[str, torch.Tensor]) -> None:
        self._states = dict(states)

    @property
    def _on_cuda(self) -> bool:
        return self._device.type == "cuda"

    @contextmanager
    def _forked(self) -> Iterator[None]:
        with torch.random.fork_rng([self._device] if self._on_cuda else []):
            yield

    def _of_process(self) -> dict[str, torch.Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._on_cuda:
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states
