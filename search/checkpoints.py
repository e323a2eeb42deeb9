"""Checkpoints of trials: written by workers before they report, removed by the driver.

    checkpoints/0007/0003-1/        trial 7, report 3, attempt 1
        weights.safetensors         the model, S bytes
        state.pt                    the rest of the trainer's state, about 2 S; not always there
        checkpoint.json             sha256 of the two, by which a torn file is recognised

A *model* is to be used, a *state* to go on from. A folder takes its name only when it is whole,
and gives it up before it is removed. As a worker writes before it reports, there is no report
without a checkpoint, whenever a kill comes.

What a search of N trials needs at most, for a model of S bytes: 3 S for the latest state of each
trial that runs or is paused, S for the model that each of them keeps, S for each model of the
front and of the best ``--keep`` trials, and 3 S for each slot while it writes.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from minbert.checkpoint import load_state
from minbert.config import TrainConfig
from minbert.data import Dataset
from minbert.encoder import Encoder
from minbert.errors import InputError
from minbert.hub import Pretrained
from minbert.model import MultitaskModel
from minbert.train import Trainer

_WEIGHTS, _STATE, _ABOUT = "weights.safetensors", "state.pt", "checkpoint.json"

# Trial and step.
Key = tuple[int, int]


def save_checkpoint(
    folder: Path, number: int, attempt: int, trainer: Trainer, *, with_state: bool
) -> Path:
    """Save a trainer that has just made a report; returns the checkpoint's folder.

    Args:
        folder: of all checkpoints of the search.
        number: of the trial.
        attempt: of the trial.
        trainer: its weights are saved.
        with_state: save the rest of its state too.
    """
    state = trainer.state_dict()
    # Tied parameters would not load into a fresh model; there are none.
    weights = {name: tensor.cpu().contiguous() for name, tensor in state.pop("model").items()}
    files = {_WEIGHTS: safetensors.torch.save(weights)}
    if with_state:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        files[_STATE] = buffer.getvalue()
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[_ABOUT] = json.dumps({"sha256": sha256}).encode()
    target = folder / f"{number:04d}" / f"{len(trainer.reports):04d}-{attempt}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in files.items():
        (temporary / name).write_bytes(content)
    # The same report of the same attempt, written twice, is the same.
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return target


def load_trainer(path: Path, trainer: Trainer) -> None:
    """Let a fresh trainer go on from a checkpoint that has a state.

    Raises:
        InputError: a file is missing, torn, or of another configuration.
    """
    verify(path, _WEIGHTS, _STATE)
    state = load_state(path / _STATE)
    state["model"] = safetensors.torch.load_file(path / _WEIGHTS)
    trainer.load_state_dict(state)


def load_model(
    path: Path, config: TrainConfig, dataset: Dataset, pretrained: Pretrained
) -> MultitaskModel:
    """The model of a checkpoint, on the CPU and ready to answer.

    Raises:
        InputError: a file is missing or torn.
    """
    verify(path, _WEIGHTS)
    encoder = Encoder.from_pretrained(pretrained, config.dropout)
    model = MultitaskModel(encoder, config, dataset.tasks, dataset.classes)
    model.load_state_dict(safetensors.torch.load_file(path / _WEIGHTS))
    return model.eval()


def verify(path: Path, *names: str) -> None:
    """Check files of a checkpoint against what is written of them; InputError names a torn one."""
    try:
        sha256: dict[str, Any] = json.loads((path / _ABOUT).read_bytes())["sha256"]
    except FileNotFoundError:
        raise InputError(f"{path / _ABOUT} is missing") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path / _ABOUT} is damaged") from None
    for name in names:
        if name not in sha256 or not (path / name).is_file():
            raise InputError(f"{path / name} is missing")
        with (path / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256[name]:
                raise InputError(f"{path / name} is damaged")


class _Entry:
    """One checkpoint on the disk."""

    def __init__(self, path: Path):
        self.path = path
        self.has_state = (path / _STATE).is_file()

    def drop_state(self) -> None:
        (self.path / _STATE).unlink(missing_ok=True)
        self.has_state = False


class CheckpointStore:
    """The checkpoints of a search, as the driver sees them.

    Attributes:
        folder: where they lie.
        damaged: what was found damaged so far, in words.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.damaged: list[str] = []
        self._entries: dict[int, dict[int, _Entry]] = {}

    def scan(self, recorded: Mapping[Key, int], *, sweep: bool) -> None:
        """Look what is there: only checkpoints of recorded reports count.

        Args:
            recorded: for each report of the study the attempt that made it.
            sweep: remove everything else, such as what a kill left half written; only the driver
                may, and only while no worker writes.
        """
        self._entries = {}
        if not self.folder.is_dir():
            return
        for path in self.folder.glob("*/*"):
            trial, (step, _, attempt) = path.parent.name, path.name.partition("-")
            if trial.isdigit() and step.isdigit() and attempt.isdigit():
                key = int(trial), int(step)
                if recorded.get(key) == int(attempt):
                    self._entries.setdefault(key[0], {})[key[1]] = _Entry(path)
                    continue
            if sweep:
                shutil.rmtree(path, ignore_errors=True)

    def added(self, number: int, step: int, attempt: int) -> None:
        """The checkpoint of a report that is recorded now."""
        path = self._path(number, step, attempt)
        if path.is_dir():
            self._entries.setdefault(number, {})[step] = _Entry(path)

    def refused(self, number: int, step: int, attempt: int) -> None:
        """Remove the checkpoint of a report that is not recorded."""
        _remove(self._path(number, step, attempt))

    def _path(self, number: int, step: int, attempt: int) -> Path:
        return self.folder / f"{number:04d}" / f"{step:04d}-{attempt}"

    def model(self, number: int, step: int) -> Path | None:
        """Folder of a report's checkpoint, None where it is not kept."""
        entry = self._entries.get(number, {}).get(step)
        return entry.path if entry else None

    def latest_state(self, number: int, steps: int) -> Path | None:
        """The last whole state of a trial, of its first so many reports; None if there is none.

        Damaged ones are removed and named in ``damaged``.
        """
        for step, entry in sorted(self._entries.get(number, {}).items(), reverse=True):
            if step > steps or not entry.has_state:
                continue
            try:
                verify(entry.path, _WEIGHTS, _STATE)
            except InputError as error:
                self.damaged.append(str(error))
                entry.drop_state()
                continue
            return entry.path
        return None

    def steps_with_state(self, number: int) -> list[int]:
        """Steps of a trial at which there is a state, whole or not."""
        return [step for step, entry in self._entries.get(number, {}).items() if entry.has_state]

    def keep_only(self, models: Collection[Key], states: Collection[Key]) -> None:
        """Remove all models and states but these."""
        for number in list(self._entries):
            steps = self._entries[number]
            for step in list(steps):
                if (number, step) in states:
                    continue
                if (number, step) not in models:
                    _remove(steps.pop(step).path)
                elif steps[step].has_state:
                    steps[step].drop_state()
            if not steps:
                del self._entries[number]
                with contextlib.suppress(OSError):
                    (self.folder / f"{number:04d}").rmdir()


def _remove(path: Path) -> None:
    gone = path.with_name(f".{path.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    try:
        path.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)
