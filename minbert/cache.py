"""Arrays on disk that are read back only if they are complete."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .files import replacing, write_whole

_META = "meta.json"


def cache_folder() -> Path:
    """The folder for prepared data: ``$MINBERT_CACHE``, otherwise ``~/.cache/minbert``."""
    return Path(os.environ.get("MINBERT_CACHE") or "~/.cache/minbert").expanduser()


def store(folder: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write arrays, and facts that JSON can hold, into ``folder``.

    The list of checksums is written last, and every file replaces its predecessor in one step. So
    ``load`` refuses what an interrupted writer leaves, and writers of the same content do not
    disturb each other or a reader.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checks = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        with replacing(path, sync=False) as file:
            np.save(file, array, allow_pickle=False)
        checks[name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    meta = json.dumps({"arrays": checks, "facts": facts})
    write_whole(folder / _META, meta.encode(), sync=False)


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The arrays, memory-mapped and read-only, and the facts; None unless all are complete."""
    try:
        meta = json.loads((folder / _META).read_bytes())
        arrays = {}
        for name, check in meta["arrays"].items():
            path = folder / f"{name}.npy"
            if path.stat().st_size != check["bytes"] or file_hash(path) != check["sha256"]:
                return None
            # A plain array over the mapped file: the subclass np.memmap is copied when pickled.
            arrays[name] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        return arrays, meta["facts"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def make_once(folder: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array stored in ``folder``, which the first process that needs it makes.

    Other processes wait for that one. If nothing can be stored, or the stored array is damaged,
    each process makes the array itself, one after the other.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            # The system releases the lock too, however the process ends.
            fcntl.flock(stack.enter_context((folder / "lock").open("w")), fcntl.LOCK_EX)
        if (stored := load(folder)) is not None:
            return stored[0]["array"]
        array = make()
        with contextlib.suppress(OSError):
            store(folder, {"array": array}, {})
        return array


def file_hash(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
