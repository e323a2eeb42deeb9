"""Paths and names that mean something in a URL: the study lies where the run's folder says."""

import sqlite3
from pathlib import Path

import optuna
import pytest

from minbert.errors import InputError
from search.storage.addresses import file_of, is_sqlite, sqlite_url
from search.storage.directory import join, open_directory
from search.storage.folder import RunFolder
from search.storage.optuna_storage import open_storage
from search.storage.study import Study
from search.storage.study_file import study_file

ODD_NAMES = (
    "lr=1e-5, α β",
    "100%",
    "a%20b",
    "a#b",
    "what?",
    "x?mode=memory&cache=shared",
    "{tag}",
    "a{0}b",
    "}{",
    "a;b",
    "a&b=c",
    "C:\\runs",
    "'quoted' \"twice\"",
    "user@host:1",
    "[1]",
    " ends with a blank ",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_run_of_any_name_is_made_found_and_copied(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path / name)
    folder.create()
    folder.create_study({"recipe": "strong"}).close()
    file = study_file(folder.storage_address())
    assert file is not None
    file.make_copy()
    assert {path.name for path in (tmp_path / name).iterdir()} >= {"study.db", "study.db.copy"}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    study = RunFolder(tmp_path / name).load_study()
    assert study.setup["recipe"] == "strong"
    study.close()
    # As optuna-dashboard opens what it is given, but that Optuna takes braces for its own.
    url = sqlite_url(tmp_path / name / "study.db").replace("{", "{{").replace("}", "}}")
    assert optuna.get_all_study_names(url) == [name]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_url_gives_back_its_path(name: str) -> None:
    path = Path("/runs") / name / "study.db"
    assert is_sqlite(sqlite_url(path))
    assert file_of(sqlite_url(path)) == path


@pytest.mark.parametrize(
    ("storage", "file"),
    [
        ("sqlite:///mine.db", "mine.db"),
        ("sqlite:////a/b%20c.db?timeout=9", "/a/b c.db"),
        ("sqlite+pysqlite:///mine.db", "mine.db"),
        ("study.log", "study.log"),
        ("what?.log", "what?.log"),
    ],
)
def test_the_file_that_a_storage_names(storage: str, file: str) -> None:
    assert file_of(storage) == Path(file)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("sqlite:///what?/x.db", "options begin at '?'; write %3F for one in the path"),
        ("sqlite:///a.db?timeout=9&b", "options begin at '?'"),
        ("sqlite://", "names no file; give sqlite:///PATH"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:/mine.db", "Could not parse SQLAlchemy URL"),
        ("sqlite://mine.db", "names no file"),
        ("sqlite:mine.db", "Could not parse SQLAlchemy URL"),
        ("nowhere/mine.log", "No such file or directory"),
        ("sqlite:///nowhere/mine.db", "unable to open database file"),
        ("sqlite:///file:y.db?uri=true", "give sqlite:///PATH, not a URI of SQLite's own"),
        ("/dev/null", "not a file; name one for the journal"),
        ("oracle+nothing://host/db", "the database cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_is_refused_in_one_line(
    storage: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        open_storage(storage)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_sqlite_without_its_scheme_is_told_how_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = Study.create(open_storage("sqlite:///mine.db"), "a", {})
    study.close()
    with pytest.raises(InputError, match=r"for an SQLite database give sqlite:////.*/mine\.db$"):
        open_storage("mine.db")
    with sqlite3.connect("mine.db") as database:
        assert database.execute("SELECT study_name FROM studies").fetchall() == [("a",)]


def test_a_bare_file_name_is_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Study.create(open_storage("mine.db"), "a", {"recipe": "strong"}).close()
    assert Study.load(open_storage("mine.db"), "a").setup["recipe"] == "strong"


def test_braces_in_a_password_are_no_place_to_fill_in() -> None:
    with pytest.raises(InputError) as refused:
        open_storage("postgresql://me:{secret}@127.0.0.1:1/db")
    assert "KeyError" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["a?b", "a#b"])
def test_a_name_that_an_object_store_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="a name in an object store cannot hold"):
        join("s3://bucket/runs", name)


@pytest.mark.parametrize("address", ["s3://bucket/a#b", "s3://bucket/a?b"])
def test_an_address_that_would_be_cut_is_refused(address: str) -> None:
    with pytest.raises(InputError):
        open_directory(address)
