"""The dev predictions of every report, and the labels to grade them by.

predictions/0007/0003.npz are those of trial 7's third report, predictions/labels.npz the labels.
With both in the run's folder, questions about chance are answered without the data. A confirmation
has predictions/0007/judged.npz too, of the model that trial 7 selected, for the examples that judge
it. Their labels are predictions/fold-2.npz, or predictions/test.npz.
"""

import io
import zlib
from collections.abc import Mapping
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from minbert.examples import Dataset
from minbert.tasks import TASK_NAMES, Task

from .directory import Directory

TaskArrays = dict[Task, np.ndarray]

# What reading a damaged archive raises, depending on where the damage is.
_DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, NotImplementedError, MemoryError, SyntaxError),
    *(RecursionError, OverflowError, TypeError, RuntimeError, BadZipFile, zlib.error),
)
# Classes, grades and similarities are smaller. The limit keeps sums of their squares finite.
_LARGEST = 1e6
# An archive that unpacks to more was not written by a search.
_MOST_BYTES = 2**28


class DevPredictions:
    """A run's dev predictions.

    Args:
        directory: where they are stored.
    """

    def __init__(self, directory: Directory):
        self.directory = directory
        self._sizes: dict[Task, int] | None = None

    @property
    def any(self) -> bool:
        """Whether there are predictions of at least one report."""
        return any("/" in name for name in self.directory.files())

    def write_labels(self, dataset: Dataset) -> None:
        """Write the dev labels of all tasks."""
        labels: TaskArrays = {}
        for task in dataset.tasks:
            given = dataset.splits[task]["dev"].labels
            assert given is not None
            labels[task] = given
        self.write_labels_of(labels)

    def write_labels_of(self, labels: TaskArrays) -> None:
        """Write dev labels (examples,) per task."""
        self.directory.write("labels.npz", _packed(labels))

    def write_judge(self, judge: str, labels: TaskArrays) -> None:
        """Write the labels of examples that judge, such as those of ``fold-2``."""
        self.directory.write(f"{judge}.npz", _packed(labels))

    def judge(self, judge: str) -> TaskArrays | None:
        """The labels of examples that judge, (examples,) per task; None if missing or damaged."""
        return self._read(f"{judge}.npz")

    def write_judged(self, number: int, content: bytes) -> None:
        """Write a trial's predictions for what judges it, as packed by ``pack_predictions``."""
        self.directory.write(_judged_name(number), content)

    def read_judged(self, number: int) -> bytes | None:
        """A trial's predictions for what judges it, as they were packed; None if there are none."""
        try:
            return self.directory.read(_judged_name(number))
        except FileNotFoundError:
            return None

    def judged(self, number: int) -> TaskArrays | None:
        """A trial's predictions (examples,) per task for what judges it; None without them."""
        return self._read(_judged_name(number))

    def labels(self) -> TaskArrays | None:
        """Dev labels (examples,) per task; None if they were not written or are damaged."""
        labels = self._read("labels.npz")
        self._sizes = None if labels is None else {task: len(each) for task, each in labels.items()}
        return labels

    def write(self, number: int, step: int, content: bytes) -> None:
        """Write the predictions of a report, as packed by ``pack_predictions``."""
        self.directory.write(_name(number, step), content)

    def read(self, number: int, step: int) -> TaskArrays | None:
        """Dev predictions (examples,) per task of a report.

        Returns:
            None if they are missing or damaged, or if their number differs from that of the labels.
        """
        predictions = self._read(_name(number, step))
        if self._sizes is None:
            self.labels()
        sizes = (
            None if predictions is None else {task: len(each) for task, each in predictions.items()}
        )
        return None if self._sizes not in (None, sizes) else predictions

    def _read(self, name: str) -> TaskArrays | None:
        try:
            content = self.directory.read(name)
            with ZipFile(io.BytesIO(content)) as archive:
                if sum(each.file_size for each in archive.infolist()) > _MOST_BYTES:
                    return None
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays: TaskArrays = {task: file[task] for task in TASK_NAMES if task in file}
        except _DAMAGE:
            return None
        return arrays if arrays and all(map(_is_sound, arrays.values())) else None


def _is_sound(array: Any) -> bool:
    """Whether an array can be predictions or labels: one number of plausible size per example."""
    if not isinstance(array, np.ndarray) or array.ndim != 1 or not len(array):
        return False
    return array.dtype.kind in "biuf" and bool((np.abs(array.astype(float)) <= _LARGEST).all())


def _name(number: int, step: int) -> str:
    return f"{number:04d}/{step:04d}.npz"


def _judged_name(number: int) -> str:
    return f"{number:04d}/judged.npz"


def pack_predictions(predictions: Mapping[Task, np.ndarray]) -> bytes:
    """Dev predictions as the content of an ``.npz`` file, as small as their scores allow.

    Classes are uint8, paraphrases 0 or 1, similarities float32, so that grading them again gives
    the recorded scores.
    """
    small = dict(predictions)
    if "sst" in small:
        small["sst"] = small["sst"].astype(np.uint8)
    if "para" in small:
        small["para"] = (small["para"] > 0.5).astype(np.uint8)
    return _packed(small)


def _packed(arrays: TaskArrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs know no names
    return buffer.getvalue()
