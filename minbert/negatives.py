"""Negative pairs for sts: sentences that are not listed as a pair, with similarity 0."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from . import cache
from .errors import InputError
from .examples import Split

NEIGHBOURS = 10
_ROWS_AT_ONCE = 1024


class NegativePairs:
    """Draws negative pairs for a split of pairs (the paper's Algorithm 1, section 4.4).

    A negative pairs the first sentence of an example with another sentence of the split: with any
    one (``embed`` is None), or with one of the NEIGHBOURS nearest to it by cosine. No negative is a
    listed pair, in either order, or a sentence with itself.

    Args:
        split: a split of pairs.
        ratio: negatives per example; 0.5 gives one to half of the examples.
        embed: returns the embeddings (n, H) of n sentences given by number, for near negatives;
            None for any.
        kept: folder that stores the nearest sentences for all with the same split and ``embed``;
            None stores nothing.
    """

    def __init__(
        self,
        split: Split,
        ratio: float,
        embed: Callable[[np.ndarray], np.ndarray] | None = None,
        kept: Path | None = None,
    ):
        if split.second is None:
            raise ValueError("negative pairs need a split of pairs")
        self.count = round(ratio * len(split))
        self._first = np.asarray(split.first, dtype=np.int64)
        self._sentences = len(split.offsets) - 1
        second = np.asarray(split.second, dtype=np.int64)
        self._pool = np.unique(np.concatenate([self._first, second]))
        self._listed = np.unique(self._key(self._first, second))
        self._nearest = None
        if embed is not None:
            find = partial(self._find_nearest, embed)
            self._nearest = find() if kept is None else cache.make_once(kept, find)

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Sentence numbers of the negatives: first (count,) and other (count,)."""
        rounds = -(-self.count // max(1, len(self._first)))
        anchors = [random.permutation(self._first) for _ in range(rounds)]
        first = np.concatenate([*anchors, np.empty(0, dtype=np.int64)])[: self.count]
        other = (
            self._draw_near(first, random) if self._nearest is not None else np.full_like(first, -1)
        )
        return first, self._draw_any(first, other, random)

    def _key(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """A number for each unordered pair of sentences."""
        key: np.ndarray = np.minimum(a, b) * self._sentences + np.maximum(a, b)
        return key

    def _refused(self, first: np.ndarray, other: np.ndarray) -> np.ndarray:
        refused: np.ndarray = np.isin(self._key(first, other), self._listed)
        refused |= (other < 0) | (first == other)
        return refused

    def _draw_any(
        self, first: np.ndarray, other: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """Fill what is not yet drawn (−1) with any allowed sentence."""
        for _ in range(20):
            (missing,) = np.nonzero(self._refused(first, other))
            if not len(missing):
                return other
            other[missing] = random.choice(self._pool, len(missing))
        # Only a tiny split, or a sentence paired with nearly all others, gets here.
        for row in missing:
            allowed = self._pool[~self._refused(np.full_like(self._pool, first[row]), self._pool)]
            if not len(allowed):
                raise InputError(
                    "negatives: a similarity sentence is paired with every other sentence already; "
                    "train with negatives 0 or on more examples"
                )
            other[row] = random.choice(allowed)
        return other

    def _find_nearest(self, embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Nearest allowed sentences (sentences, NEIGHBOURS), −1 where there are fewer."""
        vectors = embed(self._pool)  # (pool, H)
        nearest = np.full((self._sentences, NEIGHBOURS), -1, dtype=np.int64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        pool, width = self._pool, min(NEIGHBOURS, len(self._pool))
        for start in range(0, len(pool), _ROWS_AT_ONCE):
            rows = pool[start : start + _ROWS_AT_ONCE]
            cosine = unit[start : start + _ROWS_AT_ONCE] @ unit.T  # (rows, pool)
            cosine[self._refused(rows[:, None], pool[None, :])] = -np.inf
            columns = np.argpartition(-cosine, width - 1, axis=1)[:, :width]
            allowed = np.take_along_axis(cosine, columns, axis=1) > -np.inf
            nearest[rows, :width] = np.where(allowed, pool[columns], -1)
        return nearest

    def _draw_near(self, first: np.ndarray, random: np.random.Generator) -> np.ndarray:
        assert self._nearest is not None
        choices = np.sort(self._nearest[first], axis=1)[:, ::-1]  # (count, NEIGHBOURS), −1 last
        there = (choices >= 0).sum(axis=1)
        pick = (random.random(len(first)) * np.maximum(there, 1)).astype(np.int64)
        drawn: np.ndarray = choices[np.arange(len(first)), pick]
        return drawn
