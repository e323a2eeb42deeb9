"""A directory of files: on a disk, or in an object store such as S3.

Files are small enough to be read and written whole. Writes are atomic: a reader sees the whole file
or none. Nothing is flushed to the disk, so after a power failure, files that matter are checked
against their checksums.
"""

import contextlib
import errno
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from minbert.errors import InputError, first_line
from minbert.files import write_whole

_SECONDS_TO_CONNECT = 5
# Seconds without a single byte.
_SECONDS_TO_ANSWER = 10
# Options of an address that pyarrow understands and that are not secret.
_OPTIONS = ("endpoint_override", "region", "scheme")
# Environment variables that name an S3 server other than Amazon's.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class Directory(ABC):
    """A directory; it need not exist before something is written.

    Attributes:
        where: path or ``s3://BUCKET/PATH``, for people.
        address: what ``open_directory`` takes, also on other machines.
    """

    where: str
    address: str

    def __str__(self) -> str:
        return self.where

    @abstractmethod
    def __truediv__(self, name: str) -> "Directory":
        """A directory in this one."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError if it is missing, OSError if it cannot be read."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file, replacing any that is there; OSError if that fails."""

    @abstractmethod
    def files(self) -> list[str]:
        """Names of all files, including those in subdirectories, as ``subdirectory/name``."""

    @abstractmethod
    def directories(self) -> list[str]:
        """Names of the directories in this one."""

    @abstractmethod
    def modified(self, name: str) -> float | None:
        """When a file was written, in seconds since the epoch; None if it does not exist."""

    @abstractmethod
    def remove(self, name: str = "") -> None:
        """Remove a file, a directory with its contents, or this whole directory."""


def is_object_store(where: str | Path) -> bool:
    """Whether an address names an object store rather than a path."""
    return "://" in str(where)


def join(where: str, name: str) -> str:
    """The address or path of a subdirectory; InputError if the name is not allowed there."""
    if not is_object_store(where):
        return str(Path(where) / name)
    if found := set(name) & set("?#"):
        raise InputError(f"'{name}': a name in an object store cannot hold {found.pop()}")
    path, question_mark, options = where.partition("?")
    return f"{path.rstrip('/')}/{name}{question_mark}{options}"


def open_directory(where: str | Path) -> Directory:
    """The directory at a path or at ``s3://BUCKET/PATH``.

    Credentials for S3 come from the usual environment variables. For a server that is not
    Amazon's, set AWS_ENDPOINT_URL or add ``?endpoint_override=URL`` to the address.

    Raises:
        InputError: the address is of another kind, or contains a secret.
    """
    if is_object_store(where):
        return ObjectDirectory(str(where))
    return LocalDirectory(Path(where))


class LocalDirectory(Directory):
    """A directory on a disk, or on a file system that several machines share."""

    def __init__(self, path: Path):
        self.path = path
        self.where = str(path)
        self.address = str(path.resolve())

    def __truediv__(self, name: str) -> "LocalDirectory":
        return LocalDirectory(self.path / name)

    def read(self, name: str) -> bytes:
        path = self.path / name
        # A folder from someone else may hold a device or a pipe, which would never end.
        if path.exists() and not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "not a file", str(path))
        return path.read_bytes()

    def write(self, name: str, content: bytes) -> None:
        path = self.path / name
        for may_be_removed in (True, False):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not waiting for the disk, so that a report costs little.
                write_whole(path, content, sync=False)
                return
            except FileNotFoundError:
                # The driver removed the empty folder in between.
                if not may_be_removed:
                    raise

    def files(self) -> list[str]:
        return [
            str((Path(folder) / name).relative_to(self.path))
            for folder, _, names in os.walk(self.path, onerror=_unless_missing)
            for name in names
        ]

    def directories(self) -> list[str]:
        try:
            return [entry.name for entry in self.path.iterdir() if entry.is_dir()]
        except FileNotFoundError:
            return []

    def modified(self, name: str) -> float | None:
        try:
            return (self.path / name).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, name: str = "") -> None:
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if name:
            for parent in Path(name).parents[:-1]:
                with contextlib.suppress(OSError):
                    (self.path / parent).rmdir()


def _unless_missing(error: OSError) -> None:
    # A directory that cannot be listed must not look empty.
    if not isinstance(error, FileNotFoundError):
        raise error


class ObjectDirectory(Directory):
    """A directory in S3, or in a store with the same protocol, accessed by pyarrow."""

    def __init__(self, address: str, system: Any = None):
        # Imported here because it is slow and only object stores need it.
        import pyarrow
        import pyarrow.fs

        self._fs = pyarrow.fs
        parts = urlsplit(address)
        # Keep options without a value, so that they are refused like unknown ones.
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.scheme != "s3" or not parts.netloc:
            raise InputError(f"{parts.scheme}://{parts.hostname or ''}: give a path, or s3://…")
        if parts.fragment:
            raise InputError(f"s3://{parts.hostname}: an address cannot contain '#'")
        if "@" in parts.netloc or set(options) - set(_OPTIONS):
            raise InputError(
                f"s3://{parts.hostname}: only {', '.join(_OPTIONS)} can be given in the address; "
                "credentials belong in the environment or in ~/.aws"
            )
        for name in _ENDPOINTS:
            if endpoint := os.environ.get(name):
                options.setdefault("endpoint_override", endpoint)
        self.where = f"s3://{parts.netloc}{parts.path.rstrip('/')}"
        self._root = f"{parts.netloc}{parts.path.rstrip('/')}"
        try:
            if not options.keys() & {"endpoint_override", "region"}:
                # Amazon answers only in the bucket's own region; workers get it in the address.
                options["region"] = self._fs.resolve_s3_region(parts.netloc)
            # Fail soon: callers retry by themselves (patience.py).
            self._system = system or self._fs.S3FileSystem(
                **options,
                connect_timeout=_SECONDS_TO_CONNECT,
                request_timeout=_SECONDS_TO_ANSWER,
                retry_strategy=self._fs.AwsStandardS3RetryStrategy(max_attempts=1),
                # Then a small file takes one request.
                allow_delayed_open=True,
            )
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{self.where}: {first_line(error)}") from None
        self.address = f"{self.where}?{urlencode(options)}" if options else self.where

    def __truediv__(self, name: str) -> "ObjectDirectory":
        return ObjectDirectory(join(self.address, name), self._system)

    def read(self, name: str) -> bytes:
        with self._system.open_input_file(f"{self._root}/{name}") as file:
            return bytes(file.readall())

    def write(self, name: str, content: bytes) -> None:
        with self._system.open_output_stream(f"{self._root}/{name}") as file:
            file.write(content)

    def _infos(self, *, below: bool) -> list[tuple[str, bool]]:
        """Name, and whether it is a file, of each entry of this directory (and below it)."""
        selector = self._fs.FileSelector(self._root, allow_not_found=True, recursive=below)
        start = len(self._root) + 1
        return [(info.path[start:], info.is_file) for info in self._system.get_file_info(selector)]

    def files(self) -> list[str]:
        return [name for name, is_file in self._infos(below=True) if is_file]

    def directories(self) -> list[str]:
        return [name for name, is_file in self._infos(below=False) if not is_file]

    def modified(self, name: str) -> float | None:
        info = self._system.get_file_info(f"{self._root}/{name}")
        return info.mtime_ns / 1e9 if info.is_file else None

    def remove(self, name: str = "") -> None:
        path = f"{self._root}/{name}" if name else self._root
        kind = self._system.get_file_info(path).type
        if kind == self._fs.FileType.File:
            self._system.delete_file(path)
        elif kind == self._fs.FileType.Directory:
            with contextlib.suppress(FileNotFoundError):
                self._system.delete_dir(path)
