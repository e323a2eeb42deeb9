"""Where a study is kept: the text of ``--storage``, read and written in one way.

It is a file of SQLite (``sqlite:///PATH``), an Optuna journal (a path), or a database server.
"""

import re
from pathlib import Path

from minbert.errors import InputError

SQLITE_HEAD = b"SQLite format 3\0"


def sqlite_url(path: Path) -> str:
    """The URL of a file of SQLite; characters with a meaning in a URL are escaped."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(path)).render_as_string()


def is_sqlite(storage: str) -> bool:
    return re.match(r"sqlite(\+\w+)?:", storage) is not None


def is_server(storage: str) -> bool:
    """Whether it is a database server, which several machines reach."""
    return "://" in storage and not is_sqlite(storage)


def file_of(storage: str) -> Path | None:
    """The file of a study in SQLite or in a journal; None for a database server.

    Raises:
        InputError: a URL of SQLite that names no file, or holds what it would not be read as.
    """
    if not is_sqlite(storage):
        return None if "://" in storage else Path(storage)
    # Settings need the rest of this file, and SQLAlchemy takes a while to import.
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
    """The first bytes of a file, as many as tell SQLite's from others; OSError as ``open``."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEAD))


def without_password(url: str) -> str:
    """A database URL that can be shown and stored; any other text as it is."""
    if "://" not in url:
        return url
    # As SQLAlchemy reads it: a password may hold all but @, and someone may not know even that.
    url = re.sub(r"(?s)^([^:]*://[^:/@]*:)[^@]*@(?:[^?]*@)?", r"\1***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", r"\1***", url)
