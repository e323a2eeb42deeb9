"""Notes for the user on the data that were read, one sentence each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .examples import Split
from .output import counted
from .tasks import TASKS, SplitName, Task

MOST_UNKNOWN = 0.05
"""Share of [UNK] from which there is a note: about one word piece in each sentence of 20.

English text read with an English vocabulary has less than 0.0005, text in a language that the
vocabulary lacks more than 0.5.
"""

_MOST_NAMED = 5


@dataclass(frozen=True)
class ReadFile:
    """One file that was read.

    Attributes:
        name: the file's name.
        whole: all its examples.
        used: those that are trained on, scored or predicted.
        is_cut: (sentences,) bool, whether the sentence is longer than the maximum length.
        first_lines: for each class, the line of the first row that has it.
    """

    name: str
    whole: Split
    used: Split
    is_cut: np.ndarray
    first_lines: Mapping[int, int]


def on_task(
    task: Task, read: Mapping[SplitName, ReadFile], unknown: int | None, *, strict: bool
) -> list[str]:
    """Notes on the files of one task; ``unknown`` is the token id of [UNK].

    Raises:
        InputError: there are classes beyond a gap, when ``strict``.
    """
    notes = [_on_ids(read[name]) for name in ("dev", "test") if name in read]
    notes += [_on_one_label(task, name, file) for name, file in read.items()]
    if task == "sst":
        notes += _on_classes(read, strict=strict)
    if task == "sts":
        notes.append(_on_scale(read))
    notes.append(_on_unknown(task, read.values(), unknown))
    notes.append(_on_overlap(task, read))
    return [note for note in notes if note]


def on_labelled_test(task: Task, train: Split, test: Split) -> list[str]:
    """A note on test examples that are trained on."""
    note = _in_train(task, train, test, "labelled test")
    return [note] if note else []


def on_cut(read: Mapping[Task, Mapping[SplitName, ReadFile]], max_length: int) -> list[str]:
    """How many of the sentences that are used are cut, in one line for all tasks."""
    shares = []
    for task, files in read.items():
        cut, used = 0, 0
        for file in files.values():
            columns = [file.used.first, *([] if file.used.second is None else [file.used.second])]
            sentences = np.unique(np.concatenate(columns))
            cut, used = cut + int(file.is_cut[sentences].sum()), used + len(sentences)
        if cut:
            shares.append(f"{task} {cut:,} of {used:,} ({100 * cut / used:.3g} %)")
    if not shares:
        return []
    return [
        f"sentences longer than {max_length} word pieces are cut: {', '.join(shares)}; see "
        "--max-length"
    ]


def on_no_rows(file: str, task: Task) -> str:
    """A note on an empty test file, which is allowed as a missing one is."""
    return f"{file} has no rows, so {task} gets no test predictions; fill the file or remove it"


def _on_ids(file: ReadFile) -> str:
    counts = Counter(file.whole.ids.tolist())
    empty = counts.pop("", 0)
    repeated = {id_: count for id_, count in counts.items() if count > 1}
    found = []
    if repeated:
        ids = "1 id occurs" if len(repeated) == 1 else f"{len(repeated)} ids occur"
        first = next(iter(repeated))
        found.append(
            f"{ids} more than once (in {sum(repeated.values())} rows, such as "
            f"'{first if len(first) <= 30 else first[:27] + '...'}')"
        )
    if empty:
        found.append(f"{empty} {'row has' if empty == 1 else 'rows have'} no id")
    if not found:
        return ""
    return (
        f"{file.name}: {' and '.join(found)}; predictions are identified by id, so give each row "
        "its own"
    )


def _on_one_label(task: Task, split: SplitName, file: ReadFile) -> str:
    labels = file.used.labels
    if labels is None or np.ptp(labels) > 0:
        return ""
    all_labels = f"all {len(labels)} labels are" if len(labels) > 1 else "the only label is"
    drawn = " of the sample" if len(labels) < len(file.whole) else ""
    says = {
        ("train", True): "a model can learn nothing else from them",
        ("train", False): "a model can learn nothing else from them",
        ("dev", True): "Pearson is undefined and counts as 0",
        ("dev", False): "accuracy says nothing about a model",
    }[split if split == "train" else "dev", task == "sts"]
    remedy = f"raise --{split}-limit" if drawn else "take examples with other labels too"
    return f"{file.name}: {all_labels} {labels[0]:g}{drawn}, so {says}; {remedy}"


def _on_classes(read: Mapping[SplitName, ReadFile], *, strict: bool) -> list[str]:
    """Notes on classes without any example, or without one in train; none if train was not read."""
    if "train" not in read:
        return []
    labelled = {name: file for name, file in read.items() if file.whole.labels is not None}
    counts = {
        name: Counter(np.asarray(file.whole.labels, np.int64).tolist())
        for name, file in labelled.items()
    }
    train, dev = counts["train"], counts.get("dev", Counter())
    if len(train | dev) == 1:
        return []
    notes = []
    classes = max(train | dev) + 1
    never = [number for number in range(classes) if number not in train and number not in dev]
    if never:
        # Some number classes from above 0. A gap after the first class is most often an error in
        # the labels beyond it.
        gap = next((number for number in never if number > min(train | dev)), classes)
        beyond = [
            f"label {number} in {counted(counts[name][number], 'row')} of {file.name}, first on "
            f"line {file.first_lines[number]}"
            for number in sorted(train | dev)
            if number > gap
            for name, file in labelled.items()
            if number in counts[name]
        ]
        if beyond:
            more = f", and {len(beyond) - _MOST_NAMED} more" if len(beyond) > _MOST_NAMED else ""
            note = (
                f"sst: {'; '.join(beyond[:_MOST_NAMED])}{more}: that makes {classes} classes, and "
                f"{_classes(never)}; correct the labels, or number the classes without a gap"
            )
            if strict:
                raise InputError(f"{note}, or leave out --strict")
            notes.append(note)
        elif len(train) > 1:
            files = " or ".join(file.name for file in labelled.values())
            notes.append(
                f"sst: {_classes(never)} in {files}, where labels up to {classes - 1} make "
                f"{classes} classes; number the classes from 0 without a gap if none is meant to "
                "be empty"
            )
    untrained = sorted(dev.keys() - train.keys())
    # That all training labels are the same is noted elsewhere.
    if untrained and len(train) > 1:
        examples = sum(dev[number] for number in untrained)
        notes.append(
            f"sst: {_classes(untrained)} in {read['train'].name}, but in {examples} of "
            f"{dev.total()} examples of {read['dev'].name}, which no model can get right; add "
            "training examples"
        )
    return notes


def _classes(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"class {numbers[0]} never occurs"
    named = ", ".join(str(number) for number in numbers[:_MOST_NAMED])
    more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
    return f"classes {named}{more} never occur"


def _on_scale(read: Mapping[SplitName, ReadFile]) -> str:
    low = []
    for file in read.values():
        labels = file.whole.labels
        if labels is not None and labels.max() <= 1 and np.ptp(labels) > 0:
            low.append(f"{labels.max():g} in {file.name}")
    if not low:
        return ""
    return (
        f"sts: the highest similarity is {' and '.join(low)}, where 5 means the same; multiply a "
        "scale of 0 to 1 by 5"
    )


def _on_unknown(task: Task, files: Iterable[ReadFile], unknown: int | None) -> str:
    shares = []
    for file in files:
        tokens = file.whole.tokens
        share = float(np.mean(tokens == unknown)) if unknown is not None and len(tokens) else 0.0
        if share >= MOST_UNKNOWN:
            shares.append(f"{100 * share:.0f} % in {file.name}")
    if not shares:
        return ""
    return (
        f"{task}: the encoder does not know many of the word pieces, which it reads as [UNK] "
        f"({', '.join(shares)}); take an encoder whose vocabulary has the language of the data"
    )


def _on_overlap(task: Task, read: Mapping[SplitName, ReadFile]) -> str:
    if "train" not in read or "dev" not in read:
        return ""
    return _in_train(task, read["train"].used, read["dev"].used, "dev")


def _in_train(task: Task, train: Split, other: Split, name: str) -> str:
    known = set(_examples(train))
    examples = _examples(other)
    shared = sum(example in known for example in examples)
    if not shared:
        return ""
    what = "pairs" if TASKS[task].is_pair else "sentences"
    return f"{task}: {shared} of {len(examples)} {name} {what} also occur in train"


def _examples(split: Split) -> list[tuple[int, ...]]:
    """The texts of each example, by their hashes; those of a pair in a fixed order.

    Not by word pieces: where most are [UNK], different sentences look the same.
    """
    first = split.texts[split.first].tolist()
    if split.second is None:
        return [(text,) for text in first]
    second = split.texts[split.second].tolist()
    return [(min(pair), max(pair)) for pair in zip(first, second, strict=True)]
