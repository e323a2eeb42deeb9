"""Reading, checking, tokenising and sampling the tasks' files."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from minbert.config import InputSettings
from minbert.data import load_dataset, tokenize_texts
from minbert.errors import InputError
from minbert.examples import Dataset, Split
from minbert.reading import prepare_text, read_table

from .data_files import PARA, WORDS, write

SST = "\tid\tsentence\tsentiment\n"
STS = "\tid\tsentence1\tsentence2\tsimilarity\n"
DEV = SST + "0\td1\twho ?\t0\n1\td2\tit sees\t1.0\n"


def sst_rows(count: int, label: str | None = None) -> str:
    """Rows of one label, or of 0 and 1 in turns."""
    return SST + "".join(f"{i}\tid{i}\ta dog sees\t{label or i % 2}\n" for i in range(count))


def read_sst(folder: Path, tokenizer: Tokenizer, **options: object) -> Dataset:
    inputs = InputSettings.check({"data": str(folder), "tasks": "sst", **options})
    return load_dataset(inputs, tokenizer, cache=None)


def sentences(split: Split) -> list[list[str]]:
    bounds = zip(split.offsets[:-1], split.offsets[1:], strict=True)
    return [[WORDS[token] for token in split.tokens[start:end]] for start, end in bounds]


# Text


def test_pairs_get_blanks_around_punctuation_and_single_sentences_are_stripped() -> None:
    assert prepare_text("para", "  Who's it,\tthe   dog?No. ") == "Who ' s it , the dog ? No ."
    assert prepare_text("sts", "It's!") == "It ' s!"
    assert prepare_text("sst", "  It's  a dog.  ") == "It's  a dog."


@settings(max_examples=50)
@given(st.text())
def test_preparing_a_text_twice_changes_nothing_more(text: str) -> None:
    for task in ("sst", "para", "sts"):
        once = prepare_text(task, text)
        assert prepare_text(task, once) == once


def test_tokenize_texts_stores_distinct_sentences_once(tokenizer: Tokenizer) -> None:
    rows = [("It's a dog.", "the cat"), ("the cat", "the  cat"), ("who?", "It ' s a dog .")]
    split = tokenize_texts("sts", rows, tokenizer, max_length=128)

    assert sentences(split) == [["it", "'", "s", "a", "dog", "."], ["the", "cat"], ["who", "?"]]
    assert split.second is not None
    assert split.first.tolist() == [0, 1, 2]
    assert split.second.tolist() == [1, 1, 0]
    assert split.ids.tolist() == ["0", "1", "2"]
    assert split.labels is None
    assert len(split) == 3
    kinds = [part.dtype.name for part in (split.tokens, split.offsets, split.first, split.second)]
    assert kinds == ["int32", "int64", "int32", "int32"]


def test_no_texts_are_no_examples(tokenizer: Tokenizer) -> None:
    split = tokenize_texts("para", [], tokenizer, max_length=128)
    assert (len(split), len(split.tokens), split.offsets.tolist()) == (0, 0, [0])


def test_the_tokenizers_own_truncation_and_padding_are_neither_used_nor_changed(
    tokenizer: Tokenizer,
) -> None:
    before = tokenizer.to_str()
    split = tokenize_texts("sst", [("a dog sees the cat",), ("a",)], tokenizer, max_length=4)
    assert sentences(split) == [["a", "dog", "sees", "the"], ["a"]]
    assert tokenizer.to_str() == before


@pytest.mark.parametrize("rows", [[("a",)], [("a", " ")], [("a", "b", "c")]])
def test_texts_at_hand_are_checked(rows: list[tuple[str, ...]], tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="text 1: para needs 2 texts"):
        tokenize_texts("para", rows, tokenizer, max_length=128)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from(WORDS[4:]), min_size=1, max_size=9).map(" ".join), min_size=1)
)
def test_every_example_gives_back_its_own_words(texts: list[str]) -> None:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    split = tokenize_texts("sst", [(text,) for text in texts], made, max_length=128)
    words = sentences(split)
    assert [words[number] for number in split.first] == [text.split() for text in texts]
    assert len(words) == len(set(texts))


# Files


def test_columns_are_found_by_name_and_quoting_is_read(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write(
        tmp_path / "mine",
        sst_train='sentiment\tsentence\tid\n3\t"a ""dog""\tsees "\tx1\n0\t the cat \tx2\n'
        "1\twho\tx3\n2\tit\tx4\n",
        sst_dev=DEV,
        sst_test="0\t\tid\tsentence\n1\t0.0\tt1\twho sees\n",
    )
    loaded = read_sst(folder, tokenizer)
    train, dev, test = (loaded.splits["sst"][name] for name in ("train", "dev", "test"))

    assert train.ids.tolist() == ["x1", "x2", "x3", "x4"]
    assert train.labels is not None
    assert train.labels.tolist() == [3, 0, 1, 2]
    assert train.labels.dtype == np.float32
    assert sentences(train) == [["a", '"', "dog", '"', "sees"], ["the", "cat"], ["who"], ["it"]]
    assert dev.second is None
    assert test.ids.tolist() == ["t1"]
    assert test.labels is None
    assert (loaded.name, loaded.tasks, loaded.classes) == ("mine", ("sst",), 4)
    assert (loaded.cls_id, loaded.sep_id) == (2, 3)
    assert loaded.notes == ()
    assert list(loaded.files) == [
        "ids-sst-train.csv",
        "ids-sst-dev.csv",
        "ids-sst-test-student.csv",
    ]
    assert loaded.files["ids-sst-dev.csv"] == hashlib.sha256(DEV.encode()).hexdigest()


def test_a_test_file_is_optional_and_splits_can_be_chosen(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write(tmp_path, sst_dev=sst_rows(3))
    inputs = InputSettings(data=str(folder), tasks=("sst",))
    only_dev = load_dataset(inputs, tokenizer, splits=("dev", "test"), cache=None)
    assert list(only_dev.splits["sst"]) == ["dev"]


def test_lines_are_those_of_the_file_even_after_a_field_with_line_breaks() -> None:
    content = SST + '0\ta\t"one\ntwo\nthree"\t1\n1\tb\t\t1\n\n2\tc\tfine\tnan\n3\td\tx\t0'
    table = read_table(content.encode(), "f.csv", "sst", "train")
    assert table.ids == ["d"]
    assert table.bad == [
        (2, "a field spans lines 2 to 4"),
        (5, "no sentence"),
        (7, "sentiment 'nan' is not a number"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0\tx\ta\tb\t", "no is_duplicate"),
        ("0\tx\ta", "3 fields where the header has 5"),
        ("0\tx\t\t\t", "no sentence1, no sentence2, no is_duplicate"),
        ("0\tx\t \tb\t1.0", "no sentence1"),
        ("0\tx\ta\tb\tinf", "is_duplicate 'inf' is not within 0 to 1"),
        ("0\tx\ta\tb\t2", "is_duplicate '2' is not within 0 to 1"),
        ("0\tx\ta\tb\t-1", "is_duplicate '-1' is not within 0 to 1"),
        ("0\tx\ta\tb\t0.5", "is_duplicate '0.5' is not a whole number"),
        ("0\tx\ta\tb\tmaybe", "is_duplicate 'maybe' is not a number"),
    ],
)
def test_bad_rows_are_told_apart(row: str, reason: str) -> None:
    good = "0\tx\ta\tb\t1.0\n"
    table = read_table((PARA + good + row + "\n").encode(), "f.csv", "para", "train")
    assert table.bad == [(3, reason)]
    assert table.labels == [1.0]


def test_similarity_may_be_a_fraction_up_to_five() -> None:
    rows = "0\tx\ta\tb\t4.6\n1\ty\ta\tb\t5\n2\tz\ta\tb\t5.1\n"
    table = read_table((STS + rows).encode(), "f.csv", "sts", "dev")
    assert table.labels == [4.6, 5.0]
    assert table.bad == [(4, "similarity '5.1' is not within 0 to 5")]


def test_few_bad_rows_are_dropped_with_one_note(tmp_path: Path, tokenizer: Tokenizer) -> None:
    bad = "9\tx\t\t1\n9\ty\tdog\t\n"
    folder = write(tmp_path, sst_train=sst_rows(198) + bad, sst_dev=DEV)
    loaded = read_sst(folder, tokenizer)
    assert len(loaded.splits["sst"]["train"]) == 198
    assert loaded.notes == (
        "ids-sst-train.csv: dropped 2 of 200 rows (line 200: no sentence; line 201: no sentiment)",
    )
    with pytest.raises(InputError, match=r"^ids-sst-train\.csv, line 200: no sentence; .*strict"):
        read_sst(folder, tokenizer, strict=True)


def test_more_than_one_bad_row_in_a_hundred_is_an_error(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write(tmp_path, sst_train=sst_rows(197) + "9\tx\t\t1\n" * 2, sst_dev=sst_rows(1))
    with pytest.raises(InputError, match=r"train\.csv: 2 of 199 rows are bad.*line 199: no sent"):
        read_sst(folder, tokenizer)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (sst_rows(3, "good"), r"the label column 'sentiment' is text, such as 'good'"),
        ("id,sentence,sentiment\n1,a,1\n", r"no column 'id' .*tab-separated"),
        ("id\tsentence\n1\ta\n", r"no column 'sentiment' \(found: id, sentence\)"),
        (SST, r"has a header but no rows"),
        ("", r"the file is empty; download it again"),
    ],
)
def test_unusable_files_are_named(
    content: str, message: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write(tmp_path, sst_train=content, sst_dev=sst_rows(1))
    with pytest.raises(InputError, match=message) as caught:
        read_sst(folder, tokenizer)
    assert "ids-sst-train.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_is_named_by_line() -> None:
    content = SST.encode() + b"0\tx\tcaf\xe9\t1\n"
    with pytest.raises(InputError, match=r"f\.csv, line 2: not UTF-8"):
        read_table(content, "f.csv", "sst", "train")


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    content = b"\xef\xbb\xbfid\tsentence\tsentiment\r\nx\ta dog\t1\r\ny\t\t1\r\n"
    table = read_table(content, "f.csv", "sst", "train")
    assert (table.ids, table.texts, table.bad) == (["x"], [("a dog",)], [(3, "no sentence")])


def test_missing_folders_and_files_say_what_to_do(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"'nowhere' does not exist; give toy, glue or"):
        read_sst(Path("nowhere"), tokenizer)
    with pytest.raises(InputError, match="is empty"):
        read_sst(tmp_path, tokenizer)
    folder = write(tmp_path, sst_train=sst_rows(1), sst_dev=sst_rows(1))
    with pytest.raises(InputError, match=r"has no quora-train\.csv, which para needs.*sst,sts"):
        load_dataset(InputSettings(data=str(folder)), tokenizer, cache=None)


def test_what_train_and_dev_share_is_counted_as_the_model_reads_it(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write(
        tmp_path,
        sst_train=SST + "0\tx\tThe dog\t1\n1\ty\twho\t0\n",
        sst_dev=SST + "0\td\tthe dog\t1\n1\te\tthe cat\t0\n",
        sts_train=STS + "0\tx\ta dog\tthe cat\t4\n1\ty\twho\ta\t0\n",
        sts_dev=STS + "0\td\tthe cat\ta dog\t4\n1\te\twho\tthe cat\t1\n",
    )
    inputs = InputSettings(data=str(folder), tasks=("sst", "sts"))
    assert load_dataset(inputs, tokenizer, cache=None).notes == (
        "sst: 1 of 2 dev sentences also occur in train",
        "sts: 1 of 2 dev pairs also occur in train",
    )


def test_the_share_of_cut_sentences_is_said(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = "0\tx\ta dog sees the cat\t1\n1\ty\ta\t0\n2\tz\ta dog\t0\n3\tw\twho sees\t0\n"
    folder = write(tmp_path, sst_train=SST + rows, sst_dev=DEV)
    assert read_sst(folder, tokenizer, max_length=4).notes == (
        "sentences longer than 4 word pieces are cut: sst 1 of 6 (16.7 %); see --max-length",
    )
    # The sentences that a sample leaves out do not count, nor does the cache change anything.
    inputs = InputSettings(data=str(folder), tasks=("sst",), max_length=4, train_limit=1)
    samples = [
        load_dataset(inputs, tokenizer, seed=seed, cache=tmp_path / "cache") for seed in range(20)
    ]
    is_cut = [sample.splits["sst"]["train"].first[0] == 0 for sample in samples]
    assert set(is_cut) == {False, True}
    assert [any("sst 1 of 3 (33.3 %)" in n for n in sample.notes) for sample in samples] == is_cut
    assert [any("cut" in note for note in sample.notes) for sample in samples] == is_cut


def test_cut_sentences_of_all_tasks_are_one_note(tokenizer: Tokenizer, course_folder: Path) -> None:
    inputs = InputSettings(data=str(course_folder), max_length=4, train_limit=20, dev_limit=10)
    notes = load_dataset(inputs, tokenizer, cache=None).notes
    (note,) = [note for note in notes if "cut" in note]
    assert re.fullmatch(
        r"sentences longer than 4 word pieces are cut: sst \d+ of \d+ \([\d.]+ %\), para .*, "
        r"sts .*; see --max-length",
        note,
    )


# Samples


def test_samples_are_random_seeded_and_leave_the_rest_alone(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    test_rows = "\tid\tsentence\n" + "".join(f"{i}\tt{i}\ta\n" for i in range(50))
    rows = sst_rows(200) + "9\tlast\tthe cat\t7\n"
    folder = write(tmp_path, sst_train=rows, sst_dev=sst_rows(90), sst_test=test_rows)
    inputs = InputSettings(data=str(folder), tasks=("sst",), train_limit=20, dev_limit=100)

    def sample(seed: int) -> list[str]:
        splits = load_dataset(inputs, tokenizer, seed=seed, cache=None).splits["sst"]
        assert (len(splits["dev"]), len(splits["test"])) == (90, 50)
        return list(splits["train"].ids)

    first = sample(0)
    assert len(set(first)) == 20
    assert first == sample(0) != sample(1)
    head = {f"id{i}" for i in range(20)}
    assert set(first) != head
    # The classes are those of the data, not of the sample.
    assert load_dataset(inputs, tokenizer, cache=None).classes == 8


def test_select_keeps_sentences_and_takes_rows_in_order(tokenizer: Tokenizer) -> None:
    rows = [("a dog", "who"), ("the cat", "a"), ("who", "it")]
    split = tokenize_texts("para", rows, tokenizer, max_length=128, ids=["x", "y", "z"])
    chosen = split.select(np.array([2, 0]))
    assert chosen.ids.tolist() == ["z", "x"]
    assert chosen.second is not None
    assert split.second is not None
    assert chosen.first.tolist() == [split.first[2], split.first[0]]
    assert chosen.second.tolist() == [split.second[2], split.second[0]]
    assert chosen.tokens is split.tokens
