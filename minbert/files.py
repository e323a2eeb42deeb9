"""Files: of a checkpoint, found by name and checked; and any file, replaced as a whole."""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import InputError

# Finds a file of a checkpoint by its name; None if there is no such file.
FindFile = Callable[[str], Path | None]

_LFS_POINTER = b"version https://git-lfs.github.com/"
_HTML_STARTS = (b"<!doctype html", b"<html")


def check_content(path: Path) -> None:
    """Refuse what a failed download leaves in place of a file.

    Raises:
        InputError: the file is a Git LFS pointer, a web page, empty, or not readable.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if head.startswith(_LFS_POINTER):
        raise InputError(
            f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull` in its folder"
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML_STARTS):
        raise InputError(f"{path}: a web page, not the file itself; download it again")
    if not head:
        raise InputError(f"{path}: the file is empty; download it again")


def text_of(path: Path) -> str | None:
    """The beginning of a file of text, such as an error saved in place of weights; or None."""
    with path.open("rb") as file:
        head = file.read(512)
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return None
    shown = " ".join(text.split())
    return shown[:40] if shown.isprintable() else None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError if there is none."""
    content = _parse(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def read_json_list(path: Path) -> list[Any]:
    """The list in a JSON file; InputError if there is none."""
    content = _parse(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: not a JSON list")
    return content


def _parse(path: Path) -> Any:
    check_content(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None


def write_whole(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file in one step: it has either the new content or what it had before.

    Args:
        path: the file.
        content: all of it.
        sync: as for ``replacing``.
    """
    with replacing(path, sync=sync) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file to write, which takes the place of ``path`` once it is complete.

    Args:
        path: the file to replace. A link there is replaced, not followed.
        sync: wait until the content is on the disk, so that a power cut cannot leave a torn file
            either. Not needed where a torn file is recognised when it is read.
    """
    with temporary_beside(path) as temporary:
        with temporary.open("xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A path in the same folder that no other thread, process or machine uses.

    A file that is still there at the end is removed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
