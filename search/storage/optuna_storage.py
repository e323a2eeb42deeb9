"""Optuna's storages as a study uses them: open, close, and make several writes as one."""

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
    """Open the storage at a database URL or in an Optuna journal file.

    Raises:
        InputError: the storage does not exist, cannot be reached, or is of another kind.
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
        # Optuna raises many kinds of errors for a file that is not a journal, or is damaged.
        except Exception as error:
            raise InputError(f"--storage {where}: not a journal ({reason_of(error)})") from None
    try:
        # Optuna substitutes {SCHEMA_VERSION}, so braces in a path or a password must be doubled.
        url = where.replace("{", "{{").replace("}", "}}")
        return _Database(url, engine_kwargs=engine_options(where))
    except ImportError as error:
        raise InputError(f"--storage: {error}; install the driver of that database") from None
    # Drivers raise many kinds of errors for a wrong URL or an unreachable or damaged database.
    except Exception as error:
        raise InputError(f"--storage: the database cannot be opened ({reason_of(error)})") from None


def close_storage(storage: BaseStorage) -> None:
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


def together(storage: BaseStorage) -> AbstractContextManager[None]:
    """Make the writes of this thread one transaction, if the storage is a database.

    Raises:
        StorageInternalError: when the context ends; nothing was written.
    """
    return storage.together() if isinstance(storage, _Database) else contextlib.nullcontext()


class _Session(sqlalchemy.orm.Session):
    """A session whose commits can be delayed.

    Attributes:
        holds: delay commits.
        undone: the delayed writes were rolled back.
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
    """Optuna's storage in a database: commits after each write, except within ``together``."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any]):
        try:
            super().__init__(url, engine_kwargs=engine_kwargs)
        except sqlalchemy.exc.DatabaseError as error:
            # Another process created the tables at the same time.
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
            # Optuna swallows some errors, which have rolled back the writes before them.
            if session.undone:
                raise optuna.exceptions.StorageInternalError("another write interfered")
            try:
                session.commit()
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise optuna.exceptions.StorageInternalError(str(error)) from error
        finally:
            session.holds = False
            session.rollback()
            session.close()


class _Journal(JournalFileBackend):
    """Optuna's journal file; a last line that a kill or a full disk truncated is removed first.

    Otherwise the next line would be appended to it, and neither could be read.
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
