"""Finished runs in a file, so that a long measurement continues where it was interrupted."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minbert.errors import InputError


class Runs:
    """The finished runs in a file of JSON lines: what was run, and what it answered.

    Args:
        path: of the file, which need not exist.
        option: that gave the path, for messages.
        needs: what an answer must have.

    Raises:
        InputError: the file holds anything else, or cannot be read.
    """

    def __init__(self, path: Path, option: str, *, needs: Iterable[str]):
        self._path, self._name = path, f"{option} {path}"
        self._answers: dict[str, dict[str, Any]] = {}
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise InputError(f"{self._name}: cannot be read: {error.strerror}") from None
        # A last line that an interruption left incomplete is overwritten.
        self._whole = sum(len(line) for line in lines if line.endswith(b"\n"))
        for number, line in enumerate(lines, 1):
            if line.endswith(b"\n"):
                try:
                    answer = json.loads(line)
                    run = answer.pop("run")
                    if not set(needs) <= answer.keys():
                        raise ValueError
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise InputError(
                        f"{self._name}:{number}: no run of this command; give another file"
                    ) from None
                self._answers[_key(run)] = answer

    def find(self, run: dict[str, Any]) -> dict[str, Any] | None:
        """What a run answered; None if it is not in the file."""
        return self._answers.get(_key(run))

    def add(self, run: dict[str, Any], answer: dict[str, Any]) -> None:
        line = json.dumps({"run": run, **answer}).encode() + b"\n"
        try:
            with self._path.open("ab") as file:
                file.truncate(self._whole)
                file.write(line)
        except OSError as error:
            raise InputError(f"{self._name}: cannot be written: {error.strerror}") from None
        self._whole += len(line)
        self._answers[_key(run)] = answer


def _key(run: dict[str, Any]) -> str:
    return json.dumps(run, sort_keys=True)


def sha256_of(code: Path, packages: Iterable[str]) -> str:
    """Hash of the files of packages in a checkout: it identifies the code, committed or not."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((code / package).rglob("*.py")):
            name = path.relative_to(code).as_posix()
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
