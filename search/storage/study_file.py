"""The file of a study: copied while the search runs, and replaced by its copy if it is damaged.

The copy of ``study.db`` is ``study.db.copy``; an Optuna journal has one too. A database server
protects its own data.
"""

import contextlib
import datetime
import itertools
import json
import shutil
import sqlite3
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from minbert.errors import InputError, reason_of
from minbert.files import temporary_beside
from minbert.report import Report
from search.record import TrialRecord
from search.watchers import Watcher, guarded

from .addresses import SQLITE_HEAD, file_of, head_of, is_sqlite, sqlite_url

# A damaged file loses what was recorded after the copy. So copies are frequent, but take at most a
# twentieth of the time.
_SECONDS_BETWEEN = 5.0
_SHARE = 20
# The end of an SQLite journal that names another file, which SQLite would then remove. Only
# transactions over several databases need one, and we have none.
_NAMES_A_FILE = bytes.fromhex("d9d505f920a163d7")


class StudyFile(ABC):
    """The file of a study, and its copy."""

    def __init__(self, path: Path):
        self.path = path
        self.copy = path.with_name(f"{path.name}.copy")

    @property
    @abstractmethod
    def storage(self) -> str:
        """The ``--storage`` that names this file."""

    @abstractmethod
    def check(self, *, may_be_link: bool) -> None:
        """Refuse a file if reading it could change other files.

        Args:
            may_be_link: a person named the file, rather than a folder that may be a stranger's.

        Raises:
            InputError: the file or its copy is unsafe, or cannot be read.
        """

    @abstractmethod
    def check_kind(self) -> None:
        """Raise InputError where the file is of another kind."""

    @abstractmethod
    def copy_to(self, target: Path) -> bool:
        """Copy the file; returns whether what was copied is whole.

        Raises:
            InputError: the result cannot be read.
            OSError, sqlite3.Error: the file cannot be copied.
        """

    @abstractmethod
    def _is_whole(self) -> bool:
        """As ``is_whole``; OSError or sqlite3.DatabaseError where the file cannot be read."""

    def is_whole(self) -> bool:
        """Whether the file is neither truncated nor overwritten, as far as can be detected.

        Raises:
            InputError: the file cannot be read now.
        """
        try:
            return self._is_whole()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                return False
            raise InputError(f"{self.path} cannot be read: {error}") from None
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None

    def make_copy(self) -> None:
        """Copy the file as it stands, in place of an earlier copy.

        A damaged file does not replace a good copy.
        """
        with temporary_beside(self.copy) as temporary:
            if self.copy_to(temporary):
                temporary.replace(self.copy)

    def last_good(self) -> tuple[Self, str | None]:
        """The file, or its copy if the file is damaged, with a line that says so.

        If the copy is not whole either, it is the file; reading that gives the error.

        Raises:
            InputError: the file cannot be read now.
        """
        if self.is_whole() or self.copy.is_symlink():
            return self, None
        copy = type(self)(self.copy)
        if not copy.path.is_file() or not copy.is_whole():
            return self, None
        made = datetime.datetime.fromtimestamp(copy.path.stat().st_mtime).astimezone()
        return copy, f"{self.path} is damaged; using its copy of {made:%Y-%m-%d %H:%M:%S}"

    def put_back(self) -> str | None:
        """Replace a damaged file by its copy; the damaged one is kept, and a line says so.

        Raises:
            InputError: the file cannot be replaced; it is unchanged.
        """
        good, said = self.last_good()
        if said is None:
            return None
        file = self.path
        names = (file.with_name(f"{file.name}.damaged{n or ''}") for n in itertools.count())
        damaged = next(path for path in names if not path.exists())
        try:
            with temporary_beside(file) as temporary:
                shutil.copyfile(good.path, temporary)
                file.replace(damaged)
                # SQLite's journal belongs to the damaged file; SQLite would apply it to the copy.
                with contextlib.suppress(FileNotFoundError):
                    file.with_name(f"{file.name}-journal").replace(f"{damaged}-journal")
                temporary.replace(file)
        except OSError as error:
            raise InputError(f"{said}, but the copy cannot replace it: {error.strerror}") from None
        return said


class SqliteFile(StudyFile):
    """An SQLite database."""

    @property
    def storage(self) -> str:
        return sqlite_url(self.path)

    def check(self, *, may_be_link: bool) -> None:
        for path in (self.path, self.copy):
            if path.is_file():
                _check_sqlite(path, may_be_link=may_be_link)

    def check_kind(self) -> None:
        try:
            head = head_of(self.path)
        except OSError as error:
            raise InputError(f"the study cannot be read: {reason_of(error)}") from None
        if head not in (b"", SQLITE_HEAD):
            raise InputError(f"{self.path} is not an SQLite database")

    def copy_to(self, target: Path) -> bool:
        with (
            contextlib.closing(sqlite3.connect(self.path, timeout=60)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        return SqliteFile(target).is_whole()

    def _is_whole(self) -> bool:
        with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            checked = connection.execute("PRAGMA quick_check(1)").fetchone()
        # An emptied file is a good, but new, database.
        return bool(checked == ("ok",) and (tables != (0,) or not self.copy.is_file()))


class JournalFile(StudyFile):
    """An Optuna journal: a line of JSON for each write."""

    @property
    def storage(self) -> str:
        return str(self.path)

    def check(self, *, may_be_link: bool) -> None:
        """Do nothing: reading a journal opens no other file."""

    def check_kind(self) -> None:
        """Do nothing: ``open_storage`` refuses a database that is given as a journal."""

    def copy_to(self, target: Path) -> bool:
        shutil.copyfile(self.path, target)
        # A truncated journal reads as a whole one, but is shorter than the copy made before.
        return JournalFile(target).is_whole() and self.is_whole()

    def _is_whole(self) -> bool:
        content = self.path.read_bytes()
        try:
            # The last line is empty, or was torn by a kill; Optuna skips it.
            for line in content.split(b"\n")[:-1]:
                json.loads(line)
        except (ValueError, RecursionError):
            return False
        return not self.copy.is_file() or len(content) >= self.copy.stat().st_size


def study_file(storage: str) -> StudyFile | None:
    """The file that a ``--storage`` names; None for a database server.

    Raises:
        InputError: as ``file_of``.
    """
    path = file_of(storage)
    if path is None:
        return None
    return SqliteFile(path) if is_sqlite(storage) else JournalFile(path)


def _check_sqlite(path: Path, *, may_be_link: bool) -> None:
    journal = path.with_name(f"{path.name}-journal")
    if path.is_symlink() and not may_be_link:
        raise InputError(f"{path} is a link; name its target with --storage sqlite:///PATH")
    try:
        is_hostile = journal.is_file() and journal.read_bytes().endswith(_NAMES_A_FILE)
    except OSError as error:
        raise InputError(f"the study cannot be read: {reason_of(error)}") from None
    if is_hostile:
        raise InputError(f"{journal} is not ours: it would make SQLite remove another file")


class StudyCopies(Watcher):
    """A watcher that keeps a copy of a study's file."""

    what = "the copy of the study"

    def __init__(self, file: StudyFile):
        self._file = file
        self._next = 0.0

    @guarded
    def reported(self, trial: TrialRecord, report: Report) -> None:  # noqa: ARG002
        begin = time.monotonic()
        if begin < self._next:
            return
        # A full disk may have room again later, so do not give up copying.
        with contextlib.suppress(OSError, sqlite3.OperationalError, InputError):
            self._file.make_copy()
        took = time.monotonic() - begin
        self._next = time.monotonic() + max(_SECONDS_BETWEEN, _SHARE * took)
