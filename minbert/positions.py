"""A check before training that an encoder has a position for every token of the data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .config import InputSettings, TrainConfig
from .encoder_config import EncoderConfig
from .errors import InputError
from .examples import Dataset, Split
from .tasks import TASKS, SplitName

_SHORTEST: int = next(
    limit.ge for limit in InputSettings.model_fields["max_length"].metadata if hasattr(limit, "ge")
)


@dataclass(frozen=True)
class _Longest:
    """The longest sequence of a kind in one split: word pieces of its one or two sentences."""

    where: str
    pieces: tuple[int, ...]
    is_negative: bool = False

    @property
    def positions(self) -> int:
        """Tokens with [CLS], and with [SEP] after each sentence."""
        return sum(self.pieces) + len(self.pieces) + 1

    def __str__(self) -> str:
        if len(self.pieces) == 1:
            return f"a sentence of {self.pieces[0]} word pieces"
        kind = "a negative pair" if self.is_negative else "a pair"
        return f"{kind} of {self.pieces[0]} and {self.pieces[1]} word pieces"


def check_positions(
    dataset: Dataset,
    encoder: EncoderConfig,
    configs: Iterable[TrainConfig],
    *,
    remedy: str | None = None,
) -> None:
    """Refuse data with a sentence or pair that is too long for an encoder.

    Args:
        dataset: the data to encode.
        encoder: the shape of the encoder.
        configs: all configurations that may be trained.
        remedy: the advice in the message; by default to give a ``--max-length`` that certainly
            fits.

    Raises:
        InputError: the longest does not fit, or joint pairs need a segment that the encoder lacks.
    """
    # Most configurations do not differ in what matters here.
    configs = list({(c.pair_encoding, c.train_tasks, c.negatives > 0): c for c in configs}.values())
    has_pairs = any(TASKS[task].is_pair for task in dataset.tasks)
    is_joint = any(config.pair_encoding == "joint" for config in configs)
    if encoder.segments < 2 and has_pairs and is_joint:
        raise InputError(
            "pair_encoding: the encoder knows one segment only and cannot encode pairs jointly; "
            "take separate"
        )
    found = [longest for config in configs for longest in _longest(dataset, config)]
    longest = max(found, key=lambda one: one.positions, default=None)
    if longest is None or longest.positions <= encoder.max_positions:
        return
    joint = " (pair_encoding joint)" if len(longest.pieces) > 1 else ""
    raise InputError(
        f"{longest.where}: {longest} needs {longest.positions} positions with [CLS] and [SEP]"
        f"{joint}, but the encoder has {encoder.max_positions}; "
        f"{remedy or _max_length(found, encoder.max_positions)}"
    )


def _max_length(found: list[_Longest], positions: int) -> str:
    """Advice to give a --max-length with which everything certainly fits.

    It is the largest if single sentences decide; uneven pairs might fit with a larger one.
    """
    for longest in (positions - 2, (positions - 3) // 2):
        cut = (sum(min(n, longest) for n in one.pieces) + len(one.pieces) + 1 for one in found)
        if longest >= _SHORTEST and max(cut) <= positions:
            return f"give --max-length {longest}"
    return "take an encoder with more positions"


def _longest(dataset: Dataset, config: TrainConfig) -> Iterator[_Longest]:
    for task, splits in dataset.splits.items():
        for name, split in splits.items():
            if not len(split) or (name == "train" and task not in config.train_tasks):
                continue
            file = TASKS[task].file_name(name)
            where = file if file in dataset.files else f"{task} {name}"
            yield from _longest_of(split, name, where, config)


def _longest_of(
    split: Split, name: SplitName, where: str, config: TrainConfig
) -> Iterator[_Longest]:
    lengths = np.diff(split.offsets)
    first = lengths[split.first]
    if split.second is None:
        yield _Longest(where, (int(first.max()),))
        return
    second = lengths[split.second]
    if config.pair_encoding == "separate":
        yield _Longest(where, (int(max(first.max(), second.max())),))
        return
    row = int(np.argmax(first + second))
    yield _Longest(where, (int(first[row]), int(second[row])))
    if split.task == "sts" and name == "train" and config.negatives > 0:
        # A negative pairs the first sentence of an example with any other sentence of the split.
        yield from _longest_negative(split, lengths, where)


def _longest_negative(split: Split, lengths: np.ndarray, where: str) -> Iterator[_Longest]:
    pool = np.unique(np.concatenate([split.first, split.second]))
    by_length = pool[np.argsort(-lengths[pool], kind="stable")]
    anchor = int(split.first[np.argmax(lengths[split.first])])
    other = next((int(sentence) for sentence in by_length if sentence != anchor), None)
    if other is not None:
        yield _Longest(where, (int(lengths[anchor]), int(lengths[other])), is_negative=True)
