import fcntl
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbert import cache
from minbert.errors import InputError
from minbert.examples import Split
from minbert.negatives import NEIGHBOURS, NegativePairs


def pairs(first: list[int], second: list[int], sentences: int) -> Split:
    return Split(
        task="sts",
        ids=np.array([str(row) for row in range(len(first))]),
        tokens=np.zeros(sentences, dtype=np.int32),
        offsets=np.arange(sentences + 1),
        texts=np.arange(sentences, dtype=np.uint64),
        first=np.array(first, dtype=np.int32),
        second=np.array(second, dtype=np.int32),
        labels=np.zeros(len(first), dtype=np.float32),
    )


def unordered(a: np.ndarray, b: np.ndarray) -> set[tuple[int, int]]:
    return {(min(x, y), max(x, y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)}


@given(
    rows=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), min_size=3, max_size=30),
    ratio=st.sampled_from([0.0, 0.3, 1.0, 2.5, 4.0]),
    seed=st.integers(0, 5),
    hard=st.booleans(),
)
def test_a_negative_is_no_listed_pair_and_not_itself(
    rows: list[tuple[int, int]], ratio: float, seed: int, hard: bool
) -> None:
    # A pair of sentences 20 to 24 leaves everyone something to be paired with.
    rows = [*rows, (20, 21), (22, 23), (24, 20)]
    split = pairs([a for a, _ in rows], [b for _, b in rows], 30)
    assert split.second is not None
    vectors = np.random.default_rng(0).normal(size=(30, 4))
    sampler = NegativePairs(split, ratio, (lambda numbers: vectors[numbers]) if hard else None)
    first, other = sampler.draw(np.random.default_rng(seed))
    assert len(first) == len(other) == round(ratio * len(rows))
    assert not unordered(first, other) & unordered(split.first, split.second)
    assert (first != other).all()
    listed = set(split.first.tolist()) | set(split.second.tolist())
    assert set(other.tolist()) <= listed  # sentences that no example uses are not drawn


def test_ratio_one_gives_each_example_once_more() -> None:
    split = pairs([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], 10)
    first, _ = NegativePairs(split, 1.0).draw(np.random.default_rng(0))
    assert sorted(first) == [0, 1, 2, 3, 4]


def test_negatives_are_fresh_each_time() -> None:
    split = pairs(list(range(50)), list(range(50, 100)), 100)
    sampler, random = NegativePairs(split, 1.0), np.random.default_rng(0)
    assert unordered(*sampler.draw(random)) != unordered(*sampler.draw(random))


def test_hard_negatives_are_the_nearest_allowed() -> None:
    # On a line of directions the nearest of sentence s are those with numbers close to s.
    sentences = 60
    angles = np.linspace(0, 3, sentences)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    split = pairs(list(range(30)), list(range(30, 60)), sentences)
    sampler = NegativePairs(split, 4.0, lambda numbers: vectors[numbers])
    first, other = sampler.draw(np.random.default_rng(0))
    assert np.abs(first - other).max() <= NEIGHBOURS
    # At the end of the line all neighbours are on one side.
    assert set(other[first == 0].tolist()) <= set(range(1, NEIGHBOURS + 1))


def test_no_possible_negative_is_an_error() -> None:
    with pytest.raises(InputError, match="paired with every other sentence already"):
        NegativePairs(pairs([0, 0, 1], [1, 2, 2], 3), 1.0).draw(np.random.default_rng(0))


def test_of_two_at_once_one_makes_what_both_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, other_comes, flock = threading.Event(), threading.Event(), fcntl.flock

    def make() -> np.ndarray:
        begun.set()
        # Still without the lock the other one would make it too.
        assert other_comes.wait(60)
        return np.arange(5)

    def lock(*arguments: int) -> None:
        if threading.current_thread() is threading.main_thread():
            other_comes.set()
        flock(*arguments)

    def refuse() -> np.ndarray:
        raise AssertionError("made twice")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.make_once, tmp_path, make)
        assert begun.wait(60)
        monkeypatch.setattr(fcntl, "flock", lock)
        assert cache.make_once(tmp_path, refuse).tolist() == [0, 1, 2, 3, 4]
        assert first.result(60).tolist() == [0, 1, 2, 3, 4]


def test_what_is_torn_is_made_again(tmp_path: Path) -> None:
    cache.make_once(tmp_path, lambda: np.arange(5))
    (tmp_path / "array.npy").write_bytes((tmp_path / "array.npy").read_bytes()[:-1])
    assert cache.make_once(tmp_path, lambda: np.arange(6)).tolist() == [0, 1, 2, 3, 4, 5]
    assert cache.make_once(tmp_path, lambda: np.arange(7)).tolist() == [0, 1, 2, 3, 4, 5]


def test_without_a_folder_to_write_it_is_made_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for size in (3, 4):
        assert len(cache.make_once(tmp_path / "file" / "x", partial(np.ones, size))) == size
