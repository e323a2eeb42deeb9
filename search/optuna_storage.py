"""Optuna's storages as a study uses them: opened, closed, and several writes made as one."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.orm
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file

from minbert.errors import InputError, reason_of

from .addresses import SQLITE_HEAD, engine_options, file_of, head_of, is_sqlite, sqlite_url


def open_storage(where: str) -> BaseStorage:
    """The storage at a URL of a database, or in an Optuna journal file.

    Raises:
        InputError: there is no such database, or it cannot be reached.
    """
    file = file_of(where)
    if file is not None and not is_sqlite(where):
        try:
            if file.exists() and not file.is_file():
                raise InputError(f"--storage {where}: not a file; name one for the journal")
            if file.is_file() and head_of(file) == SQLITE_HEAD:
                url = sqlite_url(file.resolve())
                raise InputError(f"--storage {where}: for an SQLite database give {url}")
            return JournalStorage(_Journal(where))
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"--storage {where}: {error.strerror}") from None
        # Of a file that is no journal, or a damaged one; there are many kinds.
        except Exception as error:
            raise InputError(f"--storage {where}: not a journal ({reason_of(error)})") from None
    try:
        # Optuna fills in {SCHEMA_VERSION}, so that braces of a path or a password are doubled.
        url = where.replace("{", "{{").replace("}", "}}")
        return _Database(url, engine_kwargs=engine_options(where))
    except ImportError as error:
        raise InputError(f"--storage: {error}; install the driver of that database") from None
    # Of a wrong URL, of an unreachable or a damaged database; the drivers have many kinds.
    except Exception as error:
        raise InputError(f"--storage: the database cannot be opened ({reason_of(error)})") from None


def close_storage(storage: BaseStorage) -> None:
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


def together(storage: BaseStorage) -> AbstractContextManager[None]:
    """Writes of this thread that a database makes whole or not at all, by one commit.

    Raises:
        StorageInternalError: on leaving the context; nothing is written then.
    """
    return storage.together() if isinstance(storage, _Database) else contextlib.nullcontext()


class _Session(sqlalchemy.orm.Session):
    """A session whose commits can be put off.

    Attributes:
        holds: commits are put off.
        undone: what was held is rolled back.
    """

    holds = False
    undone = False

    def commit(self) -> None:
        if self.holds:
            self.flush()
        else:
            super().commit()

    def rollback(self) -> None:
        self.undone = True
        super().rollback()

    def close(self) -> None:
        if not self.holds:
            super().close()


class _Database(RDBStorage):
    """Optuna's storage in a database, which commits after each write unless told otherwise."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any]):
        try:
            super().__init__(url, engine_kwargs=engine_kwargs)
        except sqlalchemy.exc.DatabaseError as error:
            # Whoever opened it at the same time, to look whether there is a study, was first.
            if "already exists" not in str(error):
                raise
            super().__init__(url, engine_kwargs=engine_kwargs)
        # Each thread has its own session.
        self.scoped_session = sqlalchemy.orm.scoped_session(
            sqlalchemy.orm.sessionmaker(bind=self.engine, class_=_Session)
        )

    @contextmanager
    def together(self) -> Iterator[None]:
        session = self.scoped_session()
        assert isinstance(session, _Session)
        session.holds, session.undone = True, False
        try:
            yield
            session.holds = False
            # Optuna lets some errors pass, after which the writes before them are gone.
            if session.undone:
                raise optuna.exceptions.StorageInternalError("a write met another one")
            try:
                session.commit()
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise optuna.exceptions.StorageInternalError(str(error)) from error
        finally:
            session.holds = False
            session.rollback()
            session.close()


class _Journal(JournalFileBackend):
    """Optuna's journal file, but that a line torn by a kill or a full disk is cut off first.

    The next line would be added to it otherwise, and neither could be read.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with get_lock_file(self._lock), Path(self._file_path).open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            torn = 0
            while torn < end:
                file.seek(end - torn - 1)
                if file.read(1) == b"\n":
                    break
                torn += 1
            if torn:
                file.truncate(end - torn)
        super().append_logs(logs)
