"""The public data of the three tasks from the Hugging Face Hub, written in the course layout.

Sentiment is SetFit/sst5; paraphrases and similarity are qqp and stsb of nyu-mll/glue (Wang et al.
2018). Both repositories are pinned to a commit. The labels of glue's test files are hidden, and
test files of the course layout have no labels, so none are written. The names of glue's two test
files follow those of its other sets; the repository's own listing was not at hand to confirm them.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.json
import pyarrow.parquet

from . import hub
from .cache import file_hash
from .errors import InputError, first_line
from .files import replacing, write_whole
from .tasks import TASKS, SplitName, Task

# Increase it when the same downloads would be written differently.
_FORMAT = 2


@dataclass(frozen=True)
class _Source:
    """Where one task's examples are on the Hub.

    Attributes:
        files: file of each split in the repository.
        columns: the sentences' columns in those files, in the order of the task's own.
    """

    repo: str
    revision: str
    files: dict[SplitName, str]
    columns: tuple[str, ...]


_GLUE_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


def _glue_files(name: str) -> dict[SplitName, str]:
    return {
        "train": f"{name}/train-00000-of-00001.parquet",
        "dev": f"{name}/validation-00000-of-00001.parquet",
        "test": f"{name}/test-00000-of-00001.parquet",
    }


_SOURCES: dict[Task, _Source] = {
    "sst": _Source(
        repo="SetFit/sst5",
        revision="e51bdcd8cd3a30da231967c1a249ba59361279a3",
        files={"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        columns=("text",),
    ),
    "para": _Source(
        repo="nyu-mll/glue",
        revision=_GLUE_REVISION,
        files=_glue_files("qqp"),
        columns=("question1", "question2"),
    ),
    "sts": _Source(
        repo="nyu-mll/glue",
        revision=_GLUE_REVISION,
        files=_glue_files("stsb"),
        columns=("sentence1", "sentence2"),
    ),
}


def prepare_glue(folder: Path, task: Task, split: SplitName) -> None:
    """Make sure that ``folder`` has the task's file of a split in the course layout.

    The file is downloaded and written once, and again if it was changed since. Ids are the numbers
    of the rows.

    Raises:
        InputError: the Hub cannot be reached, or what it sends is not as expected.
        OSError: the folder cannot be written.
    """
    source = _SOURCES[task]
    path = folder / TASKS[task].file_name(split)
    seal = path.with_suffix(".json")
    made_from = [_FORMAT, source.repo, source.revision, source.files[split]]
    if _is_whole(path, seal, made_from):
        return
    download = hub.download(source.repo, source.files[split], source.revision, "dataset")
    folder.mkdir(parents=True, exist_ok=True)
    # Not waiting for the disk: the hash beside the file shows whether it is torn.
    with replacing(path, sync=False) as file:
        _write(file, download, task, split, source)
    content = json.dumps({"from": made_from, "sha256": file_hash(path)})
    write_whole(seal, content.encode(), sync=False)


def _is_whole(path: Path, seal: Path, made_from: list[Any]) -> bool:
    try:
        found: object = json.loads(seal.read_bytes())
        return found == {"from": made_from, "sha256": file_hash(path)}
    except (OSError, ValueError):
        return False


def _write(file: BinaryIO, download: Path, task: Task, split: SplitName, source: _Source) -> None:
    spec = TASKS[task]
    labels = () if split == "test" else ("label",)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["", "id", *spec.sentence_columns, *(spec.label_column for _ in labels)])
    for number, row in enumerate(_read_rows(download, (*source.columns, *labels))):
        # Some labels are 32-bit floats, whose last digits are noise.
        values = [f"{value:g}" if isinstance(value, float) else value for value in row]
        # A row of the course layout is one line.
        values = [re.sub(r"[\r\n]+", " ", v) if isinstance(v, str) else v for v in values]
        writer.writerow([number, number, *values])
    text.detach()


def _read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    try:
        if path.suffix == ".jsonl":
            table = pyarrow.json.read_json(path)
        else:
            table = pyarrow.parquet.read_table(path)
        chosen = [table.column(name).to_pylist() for name in columns]
    except (pyarrow.ArrowException, KeyError) as error:
        raise InputError(
            f"{path}: not the table expected from the Hub ({first_line(error)}); "
            "delete it to have it downloaded again"
        ) from None
    return zip(*chosen, strict=True)
