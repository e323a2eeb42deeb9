"""The dev answers of every report, and the labels to grade them by.

answers/0007/0003.npz are those of trial 7's third report, answers/labels.npz the dev labels. With
both in the run's folder, questions about chance are answered without the data.
"""

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from minbert.checkpoint import write_whole
from minbert.data import Dataset
from minbert.tasks import TASK_NAMES, Task

TaskArrays = dict[Task, np.ndarray]

# What reading a damaged archive raises, each by where the damage is.
_DAMAGE = (OSError, ValueError, EOFError, KeyError, NotImplementedError, BadZipFile, zlib.error)


class DevAnswers:
    """The folder of a run's dev answers.

    Args:
        folder: may be missing where nothing was written yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def any(self) -> bool:
        """There are answers of at least one report."""
        return next(self.folder.glob("*/*.npz"), None) is not None

    def write_labels(self, dataset: Dataset) -> None:
        """Write the dev labels of all tasks."""
        labels: TaskArrays = {}
        for task in dataset.tasks:
            given = dataset.splits[task]["dev"].labels
            assert given is not None
            labels[task] = given
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "labels.npz", _packed(labels))

    def labels(self) -> TaskArrays | None:
        """Dev labels (examples,) a task; None where they were not written or are damaged."""
        return _read(self.folder / "labels.npz")

    def write(self, number: int, step: int, content: bytes) -> None:
        """Write the answers of a report, as ``pack_answers`` gives them."""
        path = self._path(number, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)

    def read(self, number: int, step: int) -> TaskArrays | None:
        """Dev answers (examples,) a task of a report; None where they are missing or damaged."""
        return _read(self._path(number, step))

    def _path(self, number: int, step: int) -> Path:
        return self.folder / f"{number:04d}" / f"{step:04d}.npz"


def pack_answers(answers: Mapping[Task, np.ndarray]) -> bytes:
    """Dev answers as the content of an ``.npz`` file, as small as their scores allow.

    Classes are uint8, paraphrases 0 or 1, similarities float32, so that grading them again gives
    the recorded scores.
    """
    small = dict(answers)
    if "sst" in small:
        small["sst"] = small["sst"].astype(np.uint8)
    if "para" in small:
        small["para"] = (small["para"] > 0.5).astype(np.uint8)
    return _packed(small)


def _packed(arrays: TaskArrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs know no names
    return buffer.getvalue()


def _read(path: Path) -> TaskArrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {task: file[task] for task in TASK_NAMES if task in file}
    except _DAMAGE:
        return None
