"""Notes on data that can be used but look wrong: labels, ids, language."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minbert.__main__ import main
from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.evaluate import grade
from minbert.hub import Pretrained

from ..in_process import warnings_are_errors
from .data_folder import notes

SMALL = ["--encoder", "tiny", "--batch-size", "8", "--epochs", "1", "--device", "cpu"]


def edit(path: Path, change: Callable[[int, list[str]], list[str]]) -> None:
    """Change the fields of each row, which are told with the number of the row, from 0."""
    header, *rows = path.read_text().splitlines()
    changed = ["\t".join(change(n, row.split("\t"))) for n, row in enumerate(rows)]
    path.write_text("\n".join([header, *changed]) + "\n")


def label(of: Callable[[int, float], object]) -> Callable[[int, list[str]], list[str]]:
    """An edit of labels, by the number of the row and the label there."""
    return lambda n, row: [*row[:-1], str(of(n, float(row[-1])))]


def test_good_data_give_no_notes(folder: Path, tiny: Pretrained) -> None:
    assert notes(folder, tiny) == []
    assert notes(Path("toy"), tiny) == []


# Classes


def test_classes_that_start_at_1_and_have_a_gap_are_noted(folder: Path, tiny: Pretrained) -> None:
    for split in ("train", "dev"):
        edit(folder / f"ids-sst-{split}.csv", label(lambda _, grade: int(grade) + 1))
    assert notes(folder, tiny) == [
        "sst: class 0 never occurs in ids-sst-train.csv or ids-sst-dev.csv, where labels up to 5 "
        "make 6 classes; number the classes from 0 without a gap if none is meant to be empty"
    ]
    # Dev data alone need not have every class, nor need test data have any.
    assert notes(folder, tiny, ("dev", "test")) == []
    for split in ("train", "dev"):
        edit(folder / f"ids-sst-{split}.csv", label(lambda _, grade: int(grade) * 3))
    (note,) = notes(folder, tiny)
    assert note == (
        "sst: label 6 in 12 rows of ids-sst-train.csv, first on line 3; label 6 in 5 rows of "
        "ids-sst-dev.csv, first on line 3; label 9 in 12 rows of ids-sst-train.csv, first on line "
        "4; label 9 in 5 rows of ids-sst-dev.csv, first on line 4; label 12 in 12 rows of "
        "ids-sst-train.csv, first on line 5, and 3 more: that makes 16 classes, and classes 0, 1, "
        "2, 4, 5 and 6 more never occur; correct the labels, or number the classes without a gap"
    )


def test_labels_beyond_a_gap_are_noted_with_their_lines_and_strict_refuses_them(
    folder: Path, tiny: Pretrained
) -> None:
    slips = label(lambda n, grade: 7 if n in (11, 20, 33) else int(grade))
    edit(folder / "ids-sst-train.csv", slips)
    note = (
        "sst: label 7 in 3 rows of ids-sst-train.csv, first on line 13: that makes 8 classes, "
        "and classes 5, 6 never occur; correct the labels, or number the classes without a gap"
    )
    assert notes(folder, tiny) == [note]
    # From the cache as well.
    inputs = InputSettings(data=str(folder))
    for _ in range(2):
        assert note in load_dataset(inputs, tiny.tokenizer(), cache=folder / "../cache").notes
    strict = inputs.replace(strict=True)
    for cache in (None, folder / "../cache"):
        with pytest.raises(InputError) as refused:
            load_dataset(strict, tiny.tokenizer(), cache=cache)
        assert str(refused.value) == f"{note}, or leave out --strict"
    edit(folder / "ids-sst-dev.csv", label(lambda n, grade: 9 if n == 2 else int(grade)))
    assert "; label 9 in 1 row of ids-sst-dev.csv, first on line 4: that" in notes(folder, tiny)[0]


def test_a_label_far_from_the_only_one_of_train_is_noted_too(
    folder: Path, tiny: Pretrained
) -> None:
    edit(folder / "ids-sst-train.csv", label(lambda *_: 0))
    edit(folder / "ids-sst-dev.csv", label(lambda n, _: 7 * (n % 2)))
    gap = [note for note in notes(folder, tiny) if "that makes 8 classes" in note]
    assert len(gap) == 1
    with pytest.raises(InputError, match="that makes 8 classes"):
        notes(folder, tiny, strict=True)


@pytest.mark.parametrize("shift", [0, 1])
def test_classes_without_a_gap_between_them_are_fine_with_strict(
    shift: int, folder: Path, tiny: Pretrained
) -> None:
    for split in ("train", "dev"):
        # Six classes, and where they start does not matter.
        edit(folder / f"ids-sst-{split}.csv", label(lambda n, _: n % 6 + shift))
    assert len(notes(folder, tiny, strict=True)) == shift


def test_a_class_that_only_dev_has_is_noted(folder: Path, tiny: Pretrained) -> None:
    edit(folder / "ids-sst-train.csv", label(lambda _, grade: min(int(grade), 3)))
    assert notes(folder, tiny) == [
        "sst: class 4 never occurs in ids-sst-train.csv, but in 4 of 24 examples of "
        "ids-sst-dev.csv, which no model can get right; add training examples"
    ]


def test_a_class_that_never_occurs_does_not_lower_f1() -> None:
    predictions, labels = np.array([1, 1, 2, 2.0]), np.array([1, 2, 2, 2.0])
    result = grade("sst", predictions, labels, classes=4)
    assert result.score == 0.75
    assert result.metrics["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)


# Labels that are all the same


@pytest.mark.parametrize(
    ("file", "value", "note"),
    [
        (
            "sts-dev",
            5.0,
            "sts-dev.csv: all 24 labels are 5, so Pearson is undefined and counts as 0; take "
            "examples with other labels too",
        ),
        (
            "quora-dev",
            1,
            "quora-dev.csv: all 24 labels are 1, so accuracy says nothing about a model; take "
            "examples with other labels too",
        ),
        (
            "ids-sst-dev",
            2,
            "ids-sst-dev.csv: all 24 labels are 2, so accuracy says nothing about a model; take "
            "examples with other labels too",
        ),
        (
            "sts-train",
            0,
            "sts-train.csv: all 60 labels are 0, so a model can learn nothing else from them; "
            "take examples with other labels too",
        ),
        (
            "ids-sst-train",
            3,
            "ids-sst-train.csv: all 60 labels are 3, so a model can learn nothing else from "
            "them; take examples with other labels too",
        ),
    ],
)
def test_labels_that_are_all_the_same_are_noted(
    file: str, value: float, note: str, folder: Path, tiny: Pretrained
) -> None:
    edit(folder / f"{file}.csv", label(lambda *_: value))
    assert notes(folder, tiny) == [note]


def test_the_labels_are_those_that_are_scored(folder: Path, tiny: Pretrained) -> None:
    found = notes(folder, tiny, tasks="sts", dev_limit=1)
    assert len(found) == 1
    assert re.fullmatch(
        r"sts-dev\.csv: the only label is [\d.]+ of the sample, so .*; raise --dev-limit", found[0]
    )


@warnings_are_errors()
def test_constant_dev_labels_are_told_first_and_score_0(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "sts-dev.csv", label(lambda *_: 5.0))
    out = str(tmp_path / "model")
    assert main(["train", "--data", str(folder), *SMALL, "--out", out]) == 0
    printed = capsys.readouterr().out
    assert printed.index("note: sts-dev.csv: all 24 labels are 5") < printed.index("epoch 1")
    assert "nan" not in printed
    assert main(["evaluate", "--model", out, "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["sts"] == 0.0
    assert "NaN" not in found.out
    assert "note: sts-dev.csv: all 24 labels are 5" in found.err


# The scale of similarity


def test_similarity_from_0_to_1_is_noted(folder: Path, tiny: Pretrained) -> None:
    edit(folder / "sts-dev.csv", label(lambda _, grade: grade / 5))
    assert notes(folder, tiny) == [
        "sts: the highest similarity is 1 in sts-dev.csv, where 5 means the same; multiply a "
        "scale of 0 to 1 by 5"
    ]
    edit(folder / "sts-train.csv", label(lambda _, grade: grade * 0.18))
    assert notes(folder, tiny) == [
        "sts: the highest similarity is 0.9 in sts-train.csv and 1 in sts-dev.csv, where 5 means "
        "the same; multiply a scale of 0 to 1 by 5"
    ]
    edit(folder / "sts-train.csv", label(lambda n, grade: 1.01 if n == 7 else grade))
    assert "0.9" not in notes(folder, tiny)[0]


# Ids


def test_ids_that_repeat_or_are_missing_are_noted(folder: Path, tiny: Pretrained) -> None:
    def with_ids(*ids: str) -> Callable[[int, list[str]], list[str]]:
        return lambda n, row: [row[0], ids[n] if n < len(ids) else row[1], *row[2:]]

    edit(folder / "sts-test-student.csv", with_ids("a", "a", " a ", "", "b", "b"))
    edit(folder / "quora-dev.csv", with_ids("", " ", "\u00a0"))
    edit(folder / "ids-sst-dev.csv", with_ids("x" * 60, "x" * 60))
    # Nobody asks for a training example by its id.
    edit(folder / "sts-train.csv", with_ids("", "", "a", "a"))
    own = "predictions are identified by id, so give each row its own"
    assert notes(folder, tiny) == [
        f"ids-sst-dev.csv: 1 id occurs more than once (in 2 rows, such as '{'x' * 27}...'); {own}",
        f"quora-dev.csv: 3 rows have no id; {own}",
        "sts-test-student.csv: 2 ids occur more than once (in 5 rows, such as 'a') and 1 row has "
        f"no id; {own}",
    ]


def test_predictions_come_with_the_note(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "sts-test-student.csv", lambda _, row: [row[0], "same", *row[2:]])
    (folder / "quora-test-student.csv").write_text("")
    model, out = str(tmp_path / "model"), tmp_path / "predictions"
    assert main(["train", "--data", str(folder), *SMALL, "--out", model]) == 0
    capsys.readouterr()
    assert main(["predict", "--model", model, "--split", "test", "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert "note: quora-test-student.csv has no rows" in told
    assert "note: sts-test-student.csv: 1 id occurs more than once (in 8 rows" in told
    assert {path.name for path in out.iterdir()} == {"sst-test-output.csv", "sts-test-output.csv"}


def test_ids_and_names_of_files_are_shown_as_they_are(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "sts-test-student.csv", lambda _, row: [row[0], "[/b]", *row[2:]])
    (folder / "quora-test-student.csv").rename(folder / "quora-test\n[b]\x1b[2J.csv")
    words = ["--data", str(folder), *SMALL, "--out", str(tmp_path / "model")]
    assert main(["train", *words]) == 0
    printed = capsys.readouterr().out
    assert "(in 8 rows, such as '[/b]')" in printed
    assert "quora-test-student.csv, but quora-test [b] [2J.csv, so para gets" in printed
    assert "\x1b" not in printed


# Another language


def written_in(first: int, last: int, seed: str, length: int) -> str:
    draw = random.Random(seed)
    return "".join(chr(draw.randrange(first, last)) for _ in range(length))


def test_a_language_that_the_encoder_does_not_know_is_noted_and_is_no_overlap(
    folder: Path, tiny: Pretrained
) -> None:
    for file in ("ids-sst-train", "ids-sst-dev", "sts-train", "sts-dev"):
        pair = file.startswith("sts")

        def translate(n: int, row: list[str], file: str = file, pair: bool = pair) -> list[str]:
            # Words of one length, so that all sentences are the same word pieces.
            words = [written_in(0x4E00, 0x9000, f"{file} {n} {k}", 8) for k in range(1 + pair)]
            return [*row[:2], *words, row[-1]]

        edit(folder / f"{file}.csv", translate)
    inputs = InputSettings(data=str(folder), tasks=("sst", "sts"))
    for _ in range(2):
        found = load_dataset(inputs, tiny.tokenizer(), cache=folder / "../cache").notes
        assert found == (
            "sst: the encoder does not know many of the word pieces, which it reads as [UNK] "
            "(100 % in ids-sst-train.csv, 100 % in ids-sst-dev.csv); take an encoder whose "
            "vocabulary has the language of the data",
            "sts: the encoder does not know many of the word pieces, which it reads as [UNK] "
            "(100 % in sts-train.csv, 100 % in sts-dev.csv); take an encoder whose vocabulary "
            "has the language of the data",
        )


def test_the_share_is_of_word_pieces_and_few_are_not_noted(folder: Path, tiny: Pretrained) -> None:
    path = folder / "quora-test-student.csv"
    text = path.read_text()
    path.write_text(text.replace("The dog", "\u4e2d dog", 1))
    assert notes(folder, tiny) == []
    path.write_text(re.sub(r"(?<=\t)The (?=\w+ \w+ )", "\u4e2d \u6587 ", text))
    tokens = load_dataset(
        InputSettings(data=str(folder), tasks=("para",)), tiny.tokenizer(), cache=None
    )
    split = tokens.splits["para"]["test"]
    share = np.mean(split.tokens == tiny.tokenizer().token_to_id("[UNK]"))
    assert share > 0.05
    (note,) = notes(folder, tiny)
    assert f"({100 * share:.0f} % in quora-test-student.csv)" in note


def test_overlap_is_that_of_texts_as_the_tokenizer_reads_them(
    tmp_path: Path, tiny: Pretrained
) -> None:
    head = "id\tsentence\tsentiment\n"
    (tmp_path / "ids-sst-train.csv").write_text(
        head + "a\tThe  dog\u4e2d sees\t0\nb\t\u4e2d\u6587\t1\n"
    )
    # The first is the same but for case and blanks; the second only looks so in word pieces.
    (tmp_path / "ids-sst-dev.csv").write_text(
        head + "a\tthe dog\u4e2d SEES\t0\nb\t\u6587\u4e2d\t1\n"
    )
    inputs = InputSettings(data=str(tmp_path), tasks=("sst",))
    found = load_dataset(inputs, tiny.tokenizer(), cache=None).notes
    assert "sst: 1 of 2 dev sentences also occur in train" in found
