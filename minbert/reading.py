"""Read one file of the course layout and check its rows."""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import InputError
from .output import counted
from .tasks import TASKS, SplitName, Task, TaskSpec

MOST_BAD = 0.01
"""Bad rows up to this share of a file are dropped; more are an error."""

MOST_CLASSES = 100
"""A sentiment label of this or more is an error, not a class."""

_BAD_ROWS_NAMED = 5

_QUOTED = re.compile(r'"((?:[^"]|"")*)" *')

# All ids of a file are stored as wide as the longest.
_LONGEST_ID = 200
# What a spreadsheet would compute or run when it opens the file of predictions.
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
        bad: the rows that are left out, by the line where they begin.
        stray: lines of rows in which a quotation mark opens a field but does not end it; the
            mark is read as text.
        first_lines: for each label, the line of the first row that has it.
    """

    ids: list[str]
    texts: list[tuple[str, ...]]
    labels: list[float] | None
    bad: list[BadRow]
    stray: list[int] = field(default_factory=list)
    first_lines: dict[float, int] = field(default_factory=dict)


def prepare_text(task: Task, text: str) -> str:
    """Prepare a sentence as the course does (CS224N default final project, ``datasets.py``).

    Sentiment sentences are stripped. In sentences of pairs, blanks are put around ``. ? , '`` and
    other white space becomes one blank. The tokenizer does the lower-casing.
    """
    if not TASKS[task].is_pair:
        return text.strip()
    return " ".join(re.sub(r"([.?,'])", r" \1 ", text).split())


def read_table(content: bytes, file: str, task: Task, split: SplitName) -> Table:
    """Read tab-separated values with CSV quoting; columns are found by the names in the header.

    A row is one line. A quoted field is never read across lines: the quotation mark is read as
    text if the line has as many fields as the header, and otherwise the row is bad.

    Args:
        content: the file's content.
        file: its name, for messages.
        task: the task whose columns the file has.
        split: of test files labels are not read; only they may have no rows.

    Raises:
        InputError: the file is not UTF-8 text, lacks a column or rows, or has text as labels.
    """
    spec = TASKS[task]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}, line {line}: not UTF-8 text; convert the file") from None
    # Unlike str.splitlines, this ends lines only at \n, \r and \r\n.
    lines = [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]
    there = [number for number, line in enumerate(lines) if line.strip()]
    labelled = split != "test"
    if not labelled and len(there) < 2:
        return Table([], [], None, [])
    header = there[0] if there else 0
    columns = _find_columns(lines[header] if lines else "", spec, file, labelled)
    table = _read_rows(_rows(lines, header + 1, columns), columns, spec, file)
    if not table.ids and not table.bad:
        raise InputError(f"{file} has a header but no rows; add examples")
    return table


def check_bad_rows(file: str, rows: int, bad: list[BadRow], *, strict: bool) -> str | None:
    """A note that names the bad rows, which were dropped; None if there are none.

    Raises:
        InputError: more than 1 % of the rows are bad, or any when ``strict``.
    """
    if not bad:
        return None
    first = f"line {bad[0].line}: {bad[0].reason}"
    if len(bad) > MOST_BAD * rows:
        raise InputError(
            f"{file}: {len(bad)} of {rows} rows are bad, more than {MOST_BAD:.0%}; "
            f"the first is {first}; fix the file"
        )
    if strict:
        raise InputError(f"{file}, {first}; fix the row, or leave out --strict to drop it")
    named = "; ".join(f"line {row.line}: {row.reason}" for row in bad[:_BAD_ROWS_NAMED])
    more = f"; and {len(bad) - _BAD_ROWS_NAMED} more" if len(bad) > _BAD_ROWS_NAMED else ""
    return f"{file}: dropped {len(bad)} of {rows} rows ({named}{more})"


def check_stray(file: str, rows: int, stray: list[int], *, strict: bool) -> str | None:
    """A note that names the lines with stray quotation marks; None if there are none.

    Raises:
        InputError: there are any, when ``strict``.
    """
    what = "a quotation mark opens a field but does not end it"
    if not stray:
        return None
    if strict:
        raise InputError(
            f"{file}, line {stray[0]}: {what}; correct the field, or leave out --strict to read "
            "it as text"
        )
    lines = ", ".join(str(line) for line in stray[:_BAD_ROWS_NAMED])
    more = f" and {len(stray) - _BAD_ROWS_NAMED} more" if len(stray) > _BAD_ROWS_NAMED else ""
    return (
        f"{file}: in {len(stray)} of {rows} rows {what}, so it is read as text "
        f"({'lines' if len(stray) > 1 else 'line'} {lines}{more}); correct the file if that is "
        "wrong"
    )


class _Columns(NamedTuple):
    id: int
    sentences: dict[str, int]
    label: int | None
    least: int
    most: int

    def fit(self, fields: list[str]) -> bool:
        """Whether there are as many fields as columns; drops empty ones after the last column."""
        while len(fields) > self.most and not fields[-1].strip():
            fields.pop()
        return self.least <= len(fields) <= self.most


class _Row(NamedTuple):
    line: int
    fields: list[str]
    wrong: str | None
    stray: bool


def _find_columns(header: str, spec: TaskSpec, file: str, labelled: bool) -> _Columns:
    try:
        names = next(csv.reader([header], delimiter="\t", strict=True), [])
    except csv.Error:
        names = header.split("\t")
    names = [name.strip() for name in names]
    wanted = ["id", *spec.sentence_columns, *([spec.label_column] if labelled else [])]
    missing = [name for name in wanted if name not in names]
    if missing:
        found = ", ".join(name for name in names if name) or "none"
        raise InputError(
            f"{file}: no column '{missing[0]}' (found: {found[:200]}); "
            f"it needs a header and tab-separated columns {', '.join(wanted)}"
        )
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise InputError(f"{file}: two columns are called '{twice[0]}'; rename or remove one")
    return _Columns(
        id=names.index("id"),
        sentences={name: names.index(name) for name in spec.sentence_columns},
        label=names.index(spec.label_column) if labelled else None,
        # Spreadsheets add columns without a name, which rows may lack.
        least=max(number for number, name in enumerate(names, start=1) if name),
        most=len(names),
    )


def _rows(lines: list[str], start: int, columns: _Columns) -> Iterator[_Row]:
    """The rows from line ``start`` on, without blank lines."""
    at = start
    while at < len(lines):
        row, taken = _row_at(lines, at, columns)
        if lines[at].strip():
            yield row
        at += taken


def _row_at(lines: list[str], at: int, columns: _Columns) -> tuple[_Row, int]:
    """The row that begins at a line, and how many lines it takes: several only if it is bad."""
    line, number = lines[at], at + 1
    if '"' not in line:
        fields = line.split("\t")
        return _Row(number, fields, _wrong_with_fields(fields, columns, False), False), 1
    quoted, taken = _read_quoted(lines, at, columns)
    if taken > 1:
        return _Row(number, [], f"a field spans lines {number} to {at + taken}", False), taken
    if quoted is not None and columns.fit(quoted):
        return _Row(number, quoted, _wrong_with_fields(quoted, columns, False), False), 1
    # Each field by itself, so that a mark does not swallow a tab either.
    parts = line.split("\t")
    matches = [_QUOTED.fullmatch(part) for part in parts]
    pairs = list(zip(parts, matches, strict=True))
    fields = [part if match is None else match[1].replace('""', '"') for part, match in pairs]
    stray = any(part.startswith('"') and match is None for part, match in pairs)
    return _Row(number, fields, _wrong_with_fields(fields, columns, stray), stray), 1


def _wrong_with_fields(fields: list[str], columns: _Columns, stray: bool) -> str | None:
    hint = " (a quotation mark may be left open)" if stray else ""
    if not columns.fit(fields):
        return f"{counted(len(fields), 'field')} where the header has {columns.most}{hint}"
    limit = csv.field_size_limit()
    if any(len(text) > limit for text in fields):
        return f"field larger than field limit ({limit}){hint}"
    return None


def _read_quoted(lines: list[str], at: int, columns: _Columns) -> tuple[list[str] | None, int]:
    """The fields of a line by the rules of CSV (None if it breaks them), and its number of lines.

    It takes several lines only if they make one whole row together and no later one is a row by
    itself. Then a field really contains line ends, and the mark that opens it is not stray.
    """

    def own_lines() -> Iterator[str]:
        yield lines[at]
        for later in range(at + 1, len(lines)):
            if columns.fit(lines[later].split("\t")):
                return
            yield lines[later]

    reader = csv.reader(own_lines(), delimiter="\t", strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        return None, 1
    if reader.line_num > 1 and not columns.fit(fields):
        return None, 1
    return fields, reader.line_num


def _read_rows(rows: Iterator[_Row], columns: _Columns, spec: TaskSpec, file: str) -> Table:
    table = Table([], [], None if columns.label is None else [], [])
    text_labels = []
    for line, fields, wrong, stray in rows:
        if wrong is not None:
            table.bad.append(BadRow(line, wrong))
            continue
        texts = {
            name: prepare_text(spec.name, fields[column])
            for name, column in columns.sentences.items()
        }
        id_ = fields[columns.id].strip()
        reasons = [f"no {name}" for name, text in texts.items() if not text]
        if (wrong_id := _wrong_with_id(id_)) is not None:
            reasons.append(wrong_id)
        label = 0.0
        if columns.label is not None:
            written = fields[columns.label].strip()
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
            table.first_lines.setdefault(label, line)
        if stray:
            table.stray.append(line)
    if text_labels and len(text_labels) == len(table.bad) and not table.ids:
        raise InputError(
            f"{file}: the label column '{spec.label_column}' is text, such as "
            f"{_shown(text_labels[0])}; give each class or grade as a number"
        )
    return table


def _wrong_with_id(written: str) -> str | None:
    """Why an id cannot be written to a file of predictions, in words; None if it can."""
    if len(written) > _LONGEST_ID:
        return f"an id of {len(written)} characters"
    if not written.isprintable():
        return f"id {_shown(written)} contains an unprintable character"
    return f"id {_shown(written)} is a formula" if _FORMULA.match(written) else None


def _parse_label(written: str, spec: TaskSpec) -> float:
    """The label, or a ValueError that says what is wrong with it."""
    name = spec.label_column
    if not written:
        raise ValueError(f"no {name}")
    highest = MOST_CLASSES - 1 if spec.highest_label is None else spec.highest_label
    try:
        # Python would take 1_0 for 10.
        label = math.nan if "_" in written else float(written)
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
