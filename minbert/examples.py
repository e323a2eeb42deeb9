"""Tokenised examples as flat arrays: ``Split`` for one task and split, ``Dataset`` for all."""

from dataclasses import dataclass, replace

import numpy as np

from .tasks import SplitName, Task


@dataclass(frozen=True)
class Split:
    """The examples of one task in one split, tokenised. Distinct sentences are stored once.

    Attributes:
        ids: (examples,) text, as in the file.
        tokens: (tokens,) int32, all distinct sentences end to end, without [CLS] and [SEP], each
            cut to the maximum length.
        offsets: (sentences + 1,) int64; sentence ``s`` is ``tokens[offsets[s] : offsets[s + 1]]``.
        texts: (sentences,) uint64, a hash of each sentence's text as the tokenizer normalises it.
        first: (examples,) int32, number of the sentence.
        second: (examples,) int32, number of the pair's other sentence; None for single sentences.
        labels: (examples,) float32; None for a test split.

    Arrays from the cache are read-only.
    """

    task: Task
    ids: np.ndarray
    tokens: np.ndarray
    offsets: np.ndarray
    texts: np.ndarray
    first: np.ndarray
    second: np.ndarray | None
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.first)

    def select(self, rows: np.ndarray) -> "Split":
        """The same sentences with only these examples, in this order."""
        return replace(
            self,
            ids=self.ids[rows],
            first=self.first[rows],
            second=None if self.second is None else self.second[rows],
            labels=None if self.labels is None else self.labels[rows],
        )


@dataclass(frozen=True)
class Dataset:
    """The examples of some tasks.

    Attributes:
        name: "toy", "glue" or the folder's name.
        splits: those requested; a test split only if there is a test file with rows.
        classes: number of sentiment classes in the labels read; 0 without sentiment labels.
        cls_id: token id of [CLS].
        sep_id: token id of [SEP].
        files: sha256 of the content of each file read, by name.
        notes: what the user should know about the data, one sentence each.
    """

    name: str
    splits: dict[Task, dict[SplitName, Split]]
    classes: int
    cls_id: int
    sep_id: int
    files: dict[str, str]
    notes: tuple[str, ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(self.splits)
