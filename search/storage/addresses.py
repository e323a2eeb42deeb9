"""Where a study is kept: the only place that parses the text of ``--storage``.

It names an SQLite file (``sqlite:///PATH``), an Optuna journal (a path), or a database server.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from minbert.errors import InputError
from minbert.settings import expand_home

SQLITE_HEAD = b"SQLite format 3\0"

_SQLITE_SCHEME = "sqlite:///"


def expand_storage(storage: str) -> str:
    """Replace ``~`` before a path by the home folder.

    Raises:
        ValueError: there is no such user.
    """
    if storage.startswith(f"{_SQLITE_SCHEME}~"):
        return _SQLITE_SCHEME + expand_home(storage.removeprefix(_SQLITE_SCHEME))
    return expand_home(storage)


def storage_option(text: str) -> str:
    """``--storage`` on the command line, for the ``type`` of an option of argparse."""
    try:
        return expand_storage(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file; characters with a meaning in a URL are escaped."""
    # Settings need the rest of this file, and SQLAlchemy takes a while to import.
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(path)).render_as_string()


def is_sqlite(storage: str) -> bool:
    return re.match(r"sqlite(\+\w+)?:", storage) is not None


def is_url(storage: str) -> bool:
    """Whether it is the URL of a database; otherwise it is the path of a journal file."""
    return "://" in storage


def is_server(storage: str) -> bool:
    """Whether it names a database server, which several machines can reach."""
    return is_url(storage) and not is_sqlite(storage)


def file_of(storage: str) -> Path | None:
    """The SQLite or journal file of a study; None for a database server.

    Raises:
        InputError: an SQLite URL names no file, or SQLAlchemy would read it differently.
    """
    if not is_sqlite(storage):
        return None if is_url(storage) else Path(storage)
    import sqlalchemy.exc
    from sqlalchemy.engine import make_url

    path, question_mark, options = storage.partition("?")
    if question_mark and not all("=" in option for option in options.split("&")):
        raise InputError(
            f"--storage {storage}: options begin at '?'; write %3F for one in the path"
        )
    try:
        name = make_url(path).database
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise InputError(f"--storage {storage}: {error}") from None
    if name and name.startswith("file:"):
        raise InputError(f"--storage {storage}: give sqlite:///PATH, not a URI of SQLite's own")
    if not name or name == ":memory:":
        raise InputError(f"--storage {storage} names no file; give sqlite:///PATH")
    return Path(name)


def head_of(path: Path) -> bytes:
    """The first bytes of a file, enough to recognise SQLite; OSError as ``open``."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEAD))


def lasting(storage: str) -> str:
    """What a run's folder can keep: a URL without its password, a file by its full path."""
    return without_password(storage) if is_url(storage) else str(Path(storage).resolve())


def engine_options(storage: str) -> dict[str, Any]:
    """Options of SQLAlchemy's ``create_engine`` for the database at a URL."""
    if is_sqlite(storage):
        # A reader, such as optuna-dashboard, may hold the file for a moment.
        return {"connect_args": {"timeout": 60}}
    if storage.startswith("postgresql"):
        # The server may have restarted since a connection was last used, or be gone.
        return {
            "pool_pre_ping": True,
            "connect_args": {"connect_timeout": 10, "tcp_user_timeout": 10_000},
        }
    return {}


def without_password(url: str) -> str:
    """A database URL that is safe to show and store; any other text unchanged."""
    if not is_url(url):
        return url
    # As SQLAlchemy reads it: a password may contain any character but @. Users may not know that
    # either, so everything up to the last @ before the options is hidden.
    url = re.sub(r"(?s)^([^:]*://[^:/@]*:)[^@]*@(?:[^?]*@)?", r"\1***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", r"\1***", url)
