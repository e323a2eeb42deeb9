"""Checkpoints of trials: written by workers before they report, removed by the driver.

    checkpoints/0007/0003-1/        trial 7, report 3, attempt 1
        weights.safetensors         the model, S bytes
        state.pt                    the rest of the trainer's state, about 2 S; not always there
        checkpoint.json             sha256 of the two, to detect truncated files

A *model* is for use, a *state* is for resuming. ``checkpoint.json`` is written last and removed
first; without it there is no checkpoint. A worker writes before it reports, so no report lacks its
checkpoint, whenever a kill comes.

The most disk space that a search needs, for a model of S bytes: 3 S for the latest state of each
trial that runs or is paused, S for the model that each of them keeps, S for each model of the
Pareto front and of the best ``--keep-models`` trials, and 3 S for each slot while it writes.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Collection, Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from minbert.checkpoint import read_state
from minbert.errors import DamagedError

from .directory import Directory

WEIGHTS = "weights.safetensors"
_STATE, _ABOUT = "state.pt", "checkpoint.json"

# Trial and step.
Key = tuple[int, int]


def save_checkpoint(
    directory: Directory, key: Key, attempt: int, state: dict[str, Any], *, with_state: bool
) -> Directory:
    """Save the checkpoint of a report; returns the checkpoint's own directory.

    Args:
        directory: the one with all checkpoints of the search.
        key: trial and step.
        attempt: attempt number of the trial.
        state: of the trainer, as its ``state_dict`` gives it; its weights are saved.
        with_state: save the rest of the state too.

    Raises:
        OSError: a file cannot be written.
    """
    # Tied parameters would not load into a new model; there are none.
    weights = {name: tensor.cpu().contiguous() for name, tensor in state.pop("model").items()}
    target = directory / _name(*key, attempt)
    sha256 = {}

    def write(name: str, content: bytes) -> None:
        sha256[name] = hashlib.sha256(content).hexdigest()
        target.write(name, content)

    # Serialise one after the other, so that memory holds only one of them a second time.
    write(WEIGHTS, safetensors.torch.save(weights))
    if with_state:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write(_STATE, buffer.getvalue())
    target.write(_ABOUT, json.dumps({"sha256": sha256}).encode())
    return target


def load_checkpoint(checkpoint: Directory) -> dict[str, Any]:
    """The state in a checkpoint that has one, for a trainer's ``load_state_dict``.

    Raises:
        DamagedError: a file is missing or truncated.
        OSError: a file cannot be read.
    """
    files = read_verified(checkpoint, WEIGHTS, _STATE)
    state = read_state(files[_STATE], f"{checkpoint}/{_STATE}")
    state["model"] = _tensors(checkpoint, files[WEIGHTS])
    return state


def load_weights(checkpoint: Directory) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint, by name.

    Raises:
        DamagedError: a file is missing or truncated.
        OSError: a file cannot be read.
    """
    return _tensors(checkpoint, read_verified(checkpoint, WEIGHTS)[WEIGHTS])


def read_verified(checkpoint: Directory, *names: str) -> dict[str, bytes]:
    """Read files of a checkpoint and compare them with their checksums.

    Raises:
        DamagedError: a file is missing or does not match its checksum; the message names it.
        OSError: a file cannot be read.
    """
    try:
        sha256 = dict(json.loads(checkpoint.read(_ABOUT))["sha256"])
    except FileNotFoundError:
        raise DamagedError(f"{checkpoint}/{_ABOUT} is missing") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamagedError(f"{checkpoint}/{_ABOUT} is damaged") from None
    files = {}
    for name in names:
        try:
            files[name] = checkpoint.read(name)
        except FileNotFoundError:
            raise DamagedError(f"{checkpoint}/{name} is missing") from None
        if hashlib.sha256(files[name]).hexdigest() != sha256.get(name):
            raise DamagedError(f"{checkpoint}/{name} is damaged")
    return files


def _tensors(checkpoint: Directory, content: bytes) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, MemoryError):
        raise DamagedError(f"{checkpoint}/{WEIGHTS} is damaged") from None


def _name(number: int, step: int, attempt: int) -> str:
    return f"{number:04d}/{step:04d}-{attempt}"


class _Entry:
    """One whole checkpoint.

    Attributes:
        has_state: a trial can resume from it.
    """

    def __init__(self, name: str, files: Collection[str]):
        self.name = name
        self.has_state = _STATE in files


class CheckpointStore:
    """The checkpoints of a search, as the driver sees them.

    Attributes:
        directory: the one with all checkpoints.
        damaged: lines on the checkpoints found damaged so far.
    """

    def __init__(self, directory: Directory):
        self.directory = directory
        self.damaged: list[str] = []
        self._entries: dict[int, dict[int, _Entry]] = {}

    def scan(self, recorded: Mapping[Key, int], *, sweep: bool) -> None:
        """List the checkpoints; only those of recorded reports count.

        Args:
            recorded: the attempt that made each report of the study.
            sweep: remove all others, such as those that a kill left half written. Only the driver
                may do so, and only while no worker writes.
        """
        self._entries = {}
        found: dict[str, set[str]] = {}
        for path in self.directory.files():
            name, _, file = path.rpartition("/")
            if name.count("/") == 1:
                found.setdefault(name, set()).add(file)
        wanted = {_name(*key, attempt): key for key, attempt in recorded.items()}
        for name, files in found.items():
            if name in wanted and _ABOUT in files:
                number, step = wanted[name]
                self._entries.setdefault(number, {})[step] = _Entry(name, files)
            elif sweep:
                self._remove(name)

    def added(self, number: int, step: int, attempt: int, machine: str = "") -> None:
        """Register the checkpoint of a report that has just been recorded.

        Raises:
            OSError: it is not visible here, although a machine has written it.
        """
        name = _name(number, step, attempt)
        files = (self.directory / name).files()
        if _ABOUT in files:
            self._entries.setdefault(number, {})[step] = _Entry(name, files)
        elif machine:
            raise OSError(
                f"{self.directory}/{name}, written on {machine}, is not visible from here; do all "
                "machines share it?"
            )

    def refused(self, number: int, step: int, attempt: int) -> None:
        """Remove the checkpoint of a report that is not recorded."""
        self._remove(_name(number, step, attempt))

    def model(self, number: int, step: int) -> Directory | None:
        """A report's checkpoint; None if it is not kept."""
        entry = self._entries.get(number, {}).get(step)
        return self.directory / entry.name if entry else None

    def latest_state(self, number: int) -> Directory | None:
        """The last state of a trial, whole or not; None if there is none."""
        step = max(self.steps_with_state(number), default=None)
        return None if step is None else self.model(number, step)

    def drop_latest_state(self, number: int, reason: str) -> None:
        """Remove the last state of a trial, because a worker found it damaged."""
        self.damaged.append(reason)
        step = max(self.steps_with_state(number), default=None)
        if step is not None:
            self._drop_state(self._entries[number][step])

    def steps_with_state(self, number: int) -> list[int]:
        """Steps of a trial at which there is a state, whole or not."""
        return [step for step, entry in self._entries.get(number, {}).items() if entry.has_state]

    def keep_only(self, number: int, models: Collection[int], states: Collection[int]) -> None:
        """Remove the models and states of a trial, except at these steps."""
        steps = self._entries.get(number, {})
        for step in list(steps):
            if step in states:
                continue
            if step not in models:
                self._remove(steps.pop(step).name)
            elif steps[step].has_state:
                self._drop_state(steps[step])
        if not steps:
            self._entries.pop(number, None)

    # A later scan sweeps away what cannot be removed now.

    def _drop_state(self, entry: _Entry) -> None:
        with contextlib.suppress(OSError):
            self.directory.remove(f"{entry.name}/{_STATE}")
        entry.has_state = False

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self.directory.remove(f"{name}/{_ABOUT}")
            self.directory.remove(name)
