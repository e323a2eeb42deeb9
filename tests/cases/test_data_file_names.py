"""Data files with other names, without rows, or that are something else."""

from pathlib import Path

import pytest

from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.hub import Pretrained
from minbert.lookalikes import lookalikes_of

from ..conftest import write_course_folder
from .data_folder import notes

# Names of files


@pytest.mark.parametrize(
    ("name", "there", "advice"),
    [
        ("ids-sst-train.csv", "sst-sentiment-train.csv", "rename it"),
        ("ids-sst-train.csv", "IDS-SST-Train.CSV", "rename it"),
        ("ids-sst-train.csv", "ids-sst-tain.csv", "rename it"),
        ("ids-sst-train.csv", "train.tsv", "rename it"),
        ("ids-sst-train.csv", "ids-sst-train", "rename it"),
        ("ids-sst-dev.csv", "sst_validation.txt", "rename it"),
        ("quora-train.csv", "quora-paraphrase-train.csv", "rename it"),
        ("quora-dev.csv", "quora-dev.csv.gz", "unpack or convert it"),
        ("sts-train.csv", "stsb-train.tsv", "rename it"),
        ("sts-dev.csv", "sts-dev.csv.csv", "rename it"),
        ("sts-dev.csv", "course/sts-dev.csv", "move it, or give its folder as --data"),
    ],
)
def test_a_missing_file_is_told_with_what_looks_like_it(
    name: str, there: str, advice: str, folder: Path, tiny: Pretrained
) -> None:
    (folder / there).parent.mkdir(exist_ok=True)
    (folder / name).rename(folder / there)
    (folder / "ids-cfimdb-train.csv").write_text("")
    with pytest.raises(InputError) as caught:
        notes(folder, tiny)
    start = f"data folder '{folder}' has no {name}, which "
    assert str(caught.value).startswith(start)
    assert f"needs, but {there}; {advice}, or leave" in str(caught.value)


@pytest.mark.parametrize(
    "there", ["ids-cfimdb-train.csv", "sst-train.log", "sst-dev-output.csv", "sst-contrain.csv"]
)
def test_other_files_do_not_look_like_it(there: str, folder: Path, tiny: Pretrained) -> None:
    (folder / "ids-sst-train.csv").rename(folder / there)
    with pytest.raises(InputError, match=r"has no ids-sst-train\.csv, which sst needs; add it, or"):
        notes(folder, tiny)


def test_several_files_that_look_like_it_are_all_told_best_first(
    folder: Path, tiny: Pretrained
) -> None:
    (folder / "quora-dev.csv").unlink()
    for name in ("etpc-paraphrase-dev.csv", "quora-paraphrase-dev.csv"):
        (folder / name).write_text("")
    with pytest.raises(InputError, match=r"but quora-para.*-dev\.csv and etpc-para.*-dev\.csv; re"):
        notes(folder, tiny)


def test_a_test_file_under_another_name_is_noted(folder: Path, tiny: Pretrained) -> None:
    student = folder / "sts-test-student.csv"
    student.rename(folder / "sts-test.csv")
    assert notes(folder, tiny) == [
        f"data folder '{folder}' has no sts-test-student.csv, but sts-test.csv, so sts gets no "
        "test predictions; rename it to get them"
    ]
    assert notes(folder, tiny, tasks="sst") == []
    (folder / "sts-test.csv").rename(folder / "sts-test-output.csv")
    assert notes(folder, tiny) == []


# Test files without rows


@pytest.mark.parametrize(
    "content", ["", "\ufeff", "\n\n", "\tid\tsentence1\tsentence2\n", "id\tsentence1\r\n\r\n"]
)
def test_a_test_file_without_rows_is_left_out_with_a_note(
    content: str, folder: Path, tiny: Pretrained
) -> None:
    (folder / "quora-test-student.csv").write_text(content, encoding="utf-8", newline="")
    inputs = InputSettings(data=str(folder))
    for _ in range(2):
        loaded = load_dataset(inputs, tiny.tokenizer(), cache=folder / "../cache")
        assert list(loaded.splits["para"]) == ["train", "dev"]
        assert list(loaded.splits["sts"]) == ["train", "dev", "test"]
    assert notes(folder, tiny) == [
        "quora-test-student.csv has no rows, so para gets no test predictions; fill the file or "
        "remove it"
    ]


def test_a_dev_file_without_rows_is_refused(folder: Path, tiny: Pretrained) -> None:
    (folder / "quora-dev.csv").write_text("\tid\tsentence1\tsentence2\tis_duplicate\n")
    with pytest.raises(InputError, match=r"quora-dev\.csv has a header but no rows"):
        notes(folder, tiny)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>Not found</html>", "a web page, not the file itself"),
        (None, "a link to a file that is not there"),
    ],
)
def test_what_stands_in_place_of_a_file_is_named(
    content: bytes | None, message: str, tmp_path: Path, tiny: Pretrained
) -> None:
    folder = write_course_folder(tmp_path / "data")
    for name in ("quora-train.csv", "quora-test-student.csv"):
        path = folder / name
        before = path.read_bytes()
        path.unlink()
        if content is None:
            path.symlink_to(folder / "gone")
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: {message}"):
            load_dataset(InputSettings(data=str(folder)), tiny.tokenizer(), cache=None)
        path.unlink()
        path.write_bytes(before)


def test_what_macos_puts_beside_a_file_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "._ids-sst-train.csv").write_bytes(b"x")
    assert lookalikes_of(tmp_path / "ids-sst-train.csv") == []
