"""The study's file: copied while it grows, and put back where it was cut or overwritten."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from minbert.errors import InputError
from search.review import __main__ as review
from search.storage.folder import RunFolder
from search.storage.optuna_storage import open_storage
from search.storage.study import Study
from search.storage.study_file import JournalFile, SqliteFile, study_file
from testkit.synthetic import rising, synthetic_run
from tests.in_process import run_in_process


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "run"
    synthetic_run(path, rising, space="lr", trials=6, epochs=3)
    SqliteFile(path / "study.db").make_copy()
    return path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> RunFolder:
    """A finished run whose study has a copy."""
    shutil.copytree(made, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def reports(study: Study) -> int:
    return sum(len(trial.reports) for trial in study.trials)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def overwrite_the_middle(content: bytes) -> bytes:
    third = len(content) // 3
    return content[:third] + b"\0" * third + content[2 * third :]


@pytest.mark.parametrize(
    "damage", [cut, overwrite_the_middle, lambda _: b"", lambda content: b"x" * len(content)]
)
def test_a_damaged_study_gives_way_to_its_copy(
    damage: Callable[[bytes], bytes], folder: RunFolder
) -> None:
    whole = reports(folder.load_study())
    assert folder.problem is None
    file = folder.path / "study.db"
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    # Who only looks reads the copy, and changes nothing.
    assert reports(folder.load_study()) == whole
    assert str(folder.problem).startswith(f"{file} is damaged; using its copy of 20")
    assert file.read_bytes() == damaged
    # The driver that resumes puts it back.
    told: list[str] = []
    assert reports(folder.open_study({}, told.append)) == whole
    (line,) = told
    assert line.endswith("; the search repeats what was recorded after that")
    assert reports(folder.load_study()) == whole
    assert folder.problem is None
    assert file.with_name("study.db.damaged").read_bytes() == damaged


def test_reviews_name_the_damage(folder: RunFolder) -> None:
    file = folder.path / "study.db"
    file.write_bytes(cut(file.read_bytes()))
    code, out, err = run_in_process(review.main, folder.path, "--json")
    assert code == 0
    assert err.startswith(f"note: {file} is damaged; using its copy of 20")
    assert len(json.loads(out)["trials"]) == 6


def test_without_a_whole_copy_the_study_says_what_is_wrong(folder: RunFolder) -> None:
    file = SqliteFile(folder.path / "study.db")
    for path in (file.path, file.copy):
        path.write_bytes(cut(path.read_bytes()))
    assert file.last_good() == (file, None)
    assert file.put_back() is None
    assert not (folder.path / "study.db.damaged").exists()


def test_a_journal_that_was_cut(tmp_path: Path) -> None:
    journal = tmp_path / "s.journal"
    file = JournalFile(journal)
    journal.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": 3}\n')
    file.make_copy()
    # A last line that a kill tore is none that was recorded.
    journal.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": 3}\n{"a')
    assert file.last_good() == (file, None)
    for damaged in (b'{"a": 1}\n', b'{"a": 1}\n{"a": 2}\n{"a": {"a": 3}\n{"a": 4}\n'):
        journal.write_bytes(damaged)
        # Nor does the good copy give way to it.
        file.make_copy()
        assert file.last_good()[0].path == file.copy
        assert "is damaged; using its copy" in str(file.put_back())
        assert journal.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    assert len(list(tmp_path.glob("s.journal.damaged*"))) == 2


def test_a_line_torn_by_a_full_disk_is_cut_off_before_the_next(tmp_path: Path) -> None:
    where = str(tmp_path / "s.journal")
    study = Study.create(open_storage(where), "s", {})
    with open(where, "ab") as file:  # noqa: PTH123
        file.write(b'{"op_code": 2, "worker')
    study.note("planned", 7)
    assert Study.load(open_storage(where), "s").noted("planned") == 7


def test_what_is_locked_or_cannot_be_read_is_not_damaged(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder.path / "study.db"
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **_: connect(path, timeout=0.1))
    with contextlib.closing(connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="database is locked"):
            SqliteFile(file).put_back()
    assert not list(folder.path.glob("*.damaged"))


def test_a_full_disk_leaves_the_damaged_file(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder.path / "study.db"
    damaged = cut(file.read_bytes())
    file.write_bytes(damaged)

    def copyfile(source: Path, target: Path) -> None:  # noqa: ARG001
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(InputError, match="the copy cannot replace it: No space left"):
        SqliteFile(file).put_back()
    assert file.read_bytes() == damaged
    assert {path.name for path in folder.path.glob("*study.db*")} == {"study.db", "study.db.copy"}


def test_a_database_is_not_taken_for_a_journal(folder: RunFolder) -> None:
    file = folder.path / "study.db"
    content = file.read_bytes()
    with pytest.raises(InputError, match=f"for an SQLite database give sqlite:///{file}"):
        RunFolder(folder.path, str(file)).open_study({}, print)
    assert file.read_bytes() == content


def test_files_of_storages() -> None:
    sqlite = study_file("sqlite:////a/study.db?timeout=9")
    assert isinstance(sqlite, SqliteFile)
    assert (sqlite.path, sqlite.storage) == (Path("/a/study.db"), "sqlite:////a/study.db")
    journal = study_file("/a/s.journal")
    assert isinstance(journal, JournalFile)
    assert (journal.path, journal.storage) == (Path("/a/s.journal"), "/a/s.journal")
    assert study_file("postgresql://me@host/db") is None
