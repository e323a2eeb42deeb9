"""Read one file of the course layout and check its rows."""

import csv
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .errors import InputError
from .tasks import TASKS, SplitName, Task, TaskSpec

if TYPE_CHECKING:
    import _csv

MOST_BAD = 0.01
"""Share of bad rows up to which they are dropped; more makes the file an error."""

MOST_CLASSES = 100
"""A sentiment label of this or more is a slip, not a class."""

_BAD_ROWS_NAMED = 5

# All ids of a file are stored as wide as the longest.
_LONGEST_ID = 200
# What a spreadsheet would reckon with, or run, when it opens the file of predictions.
_FORMULA = re.compile(r"[=@]|[+-](?![\w.+/=-]*$)")


class BadRow(NamedTuple):
    """A row that cannot be used."""

    line: int
    reason: str


@dataclass(frozen=True)
class Table:
    """The rows of one file.

    Attributes:
        ids: as in the file.
        texts: the prepared sentences of each row, one or two.
        labels: None for a test file.
        bad: the rows that are left out, by the line of the file where they begin.
    """

    ids: list[str]
    texts: list[tuple[str, ...]]
    labels: list[float] | None
    bad: list[BadRow]


def prepare_text(task: Task, text: str) -> str:
    """Prepare a sentence as the course does (CS224N default final project, ``datasets.py``).

    Sentiment sentences are stripped. In sentences of pairs ``. ? , '`` stand between blanks and
    other white space becomes one blank. Lower-casing is left to the tokenizer.
    """
    if not TASKS[task].is_pair:
        return text.strip()
    return " ".join(re.sub(r"([.?,'])", r" \1 ", text).split())


def read_table(content: bytes, file: str, task: Task, split: SplitName) -> Table:
    """Read tab-separated values with CSV quoting; columns are found by the names in the header.

    Args:
        content: of the file.
        file: its name, for messages.
        task: whose columns the file has.
        split: test files need no labels, and none are read.

    Raises:
        InputError: not UTF-8 text, not CSV, a missing column, a label column of text, no rows.
    """
    spec = TASKS[task]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}, line {line}: not UTF-8 text; convert the file") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
    labelled = split != "test"
    try:
        columns = _find_columns(next(reader, []), spec, file, labelled)
        table = _read_rows(reader, columns, spec, file)
    except csv.Error as error:
        raise InputError(
            f"{file}, line {reader.line_num}: {error}; is a quotation mark left open?"
        ) from None
    if not table.ids and not table.bad:
        raise InputError(f"{file} has a header but no rows; add examples")
    return table


def check_bad_rows(file: str, rows: int, bad: list[BadRow], *, strict: bool) -> str | None:
    """A note that names the bad rows, which were dropped from ``rows`` in all; None without any.

    Raises:
        InputError: more than 1 % of the rows are bad, or any when ``strict``.
    """
    if not bad:
        return None
    first = f"line {bad[0].line}: {bad[0].reason}"
    if len(bad) > MOST_BAD * rows:
        raise InputError(
            f"{file}: {len(bad)} of {rows} rows are bad, more than {MOST_BAD:.0%}; "
            f"the first is {first}; mend the file"
        )
    if strict:
        raise InputError(f"{file}, {first}; mend the row, or leave out --strict to drop it")
    named = "; ".join(f"line {row.line}: {row.reason}" for row in bad[:_BAD_ROWS_NAMED])
    more = f"; and {len(bad) - _BAD_ROWS_NAMED} more" if len(bad) > _BAD_ROWS_NAMED else ""
    return f"{file}: dropped {len(bad)} of {rows} rows ({named}{more})"


class _Columns(NamedTuple):
    id: int
    sentences: dict[str, int]
    label: int | None


def _find_columns(header: list[str], spec: TaskSpec, file: str, labelled: bool) -> _Columns:
    names = [name.strip() for name in header]
    wanted = ["id", *spec.sentence_columns, *([spec.label_column] if labelled else [])]
    missing = [name for name in wanted if name not in names]
    if missing:
        found = ", ".join(name for name in names if name) or "none"
        raise InputError(
            f"{file}: no column '{missing[0]}' (found: {found[:200]}); "
            f"it needs a header and tab-separated columns {', '.join(wanted)}"
        )
    return _Columns(
        id=names.index("id"),
        sentences={name: names.index(name) for name in spec.sentence_columns},
        label=names.index(spec.label_column) if labelled else None,
    )


def _read_rows(reader: "_csv.Reader", columns: _Columns, spec: TaskSpec, file: str) -> Table:
    table = Table([], [], None if columns.label is None else [], [])
    text_labels = []
    # A quoted field may hold line breaks, so a row begins where the one before it ended.
    begin = reader.line_num + 1
    for row in reader:
        line, begin = begin, reader.line_num + 1
        if not row:
            continue
        fields = dict(enumerate(row))
        texts = {
            name: prepare_text(spec.name, fields.get(column, ""))
            for name, column in columns.sentences.items()
        }
        id_ = fields.get(columns.id, "").strip()
        reasons = [f"no {name}" for name, text in texts.items() if not text]
        if (wrong := _wrong_with_id(id_)) is not None:
            reasons.append(wrong)
        label = 0.0
        if columns.label is not None:
            written = fields.get(columns.label, "").strip()
            try:
                label = _parse_label(written, spec)
            except ValueError as error:
                reasons.append(str(error))
                if any(character.isalpha() for character in written):
                    text_labels.append(written)
        if reasons:
            table.bad.append(BadRow(line, ", ".join(reasons)))
            continue
        table.ids.append(id_)
        table.texts.append(tuple(texts.values()))
        if table.labels is not None:
            table.labels.append(label)
    if text_labels and len(text_labels) == len(table.bad) and not table.ids:
        raise InputError(
            f"{file}: the label column '{spec.label_column}' is text, such as "
            f"{_shown(text_labels[0])}; give each class or grade as a number"
        )
    return table


def _wrong_with_id(written: str) -> str | None:
    """Why an id cannot be put into a file of predictions as it is, in words."""
    if len(written) > _LONGEST_ID:
        return f"an id of {len(written)} characters"
    if not written.isprintable():
        return f"id {_shown(written)} holds a character that is not to be seen"
    return f"id {_shown(written)} is a formula" if _FORMULA.match(written) else None


def _parse_label(written: str, spec: TaskSpec) -> float:
    """The label, or a ValueError that says what is wrong with it."""
    name = spec.label_column
    if not written:
        raise ValueError(f"no {name}")
    highest = MOST_CLASSES - 1 if spec.highest_label is None else spec.highest_label
    try:
        label = float(written)
    except ValueError:
        label = math.nan
    if math.isnan(label):
        raise ValueError(f"{name} {_shown(written)} is not a number")
    if not 0 <= label <= highest:
        raise ValueError(f"{name} {_shown(written)} is not within 0 to {highest:g}")
    if spec.whole_labels and label != int(label):
        raise ValueError(f"{name} {_shown(written)} is not a whole number")
    return label


def _shown(text: str) -> str:
    return repr(text if len(text) <= 30 else text[:27] + "...")
