"""The study's file: copied while it grows, and put back where it was cut or overwritten."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.synthetic import rising, synthetic_run
from search import run
from search.folder import RunFolder
from search.study import Study
from search.study_file import StudyCopies, copy_of, file_of, last_good, put_back

ROOT = Path(run.__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished run whose study has a copy."""
    made = synthetic_run(tmp_path / "run", rising, space="lr", trials=6, epochs=3)
    (copies,) = made.copies()
    copies.make()
    return made


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
    assert str(folder.problem).startswith(f"{file} is damaged; used is its copy of 20")
    assert file.read_bytes() == damaged
    # Who goes on puts it back.
    told: list[str] = []
    assert reports(folder.open_study({}, told.append)) == whole
    (line,) = told
    assert line.endswith("; what was recorded since then is made again")
    assert reports(folder.load_study()) == whole
    assert folder.problem is None
    assert file.with_name("study.db.damaged").read_bytes() == damaged


def test_reviews_name_the_damage(folder: RunFolder) -> None:
    file = folder.path / "study.db"
    file.write_bytes(cut(file.read_bytes()))
    command = [sys.executable, "-m", "search.review", str(folder.path), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.startswith(f"note: {file} is damaged; used is its copy of 20")
    assert len(json.loads(done.stdout)["trials"]) == 6


def test_without_a_whole_copy_the_study_says_what_is_wrong(folder: RunFolder) -> None:
    file = folder.path / "study.db"
    for path in (file, copy_of(file)):
        path.write_bytes(cut(path.read_bytes()))
    assert last_good(file, is_sqlite=True) == (file, None)
    assert put_back(file, is_sqlite=True) is None
    assert not file.with_name("study.db.damaged").exists()


def test_a_journal_that_was_cut(tmp_path: Path) -> None:
    journal = tmp_path / "s.journal"
    journal.write_bytes(b"one\ntwo\nthree\n")
    StudyCopies(journal, is_sqlite=False).make()
    # A line that a kill tore is cut off, as the next one would be added to it.
    journal.write_bytes(b"one\ntwo\nthree\nfou")
    assert last_good(journal, is_sqlite=False) == (journal, None)
    assert (
        put_back(journal, is_sqlite=False) == f"the last line of {journal} was torn and is cut off"
    )
    assert journal.read_bytes() == b"one\ntwo\nthree\n"
    assert put_back(journal, is_sqlite=False) is None
    # Less than there was before.
    journal.write_bytes(b"one\n")
    assert last_good(journal, is_sqlite=False)[0] == copy_of(journal)
    assert "is damaged; used is its copy" in str(put_back(journal, is_sqlite=False))
    assert journal.read_bytes() == b"one\ntwo\nthree\n"
    assert journal.with_name("s.journal.damaged").read_bytes() == b"one\n"


def test_files_of_storages() -> None:
    assert file_of("sqlite:////a/study.db?timeout=9") == Path("/a/study.db")
    assert file_of("/a/s.journal") == Path("/a/s.journal")
    assert file_of("postgresql://me@host/db") is None
