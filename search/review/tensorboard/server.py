"""A TensorBoard server that runs beside a search."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minbert.errors import InputError

_HOST = "127.0.0.1"
# TensorBoard, which ends when the pipe to the search closes: also if the search is killed.
_PROGRAM = """\
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from tensorboard.main import run_main
run_main()
"""
_PORTS = range(6006, 6106)
# What TensorBoard prints if its port is taken.
_TAKEN = "already in use"
_SECONDS_TO_START = 60.0
_SECONDS_TO_END = 5.0


@contextmanager
def tensorboard_server(logdir: Path, log: Path) -> Iterator[str]:
    """Run TensorBoard on the loopback address while the context lasts.

    Args:
        logdir: folder of the logs to show; may still be empty.
        log: file for the server's output.

    Yields:
        The server's address.

    Raises:
        InputError: the server does not start.
    """
    for port in _PORTS:
        if _is_free(port):
            with _server(logdir, log, port) as process:
                if _starts(process, logdir, log, port):
                    yield f"http://{_HOST}:{port}/"
                    return
    raise InputError(f"TensorBoard: no port is free from {_PORTS[0]} to {_PORTS[-1]}")


@contextmanager
def _server(logdir: Path, log: Path, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    options = {"--logdir": str(logdir), "--host": _HOST, "--port": str(port)}
    arguments = [word for option in options.items() for word in option]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # In its own session, so that Ctrl-C in the terminal reaches only the search, which then
            # ends the server.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port is free again soon after its last server ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _starts(process: "subprocess.Popen[bytes]", logdir: Path, log: Path, port: int) -> bool:
    """Wait until the server answers; False if another server took the port meanwhile.

    Raises:
        InputError: the server ended for another reason, or does not answer in time.
    """
    end = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < end:
        if (code := process.poll()) is not None:
            said = log.read_text("utf-8", errors="replace")
            if _TAKEN in said:
                return False
            lines = [line.strip() for line in said.split("\n") if line.strip()]
            why = lines[-1] if lines else f"exit status {code}"
            raise InputError(f"TensorBoard does not start: {why} (see {log})")
        if _shown_at(port) == str(logdir):
            return True
        time.sleep(0.1)
    raise InputError(f"TensorBoard does not answer within {_SECONDS_TO_START:g} s (see {log})")


def _shown_at(port: int) -> str | None:
    """The log folder that the TensorBoard at a port shows; it may belong to another search."""
    # Not urllib, which would use a proxy.
    connection = http.client.HTTPConnection(_HOST, port, timeout=5)
    try:
        connection.request("GET", "/data/environment")
        return str(json.loads(connection.getresponse().read())["data_location"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the server and its child processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
