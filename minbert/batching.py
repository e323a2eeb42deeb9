"""Examples to packed batches: token sequences end to end, with no padding between them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .examples import Split


@dataclass(frozen=True)
class Packed:
    """Token sequences end to end, without padding. All tensors are int64.

    Attributes:
        ids: (tokens,) token numbers, [CLS] and [SEP] included.
        positions: (tokens,) place of each token in its sequence, from 0.
        segments: (tokens,) 0; in a joint pair 1 for the second sentence and its [SEP].
        sequence_of: (tokens,) number of the sequence each token belongs to.
        starts: (sequences + 1,) where each sequence starts, and the number of tokens.
        longest: tokens in the longest sequence.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    sequence_of: Tensor
    starts: Tensor
    longest: int

    @property
    def sequences(self) -> int:
        return len(self.starts) - 1

    def to(self, device: torch.device | str) -> "Packed":
        return move(self, torch.empty(0), torch.device(device))[0]


def move(packed: Packed, labels: Tensor, device: torch.device) -> tuple[Packed, Tensor]:
    """A batch and its labels (examples,) on a device, in one copy.

    The copy to CUDA starts from pinned memory, so the CPU does not wait for it.
    """
    if device.type == "cpu":
        return packed, labels
    parts = [
        *(packed.ids, packed.positions, packed.segments, packed.sequence_of, packed.starts),
        # Eight bytes each, like the others.
        labels.double().view(torch.int64),
    ]
    together = torch.cat(parts)
    if device.type == "cuda":
        together = together.pin_memory()
    moved = together.to(device, non_blocking=True)
    ids, positions, segments, sequence_of, starts, there = torch.split(
        moved, [len(part) for part in parts]
    )
    batch = Packed(ids, positions, segments, sequence_of, starts, packed.longest)
    return batch, there.view(torch.float64).float()


def pack(split: Split, rows: np.ndarray, joint: bool, cls_id: int, sep_id: int) -> Packed:
    """Pack the examples ``rows`` of a split; see ``pack_sentences`` for the order of sequences.

    Args:
        split: the examples.
        rows: (examples,) indices of examples of the split, in any order.
        joint: encode pairs together; single sentences are packed the same either way.
        cls_id: the token number of [CLS].
        sep_id: the token number of [SEP].
    """
    second = None if split.second is None else split.second[rows]
    return pack_sentences(
        split.tokens, split.offsets, split.first[rows], second, joint, cls_id, sep_id
    )


def pack_sentences(
    tokens: np.ndarray,
    offsets: np.ndarray,
    first: np.ndarray,
    second: np.ndarray | None,
    joint: bool,
    cls_id: int,
    sep_id: int,
) -> Packed:
    """Pack single sentences, or pairs of sentences, given by number.

    Separate encoding of n pairs gives 2n sequences [CLS] s [SEP]: the n first sentences, then the
    n second ones. Joint encoding gives n sequences [CLS] a [SEP] b [SEP] (Devlin et al. 2018,
    section 3). Single sentences give n sequences either way.

    Args:
        tokens: all sentences end to end, without special tokens.
        offsets: (sentences + 1,) where each sentence starts in ``tokens``.
        first: (n,) numbers of the first sentences.
        second: (n,) numbers of the second sentences, or None for single sentences.
        joint: encode pairs together.
        cls_id: the token number of [CLS].
        sep_id: the token number of [SEP].
    """
    if second is None:
        pieces = first[:, None]
    elif joint:
        pieces = np.stack([first, second], axis=1)
    else:
        pieces = np.concatenate([first, second])[:, None]

    # pieces: (sequences, sentences in each); a sequence is [CLS] and each sentence with a [SEP].
    sources = offsets[pieces].astype(np.int64)
    piece_lengths = offsets[pieces + 1] - sources
    lengths = 1 + (piece_lengths + 1).sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    targets = starts[:-1, None] + 1 + np.cumsum(piece_lengths + 1, axis=1) - (piece_lengths + 1)

    ids = np.full(starts[-1], sep_id, dtype=np.int64)
    ids[starts[:-1]] = cls_id
    within = _count_up(piece_lengths.ravel())
    repeats = piece_lengths.ravel()
    ids[np.repeat(targets.ravel(), repeats) + within] = tokens[
        np.repeat(sources.ravel(), repeats) + within
    ]

    positions = _count_up(lengths)
    segments = np.zeros_like(positions)
    if pieces.shape[1] == 2:
        segments[:] = positions >= np.repeat(piece_lengths[:, 0] + 2, lengths)
    return Packed(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        segments=torch.from_numpy(segments),
        sequence_of=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
        starts=torch.from_numpy(starts),
        longest=int(lengths.max(initial=0)),
    )


def _count_up(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each length in turn: (2, 3) gives 0 1 0 1 2."""
    starts = np.cumsum(lengths) - lengths
    counted: np.ndarray = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return counted


def batches_by_tokens(lengths: np.ndarray, most_tokens: int) -> list[np.ndarray]:
    """Split rows into batches of similar length, for fast evaluation.

    Args:
        lengths: (rows,) tokens of each row.
        most_tokens: no batch of more than one row has more tokens than this once its rows are
            padded to the longest among them.

    Returns:
        Arrays of row numbers, shortest rows first; every row is in exactly one.
    """
    order = np.argsort(lengths, kind="stable")
    batches: list[np.ndarray] = []
    start = 0
    for end in range(1, len(order) + 1):
        is_last = end == len(order)
        if is_last or (end + 1 - start) * lengths[order[end]] > most_tokens:
            batches.append(order[start:end])
            start = end
    return batches
