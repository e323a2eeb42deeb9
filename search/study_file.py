"""The file of a study: copied while the search runs, and put back where it was damaged.

``study.db`` has its copy in ``study.db.copy``; so has an Optuna journal. A database server looks
after its own.
"""

import contextlib
import datetime
import itertools
import json
import shutil
import sqlite3
import time
from pathlib import Path

from minbert.errors import InputError
from minbert.files import temporary_beside
from minbert.report import Report

from .record import TrialRecord
from .watchers import Watcher, guarded

# What was recorded after the copy is lost with the file, so it is made often, but for at most a
# twentieth of the time.
_SECONDS_BETWEEN = 5.0
_SHARE = 20


def copy_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.copy")


class StudyCopies(Watcher):
    """A watcher that keeps a copy of a study's file.

    Args:
        file: of the study.
        is_sqlite: it is a database; otherwise a journal.
    """

    what = "the copy of the study"

    def __init__(self, file: Path, *, is_sqlite: bool):
        self._file, self._is_sqlite = file, is_sqlite
        self._next = 0.0

    @guarded
    def reported(self, trial: TrialRecord, report: Report) -> None:  # noqa: ARG002
        begin = time.monotonic()
        if begin < self._next:
            return
        # A full disk is no reason to do without copies for good.
        with contextlib.suppress(OSError, sqlite3.OperationalError, InputError):
            self.make()
        took = time.monotonic() - begin
        self._next = time.monotonic() + max(_SECONDS_BETWEEN, _SHARE * took)

    def make(self) -> None:
        """Copy the file as it stands, in place of an earlier copy."""
        copy = copy_of(self._file)
        with temporary_beside(copy) as temporary:
            if self._is_sqlite:
                with (
                    contextlib.closing(sqlite3.connect(self._file, timeout=60)) as source,
                    contextlib.closing(sqlite3.connect(temporary)) as target,
                ):
                    source.backup(target)
            else:
                shutil.copyfile(self._file, temporary)
            # A good copy does not give way to that of a file that was damaged meanwhile.
            if is_whole(temporary, is_sqlite=self._is_sqlite) and (
                self._is_sqlite or is_whole(self._file, is_sqlite=False)
            ):
                temporary.replace(copy)


def is_whole(file: Path, *, is_sqlite: bool) -> bool:
    """Whether a study's file is neither cut nor overwritten, as far as that can be seen.

    Raises:
        InputError: it cannot be read now.
    """
    copy = copy_of(file)
    try:
        if is_sqlite:
            with contextlib.closing(sqlite3.connect(file, timeout=60)) as connection:
                tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                checked = connection.execute("PRAGMA quick_check(1)").fetchone()
            # One that was emptied is a good, but new, database.
            return bool(checked == ("ok",) and (tables != (0,) or not copy.is_file()))
        content = file.read_bytes()
        # The last line is what a kill tore, or empty; Optuna reads over it.
        for line in content.split(b"\n")[:-1]:
            json.loads(line)
        return not copy.is_file() or len(content) >= copy.stat().st_size
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return False
        raise InputError(f"{file} cannot be read: {error}") from None
    except (ValueError, RecursionError):
        return False
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


def last_good(file: Path, *, is_sqlite: bool) -> tuple[Path, str | None]:
    """A study's file, or where that is damaged its copy, with a line that says so.

    Where there is no whole copy either, it is the file, for whoever reads it to say what is wrong.

    Raises:
        InputError: it cannot be read now.
    """
    copy = copy_of(file)
    if is_whole(file, is_sqlite=is_sqlite) or copy.is_symlink():
        return file, None
    if not copy.is_file() or not is_whole(copy, is_sqlite=is_sqlite):
        return file, None
    made = datetime.datetime.fromtimestamp(copy.stat().st_mtime).astimezone()
    return copy, f"{file} is damaged; used is its copy of {made:%Y-%m-%d %H:%M:%S}"


def put_back(file: Path, *, is_sqlite: bool) -> str | None:
    """Put the copy in the place of a damaged file, which is kept; a line says so.

    Raises:
        InputError: that cannot be done; the file is as it was.
    """
    good, said = last_good(file, is_sqlite=is_sqlite)
    if said is None:
        return None
    taken = (file.with_name(f"{file.name}.damaged{n or ''}") for n in itertools.count())
    damaged = next(path for path in taken if not path.exists())
    try:
        with temporary_beside(file) as temporary:
            shutil.copyfile(good, temporary)
            file.replace(damaged)
            # It is of the damaged file, and would be taken for the copy's.
            with contextlib.suppress(FileNotFoundError):
                file.with_name(f"{file.name}-journal").replace(f"{damaged}-journal")
            temporary.replace(file)
    except OSError as error:
        raise InputError(f"{said}, but it cannot be put back: {error.strerror}") from None
    return said
