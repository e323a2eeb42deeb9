"""Rows of data files: a row is one line, whatever quotation marks stand in it."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.reading import Table, read_table
from minbert.tasks import Task

from ..conftest import write_course_folder

SST = "\tid\tsentence\tsentiment\n"
PARA = "\tid\tsentence1\tsentence2\tis_duplicate\n"
TEST = "\t\tid\tsentence\n"


def read(content: str) -> Table:
    """Read as the file whose columns the content has."""
    if content.startswith(TEST):
        return read_table(content.encode(), "f.csv", "sst", "test")
    task: Task = "para" if content.startswith(PARA) else "sst"
    return read_table(content.encode(), "f.csv", task, "train")


def sst(*sentences: str) -> str:
    """A file with these sentences as they are, each with its own id and label."""
    rows = (f"{n}\tid{n}\t{sentence}\t{n % 5}\n" for n, sentence in enumerate(sentences))
    return SST + "".join(rows)


def test_a_mark_that_is_closed_thirty_rows_later_swallows_none_of_them() -> None:
    sentences = [f"sentence {n}" for n in range(80)]
    sentences[20] = '"' + sentences[20]
    sentences[50] += '"'
    table = read(sst(*sentences))
    assert table.ids == [f"id{n}" for n in range(80)]
    assert table.texts == [(sentence,) for sentence in sentences]
    assert table.labels == [n % 5 for n in range(80)]
    assert (table.bad, table.stray) == ([], [22])


@pytest.mark.parametrize(
    ("content", "texts", "stray"),
    [
        # Never closed; closed within the row, but with a tab between, or with text after.
        (sst('"one', "two"), ['"one', "two"], [2]),
        (sst("one", '"two'), ["one", '"two'], [3]),
        (sst('"one" two', "three"), ['"one" two', "three"], [2]),
        (PARA + '0\ta\t"one\ttwo"\t1\n', ['"one', 'two"'], [2]),
        (PARA + '0\ta\t"o ""n"" e"\t"two\t1\n', ['o "n" e', '"two'], [2]),
        (PARA + '0\ta\t"one\t"two\t1\n1\tb\tx"\ty"\t0\n', ['"one', '"two', 'x"', 'y"'], [2]),
        # In the last column of a test file.
        (TEST + '0\t0.0\ta\t"one\n1\t1.0\tb\ttwo"\n', ['"one', 'two"'], [2]),
        # Nothing but marks.
        (sst('"', '"""', '""""'), ['"', '"""', '"'], [2, 3]),
        # Marks that open no field are text, and doubled ones are single.
        (sst('one "two', ' "three', '"say ""four"""'), ['one "two', '"three', 'say "four"'], []),
        (sst('"one" ', "two"), ["one", "two"], []),
        # Tabs within quoted fields, where the row has as many fields as the header.
        (sst('"one\ttwo"'), ["one\ttwo"], []),
        # These end no line.
        (sst("a\u2028b", "c\x0bd\x0ce", "f\x85g", "h\x00i"), None, []),
    ],
)
def test_marks_that_swallow_something_are_text(
    content: str, texts: list[str] | None, stray: list[int]
) -> None:
    table = read(content)
    found = [text for row in table.texts for text in row]
    assert found == (texts or re.findall(r"\t(.\W.(?:\W.)?)\t", content))
    assert (table.bad, table.stray) == ([], stray)


@pytest.mark.parametrize(
    ("row", "bad"),
    [
        ("0\ta\tone\ttwo\t1\n", [(3, "5 fields where the header has 4")]),
        ("0\ta\tone\t\t1\n", [(3, "5 fields where the header has 4")]),
        ("0\ta\tone 1\n", [(3, "3 fields where the header has 4")]),
        ("0\n", [(3, "1 field where the header has 4")]),
        ('0\ta\t"one\ttwo"\tthree\t1\n', [(3, "6 fields where the header has 4 (a")]),
        ('0\ta\t"one 1\n', [(3, "3 fields where the header has 4 (a quotation mark may be left")]),
        ('0\ta\tone\t"1\n', [(3, "sentiment '\"1' is not a number")]),
        # A field that does span lines is one bad row; its lines are no rows.
        ('0\ta\t"one\n\ntwo"\t1\n', [(3, "a field spans lines 3 to 5")]),
        ('0\ta\t"one\r\ntwo"\t1\r\n', [(3, "a field spans lines 3 to 4")]),
        ('0\ta\t"one\rtwo"\t1\n', [(3, "a field spans lines 3 to 4")]),
        ('0\t"a\n"\t"one\n"\t1\n', [(3, "a field spans lines 3 to 5")]),
        # A whole row by itself, if its last field ended there.
        ('0\ta\t"one\t1\ntwo"\t2\n', [(3, "a field spans lines 3 to 4")]),
        # What seems to span lines, but makes no row.
        (
            '0\ta\t"one\ntwo"\n',
            [(3, "3 fields where the header has 4 (a"), (4, "1 field where the header has 4")],
        ),
    ],
)
def test_rows_of_other_widths_and_of_several_lines_are_bad(
    row: str, bad: list[tuple[int, str]]
) -> None:
    before, after = "8\tbefore\tx\t0\n", "9\tafter\ty\t1\n"
    table = read(SST + before + row + after)
    assert table.ids == ["before", "after"]
    assert table.labels == [0, 1]
    assert [line for line, _ in table.bad] == [line for line, _ in bad]
    for (_, reason), (_, begin) in zip(table.bad, bad, strict=True):
        assert reason.startswith(begin)
    assert table.stray == []


def test_empty_fields_after_the_last_column_are_harmless() -> None:
    columns = "id\tsentence\tsentiment"
    for content in (
        f"{columns}\na\tone\t1\t\t\nb\ttwo\t2\n",
        f"{columns}\t\t\na\tone\t1\nb\ttwo\t2\t\t\t\t\n\t\t\t\n",
    ):
        table = read(content)
        assert (table.ids, table.labels, table.bad) == (["a", "b"], [1, 2], [])


def test_a_mark_in_the_header_swallows_no_row() -> None:
    with pytest.raises(InputError, match=r"no column 'sentence' \(found: id, \"sentence, sent"):
        read('id\t"sentence\tsentiment\na\tone"\t1\n')


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text('ab" ', min_size=1, max_size=6), min_size=1, max_size=8))
def test_without_quoting_each_row_is_its_own_line(sentences: list[str]) -> None:
    table = read(sst(*sentences))
    kept = dict(zip(table.ids, zip(table.texts, table.labels or [], strict=True), strict=True))
    for number, sentence in enumerate(sentences):
        if (found := kept.get(f"id{number}")) is None:
            assert (number + 2, "no sentence") in table.bad
            continue
        (text,), label = found
        assert label == number % 5
        closed = re.fullmatch('"((?:[^"]|"")*)" *', sentence)
        assert text == (closed[1].replace('""', '"') if closed else sentence).strip()
    assert len(table.ids) + len(table.bad) == len(sentences)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text('ab" \n', min_size=1, max_size=6), min_size=1, max_size=8))
def test_what_a_csv_writer_wrote_is_read_back_but_for_fields_of_several_lines(
    sentences: list[str],
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerows([n, f"id{n}", sentence, n % 5] for n, sentence in enumerate(sentences))
    table = read(SST + stream.getvalue())
    whole = [
        (f"id{n}", sentence.strip(), n % 5)
        for n, sentence in enumerate(sentences)
        if sentence.strip() and "\n" not in sentence
    ]
    texts = [text for (text,) in table.texts]
    assert list(zip(table.ids, texts, table.labels or [], strict=True)) == whole
    assert len(table.bad) == len(sentences) - len(whole)
    assert table.stray == []


# Notes and --strict


def load(folder: Path, tiny: Pretrained, cache: Path, *, strict: bool = False) -> Dataset:
    inputs = InputSettings(data=str(folder), strict=strict)
    return load_dataset(inputs, tiny.tokenizer(), cache=cache)


@pytest.mark.parametrize(
    ("before", "after", "note", "refusal"),
    [
        (
            "-3\tThe",
            '-3\t"The',
            "ids-sst-train.csv: in 1 of 120 rows a quotation mark opens a field but does not end "
            "it, so it is read as text (line 5); correct the file if that is wrong",
            "ids-sst-train.csv, line 5: a quotation mark opens a field but does not end it; "
            "correct the field, or leave out --strict to read it as text",
        ),
        (
            "-3\tThe",
            "-3\tThe\t",
            "ids-sst-train.csv: dropped 1 of 120 rows (line 5: 5 fields where the header has 4)",
            "ids-sst-train.csv, line 5: 5 fields where the header has 4; fix the row, or leave "
            "out --strict to drop it",
        ),
    ],
)
def test_each_line_is_noted_and_refused_by_strict(
    before: str, after: str, note: str, refusal: str, tmp_path: Path, tiny: Pretrained
) -> None:
    folder = write_course_folder(tmp_path / "data", train=120)
    path = folder / "ids-sst-train.csv"
    path.write_text(path.read_text().replace(before, after))
    # The second time from the cache.
    for _ in range(2):
        notes = load(folder, tiny, tmp_path / "cache").notes
        assert [told for told in notes if "ids-sst-train" in told] == [note]
        with pytest.raises(InputError) as caught:
            load(folder, tiny, tmp_path / "cache", strict=True)
        assert str(caught.value) == refusal


def test_many_lines_with_marks_are_noted_in_one_sentence(tmp_path: Path, tiny: Pretrained) -> None:
    folder = write_course_folder(tmp_path / "data")
    path = folder / "quora-dev.csv"
    path.write_text(path.read_text().replace("\tThe child", '\t"The child'))
    lines = [number for number, line in enumerate(path.open(), start=1) if '"' in line]
    dataset = load(folder, tiny, tmp_path / "cache")
    assert len(dataset.splits["para"]["dev"]) == 24
    assert len(lines) > 5
    first = ", ".join(map(str, lines[:5]))
    (note,) = (note for note in dataset.notes if note.startswith("quora-dev.csv"))
    assert f"in {len(lines)} of 24 rows" in note
    assert f"(lines {first} and {len(lines) - 5} more)" in note


def test_a_column_that_is_there_twice_is_refused() -> None:
    content = b"id\tsentence\tsentiment\tsentiment\na\tone\t1\t3\n"
    with pytest.raises(InputError, match="two columns are called 'sentiment'; rename or remove"):
        read_table(content, "ids-sst-train.csv", "sst", "train")
