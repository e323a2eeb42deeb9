"""Folds keep sentences together, balance labels, and depend on the texts alone."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbert.examples import Dataset, Split
from minbert.folds import divide, leave_out
from minbert.tasks import Task

# Sentences are numbers here, and their hashes are the numbers times an odd constant.
HASH = np.uint64(0x9E3779B97F4A7C15)


def split(task: Task, rows: Sequence[tuple[int, ...]], labels: list[float]) -> Split:
    sentences = 1 + max((s for row in rows for s in row), default=0)
    numbers = np.array(rows, dtype=np.int32).reshape(len(rows), -1)
    return Split(
        task=task,
        ids=np.arange(len(rows)).astype(str),
        tokens=np.zeros(sentences, np.int32),
        offsets=np.arange(sentences + 1),
        texts=np.arange(1, sentences + 1, dtype=np.uint64) * HASH,
        first=numbers[:, 0],
        second=numbers[:, 1] if task != "sst" else None,
        labels=np.array(labels, np.float32),
    )


pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=60)


@given(para=pairs, sts=pairs, sst=st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_examples_that_share_a_sentence_are_in_one_fold(
    para: list[tuple[int, int]], sts: list[tuple[int, int]], sst: list[int]
) -> None:
    rows: dict[Task, list[tuple[int, ...]]] = {
        "sst": [(s,) for s in sst],
        "para": [*para],
        "sts": [*sts],
    }
    train = {task: split(task, each, [0.0] * len(each)) for task, each in rows.items()}
    folds = divide(train, 3)
    seen: dict[int, int] = {}
    for task, each in rows.items():
        assert folds.of[task].shape == (len(each),)
        for row, fold in zip(each, folds.of[task].tolist(), strict=True):
            assert 0 <= fold < 3
            for sentence in row:
                assert seen.setdefault(sentence, fold) == fold


def test_a_chain_of_pairs_is_one_group_and_is_never_cut() -> None:
    chain = [(s, s + 1) for s in range(20)]
    alone = [(100 + 2 * s, 101 + 2 * s) for s in range(10)]
    train: dict[Task, Split] = {
        "sst": split("sst", [(20,), (500,)], [1, 1]),
        "para": split("para", [*chain, *alone], [1.0] * 30),
    }
    folds = divide(train, 5)
    # The chain and the sentence of sst that is its end.
    assert (folds.groups, folds.largest) == (12, 21)
    assert set(folds.of["para"][:20].tolist()) == {int(folds.of["sst"][0])}


def test_each_label_is_spread_evenly() -> None:
    draw = np.random.default_rng(0)
    labels = draw.choice(5, 1000, p=[0.1, 0.3, 0.2, 0.3, 0.1]).astype(float).tolist()
    folds = divide({"sst": split("sst", [(s,) for s in range(1000)], labels)}, 5)
    for label in range(5):
        there = np.bincount(folds.of["sst"][np.array(labels) == label], minlength=5)
        assert there.max() - there.min() <= 1


def test_the_order_of_the_rows_does_not_matter() -> None:
    draw = np.random.default_rng(1)
    rows = [(int(a), int(b)) for a, b in draw.integers(0, 300, (200, 2))]
    labels = draw.integers(0, 2, 200).astype(float).tolist()
    order = draw.permutation(200)
    one = divide({"para": split("para", rows, labels)}, 5)
    moved = split("para", [rows[i] for i in order], [labels[i] for i in order])
    # As many sentences, so that the hashes are the same.
    other = divide({"para": moved}, 5)
    assert one.of["para"][order].tolist() == other.of["para"].tolist()
    assert one.sha256 != other.sha256
    assert one.sha256 == divide({"para": split("para", rows, labels)}, 5).sha256


@pytest.mark.parametrize("count", [3, 5])
def test_no_fold_is_much_larger_than_another(count: int) -> None:
    rows = [(2 * s, 2 * s + 1) for s in range(100)]
    folds = divide({"sts": split("sts", rows, [s % 6 for s in range(100)])}, count)
    sizes = np.bincount(folds.of["sts"], minlength=count)
    # Each of the six labels may be uneven by one.
    assert sizes.max() - sizes.min() <= 6


def test_what_is_left_out_and_what_stays_are_the_training_examples() -> None:
    labels = [float(number % 2) for number in range(12)]
    train = split("para", [(2 * s, 2 * s + 1) for s in range(12)], labels)
    dev = split("para", [(0, 1)], [1.0])
    whole = Dataset("d", {"para": {"train": train, "dev": dev}}, 0, 1, 2, {}, ())
    folds = divide({"para": train}, 3)
    judged = []
    for fold in range(3):
        rest, left_out = leave_out(whole, folds, fold)
        kept = rest.splits["para"]["train"]
        assert len(left_out["para"]) == 4
        assert sorted([*kept.ids, *left_out["para"].ids]) == sorted(train.ids)
        assert rest.splits["para"]["dev"] is dev
        judged += left_out["para"].ids.tolist()
    assert sorted(judged) == sorted(train.ids)
    assert len(whole.splits["para"]["train"]) == 12
