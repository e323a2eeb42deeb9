import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minbert.batching import Packed, batches_by_tokens, move, pack, pack_sentences
from minbert.examples import Split

from .copies import Copies

CLS, SEP = 101, 102

# Three sentences: 11 12 13 | 21 | 31 32.
TOKENS = np.array([11, 12, 13, 21, 31, 32], dtype=np.int32)
OFFSETS = np.array([0, 3, 4, 6])


def sentences_of(packed: Packed) -> list[list[int]]:
    """The token numbers of each sequence."""
    return [part.tolist() for part in torch.split(packed.ids, packed.starts.diff().tolist())]


def test_single_sentences_are_packed_end_to_end() -> None:
    packed = pack_sentences(TOKENS, OFFSETS, np.array([2, 0]), None, False, CLS, SEP)
    assert packed.ids.tolist() == [CLS, 31, 32, SEP, CLS, 11, 12, 13, SEP]
    assert packed.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert packed.segments.tolist() == [0] * 9
    assert packed.sequence_of.tolist() == [0] * 4 + [1] * 5
    assert packed.starts.tolist() == [0, 4, 9]
    assert (packed.longest, packed.sequences) == (5, 2)


def test_separate_pairs_give_all_first_sentences_then_all_second() -> None:
    packed = pack_sentences(TOKENS, OFFSETS, np.array([0, 1]), np.array([1, 2]), False, CLS, SEP)
    assert sentences_of(packed) == [
        [CLS, 11, 12, 13, SEP],
        [CLS, 21, SEP],
        [CLS, 21, SEP],
        [CLS, 31, 32, SEP],
    ]
    assert packed.segments.sum() == 0


def test_joint_pairs_share_a_sequence_and_differ_in_segment() -> None:
    packed = pack_sentences(TOKENS, OFFSETS, np.array([0, 1]), np.array([1, 2]), True, CLS, SEP)
    assert sentences_of(packed) == [
        [CLS, 11, 12, 13, SEP, 21, SEP],
        [CLS, 21, SEP, 31, 32, SEP],
    ]
    assert packed.segments.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1]
    assert packed.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5]
    assert packed.longest == 7


def test_pack_takes_rows_of_a_split() -> None:
    split = Split(
        task="sts",
        ids=np.array(["a", "b", "c"]),
        tokens=TOKENS,
        offsets=OFFSETS,
        texts=np.arange(3, dtype=np.uint64),
        first=np.array([0, 1, 2], dtype=np.int32),
        second=np.array([2, 0, 1], dtype=np.int32),
        labels=None,
    )
    packed = pack(split, np.array([2, 0]), joint=True, cls_id=CLS, sep_id=SEP)
    assert sentences_of(packed) == [
        [CLS, 31, 32, SEP, 21, SEP],
        [CLS, 11, 12, 13, SEP, 31, 32, SEP],
    ]


def test_no_examples_give_no_sequences() -> None:
    packed = pack_sentences(TOKENS, OFFSETS, np.array([], dtype=int), None, False, CLS, SEP)
    assert (packed.sequences, packed.longest, len(packed.ids)) == (0, 0, 0)


def test_moving_keeps_every_field() -> None:
    packed = pack_sentences(TOKENS, OFFSETS, np.array([0, 1]), np.array([1, 2]), True, CLS, SEP)
    moved = packed.to("meta")
    for name, value in vars(packed).items():
        other = getattr(moved, name)
        if isinstance(value, torch.Tensor):
            assert other.shape == value.shape
            assert other.device.type == "meta"
        else:
            assert other == value


sentences = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=8), min_size=1, max_size=6)


@given(sentences=sentences, data=st.data(), joint=st.booleans(), paired=st.booleans())
def test_unpacking_gives_the_sentences_back(
    sentences: list[list[int]], data: st.DataObject, joint: bool, paired: bool
) -> None:
    tokens = np.concatenate([np.array(words, dtype=np.int32) for words in sentences])
    offsets = np.cumsum([0] + [len(words) for words in sentences])
    examples = data.draw(st.integers(1, 5))
    numbers = hnp.arrays(np.int32, examples, elements=st.integers(0, len(sentences) - 1))
    first = data.draw(numbers)
    second = data.draw(numbers) if paired else None

    packed = pack_sentences(tokens, offsets, first, second, joint, CLS, SEP)

    if second is None:
        wanted = [[sentences[a]] for a in first]
    elif joint:
        wanted = [[sentences[a], sentences[b]] for a, b in zip(first, second, strict=True)]
    else:
        wanted = [[sentences[a]] for a in [*first, *second]]
    for number, (ids, parts) in enumerate(zip(sentences_of(packed), wanted, strict=True)):
        assert ids == [CLS, *(word for part in parts for word in [*part, SEP])]
        mine = packed.sequence_of == number
        assert packed.positions[mine].tolist() == list(range(len(ids)))
        assert packed.segments[mine].tolist() == [0] * (len(parts[0]) + 2) + [1] * (
            len(ids) - len(parts[0]) - 2
        )
    assert packed.longest == packed.starts.diff().max()


def test_batches_of_similar_length_by_hand() -> None:
    batches = batches_by_tokens(np.array([5, 2, 9, 2, 3]), most_tokens=9)
    assert [batch.tolist() for batch in batches] == [[1, 3, 4], [0], [2]]


@pytest.mark.parametrize("most_tokens", [1, 8])
def test_a_row_longer_than_the_limit_has_its_own_batch(most_tokens: int) -> None:
    batches = batches_by_tokens(np.array([20, 30]), most_tokens)
    assert [batch.tolist() for batch in batches] == [[0], [1]]


@given(
    lengths=hnp.arrays(np.int64, st.integers(0, 40), elements=st.integers(1, 50)),
    most_tokens=st.integers(1, 200),
)
def test_every_row_is_in_one_batch_and_no_batch_is_too_large(
    lengths: np.ndarray, most_tokens: int
) -> None:
    batches = batches_by_tokens(lengths, most_tokens)
    rows = np.concatenate([*batches, np.array([], dtype=int)])
    assert sorted(rows) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= most_tokens
    for batch, following in itertools.pairwise(batches):
        # The next row would not have fitted: batches are as large as they may be.
        assert (len(batch) + 1) * lengths[following[0]] > most_tokens


def test_a_batch_arrives_as_it_was_in_one_copy() -> None:
    """The device of no memory takes what CUDA would; that it is one copy shows there."""
    packed = pack_sentences(TOKENS, OFFSETS, np.array([2, 0]), np.array([1, 1]), True, CLS, SEP)
    labels = torch.tensor([0.5, 1 / 3])
    with Copies() as copies:
        moved, there = move(packed, labels, torch.device("meta"))
    assert copies.to_device == 1
    assert there.shape == labels.shape
    for name in ("ids", "positions", "segments", "sequence_of", "starts"):
        assert getattr(moved, name).shape == getattr(packed, name).shape
        assert getattr(moved, name).dtype == torch.int64
    assert moved.longest == packed.longest
