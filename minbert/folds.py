"""Divides the training examples into folds, so that a training can leave one out.

Examples that share a sentence stay together, over all tasks, so that no fold is judged by a model
that was trained on its sentences.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .examples import Dataset, Split
from .tasks import TASK_NAMES, Task


@dataclass(frozen=True)
class Folds:
    """A division of training examples.

    Attributes:
        count: number of folds.
        of: for each task, the fold of each training example, (examples,) int8.
        groups: number of groups of examples that share sentences.
        largest: number of examples in the largest group.
    """

    count: int
    of: Mapping[Task, np.ndarray]
    groups: int
    largest: int

    @property
    def sha256(self) -> str:
        """A hash of the division."""
        digest = hashlib.sha256(str(self.count).encode())
        for task, folds in self.of.items():
            digest.update(task.encode() + folds.tobytes())
        return digest.hexdigest()


def leave_out(dataset: Dataset, folds: Folds, fold: int) -> tuple[Dataset, dict[Task, Split]]:
    """A dataset whose training examples lack a fold, and the examples of that fold.

    Args:
        dataset: the data.
        folds: a division of its training examples.
        fold: the number of the fold to leave out, from 0.
    """
    splits, left_out = dict(dataset.splits), {}
    for task, of in folds.of.items():
        train = dataset.splits[task]["train"]
        splits[task] = {**dataset.splits[task], "train": train.select(np.flatnonzero(of != fold))}
        left_out[task] = train.select(np.flatnonzero(of == fold))
    return replace(dataset, splits=splits), left_out


def divide(train: Mapping[Task, Split], count: int) -> Folds:
    """Divide the labelled training examples of some tasks into folds.

    The division depends on the texts and labels alone, not on the order of the rows: groups of
    examples are put into the fold that lacks their labels most, the largest first, and groups of
    the same size in the order of the hashes of their texts.

    Args:
        train: the examples.
        count: number of folds.
    """
    tasks = [task for task in TASK_NAMES if task in train]
    group = _groups({task: train[task] for task in tasks})
    stratum, strata = _strata({task: train[task] for task in tasks})
    sizes = np.bincount(group)
    folds_of_groups = _assign(group, stratum, strata, _order(group, sizes, train, tasks), count)
    folds = folds_of_groups[group]
    ends = np.cumsum([len(train[task]) for task in tasks])
    return Folds(
        count=count,
        of=dict(zip(tasks, np.split(folds, ends[:-1]), strict=True)),
        groups=len(sizes),
        largest=int(sizes.max(initial=0)),
    )


def _groups(train: Mapping[Task, Split]) -> np.ndarray:
    """The group of each example, (examples of all tasks,), numbered from 0."""
    columns = [texts_of(split) for split in train.values()]
    texts, numbers = np.unique(np.concatenate([c.ravel() for c in columns]), return_inverse=True)
    first, second, start = [], [], 0
    for column in columns:
        ours = numbers[start : start + column.size].reshape(column.shape)
        start += column.size
        first.append(ours[:, 0])
        second.append(ours[:, -1])
    one, other = np.concatenate(first), np.concatenate(second)
    links = coo_matrix((np.ones(len(one), np.int8), (one, other)), (len(texts), len(texts)))
    _, component = connected_components(links, directed=False)
    _, group = np.unique(component[one], return_inverse=True)
    return group


def texts_of(split: Split) -> np.ndarray:
    """Hashes of the texts of each example, (examples, 1 or 2)."""
    sides = [split.first] if split.second is None else [split.first, split.second]
    return np.stack([split.texts[side] for side in sides], axis=1)


def _strata(train: Mapping[Task, Split]) -> tuple[np.ndarray, int]:
    """The task and rounded label of each example as one number, and how many there are."""
    keys = []
    for number, split in enumerate(train.values()):
        assert split.labels is not None
        keys.append(np.stack([np.full(len(split), number), np.rint(split.labels)], axis=1))
    values, stratum = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    return stratum.ravel(), len(values)


def _order(
    group: np.ndarray, sizes: np.ndarray, train: Mapping[Task, Split], tasks: list[Task]
) -> np.ndarray:
    """The groups, largest first; of one size, by the lowest hash of their texts."""
    lowest = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    hashes = np.concatenate([texts_of(train[task]).min(axis=1) for task in tasks])
    np.minimum.at(lowest, group, hashes)
    return np.lexsort((lowest, -sizes))


def _assign(
    group: np.ndarray, stratum: np.ndarray, strata: int, order: np.ndarray, count: int
) -> np.ndarray:
    """The fold of each group, (groups,) int8."""
    by_group = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[by_group], np.arange(len(order) + 1))
    total = np.bincount(stratum, minlength=strata)
    filled = np.zeros((count, strata))
    folds = np.zeros(len(order), dtype=np.int8)
    for number in order:
        members = stratum[by_group[starts[number] : starts[number + 1]]]
        present, counts = np.unique(members, return_counts=True)
        # The fold where these labels are rarest, in parts of all examples with the label.
        loads = (filled[:, present] * counts / total[present]).sum(axis=1)
        fold = int(loads.argmin())
        filled[fold, present] += counts
        folds[number] = fold
    return folds
