"""The dev examples that a model gets most wrong, and whether shared words misled it."""

import itertools
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer

from minbert.examples import Dataset, Split
from minbert.tasks import TASKS, Task


@dataclass(frozen=True)
class Mistake:
    """One dev example with a wrong prediction.

    Attributes:
        sentences: one, or the two of a pair.
        overlap: ``word_overlap`` of the pair; None for one sentence.
    """

    sentences: tuple[str, ...]
    label: float
    prediction: float
    overlap: float | None


class DevTexts:
    """The dev examples of each task as text.

    Texts are decoded from the word pieces: lower case if the encoder is uncased, and truncated if
    the sentence was.
    """

    def __init__(self, dataset: Dataset, tokenizer: Tokenizer):
        splits = {task: splits["dev"] for task, splits in dataset.splits.items()}
        self._tasks = {task: _TaskTexts(split, tokenizer) for task, split in splits.items()}

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(self._tasks)

    def worst(self, task: Task, predictions: np.ndarray, most: int) -> list[Mistake]:
        """The worst mistakes of a task, worst first.

        Args:
            predictions: (examples,) classes (sst), 0 or 1 (para), 0 to 5 (sts).
            most: the largest number of mistakes.
        """
        texts = self._tasks[task]
        overlaps = texts.overlaps if TASKS[task].is_pair else None
        return [
            Mistake(
                texts.sentences(row),
                float(texts.labels[row]),
                float(predictions[row]),
                None if overlaps is None else float(overlaps[row]),
            )
            for row in worst_rows(task, predictions, texts.labels, overlaps, most)
        ]

    def false_friends(self, predictions: np.ndarray) -> tuple[float | None, float | None]:
        """``mean_overlaps`` of the dev pairs of para."""
        texts = self._tasks["para"]
        return mean_overlaps(predictions, texts.labels, texts.overlaps)


class _TaskTexts:
    """The examples of one task, decoded at first use."""

    def __init__(self, split: Split, tokenizer: Tokenizer):
        assert split.labels is not None
        self.labels = split.labels
        self._split, self._tokenizer = split, tokenizer

    def sentences(self, row: int) -> tuple[str, ...]:
        split = self._split
        columns = [split.first] if split.second is None else [split.first, split.second]
        return tuple(self._texts[column[row]] for column in columns)

    @cached_property
    def overlaps(self) -> np.ndarray:
        """(examples,) float64."""
        pairs = [self.sentences(row) for row in range(len(self._split))]
        return np.array([word_overlap(first, second) for first, second in pairs])

    @cached_property
    def _texts(self) -> list[str]:
        tokens, offsets = self._split.tokens.tolist(), self._split.offsets.tolist()
        sentences = [tokens[start:end] for start, end in itertools.pairwise(offsets)]
        return list(self._tokenizer.decode_batch(sentences))


def word_overlap(first: str, second: str) -> float:
    """Jaccard similarity of the sets of words of two sentences; 0 if there are no words."""
    one, other = (set(re.findall(r"\w+", text.lower())) for text in (first, second))
    return len(one & other) / max(1, len(one | other))


def worst_rows(
    task: Task, predictions: np.ndarray, labels: np.ndarray, overlaps: np.ndarray | None, most: int
) -> list[int]:
    """Row numbers of the most wrong predictions, worst first; of equal ones the first.

    For sst and sts these are farthest from their label. A prediction for para is only yes or no, so
    there these follow shared words most: a wrong yes with many in common, or a wrong no with few.

    Args:
        predictions: (examples,).
        labels: (examples,).
        overlaps: (examples,) for para; otherwise unused.
        most: the largest number of rows.
    """
    predictions, labels = predictions.astype(np.float64), labels.astype(np.float64)
    badness = np.abs(predictions - labels)
    wrong = np.flatnonzero(badness)
    if task == "para":
        assert overlaps is not None
        badness = np.where(predictions > labels, overlaps, 1 - overlaps)
    return [int(row) for row in wrong[np.argsort(-badness[wrong], kind="stable")[:most]]]


def mean_overlaps(
    predictions: np.ndarray, labels: np.ndarray, overlaps: np.ndarray
) -> tuple[float | None, float | None]:
    """Mean word overlap of pairs that are no paraphrases: those predicted as such, and the others.

    Args:
        predictions: (examples,) 0 or 1.
        labels: (examples,) 0 or 1.
        overlaps: (examples,).

    Returns:
        Both means; None for a mean over no pairs.
    """
    wrongly_yes = overlaps[(labels == 0) & (predictions == 1)]
    rightly_no = overlaps[(labels == 0) & (predictions == 0)]
    means = [float(part.mean()) if len(part) else None for part in (wrongly_yes, rightly_no)]
    return means[0], means[1]
