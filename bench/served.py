"""Measurements in separate processes, also of an earlier commit.

``python -m bench.NAME --serve OPTIONS`` prints one JSON object when it is ready, and then answers
each line on stdin with one JSON object on stdout. An earlier commit is measured by its own copy of
this package, so the JSON is all that two commits have to agree on.
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


def count(text: str) -> int:
    """The value of an option that counts something: a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return number


class Process:
    """A process that runs a module of this package and answers lines.

    Args:
        module: name of the module in this package.
        options: passed to the module as JSON.
        code: root of a checkout, from which all our packages are imported, this one included.

    Attributes:
        about: the object that the process printed first.
    """

    def __init__(self, module: str, options: dict[str, Any], code: Path):
        # PYTHONPATH is for the processes that this one starts. KINETO_LOG_LEVEL silences torch's
        # profiler.
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"bench.{module}", "--serve", json.dumps(options)],
            cwd=code,
            env={**os.environ, "PYTHONPATH": str(code), "KINETO_LOG_LEVEL": "99"},
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
    """A folder with the files of a commit of this repository, removed at the end."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        said = archive.stderr.decode().strip().partition("\n")[0]
        raise SystemExit(f"error: --before {commit}: {said}; give a commit of this repository")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder)
