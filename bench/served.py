"""Measurements in processes of their own, also with the code of an earlier commit.

A module of this package serves them: started as ``-m bench.NAME --serve OPTIONS``, it answers each
line on stdin with one JSON object on stdout. It imports the packages of the code that is measured,
and all else of this package as it is now, so it has to work with earlier commits too.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_MEASURED = ("minbert", "search", "spaces", "cluster")


def count(text: str) -> int:
    """The value of an option that counts something: a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return number


class Process:
    """A process of a module of this package that answers lines.

    Args:
        module: its name.
        options: what the module is told to serve.
        code: folder that our packages are imported from.

    Attributes:
        about: its first line, before it is asked anything.
    """

    def __init__(self, module: str, options: dict[str, Any], code: Path):
        # The folder that -m is run in comes before all others. torch's profiler talks otherwise.
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"bench.{module}", "--serve", json.dumps(options)],
            cwd=code,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KINETO_LOG_LEVEL": "99"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._read()

    def ask(self, question: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise SystemExit(f"error: a process that measures ended with status {status}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def code_of(commit: str) -> Iterator[Path]:
    """A folder with the packages as they are in a commit of this repository."""
    archive = subprocess.run(
        ["git", "archive", commit, *_MEASURED], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        said = archive.stderr.decode().strip().partition("\n")[0]
        raise SystemExit(f"error: --before {commit}: {said}; give a commit of this repository")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder)
