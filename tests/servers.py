"""Servers for tests, all on 127.0.0.1: S3 (moto), PostgreSQL, and a proxy that makes them fail."""

import contextlib
import dataclasses
import http.client
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import sqlalchemy

from testkit.waiting import PATIENCE, wait_for

_HOST = "127.0.0.1"
_BUCKET = "minbert"
_USER = _DATABASE = "minbert"
_PASSWORD = "only-for-tests"
# What PostgreSQL's server runs as where we are root.
_ACCOUNT = "postgres"


class Proxy:
    """A port in front of a server's, where the server seems to go away and come back.

    Attributes:
        port: to connect to, the same for good.
    """

    def __init__(self, target: int):
        self._target = target
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._accepting: threading.Thread | None = None
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        self.repair()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._socket.close()

    def cut(self) -> None:
        """Close all connections, and refuse new ones."""
        with self._lock:
            accepting, self._accepting = self._accepting, None
            if accepting is not None:
                # Closing it would not wake the thread.
                _shut(self._socket)
        if accepting is not None:
            accepting.join()
            self._socket.close()
            # Bound but not listening: it refuses, and nobody else gets the port.
            self._socket = _bound(self.port)
        with self._lock:
            while self._open:
                _shut(self._open.pop())
        self._flowing.set()

    def hang(self) -> None:
        """Let connections be made, but nothing come through, until ``repair``."""
        self._flowing.clear()
        self._accept()

    def repair(self) -> None:
        """Work again; connections that are still open, and waited, continue."""
        self._accept()
        self._flowing.set()

    @property
    def connections(self) -> int:
        """How many sockets are open, on either side."""
        with self._lock:
            return len(self._open)

    def _accept(self) -> None:
        with self._lock:
            if self._accepting is None:
                self._socket.listen()
                self._accepting = threading.Thread(target=self._serve, daemon=True)
                self._accepting.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            if self._keep(client):
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _keep(self, connection: socket.socket, other: socket.socket | None = None) -> bool:
        """Have the next cut shut it; closes it if a cut has come, which shut its other end too."""
        with self._lock:
            if self._accepting is not None and (other is None or other in self._open):
                self._open.add(connection)
                return True
        connection.close()
        return False

    def _carry(self, client: socket.socket) -> None:
        with client:
            self._flowing.wait()
            try:
                server = socket.create_connection((_HOST, self._target))
            except OSError:
                server = None
            if server is not None and self._keep(server, client):
                with server:
                    back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                    back.start()
                    self._pump(client, server)
                    back.join()
                    self._forget(server)
            self._forget(client)

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(1 << 16):
                self._flowing.wait()
                sink.sendall(chunk)
            self._flowing.wait()
            # The other direction may have more to say.
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            _shut(source)
            _shut(sink)


@dataclass(frozen=True)
class S3Server:
    """A running S3 server that keeps its objects in memory, with a bucket ``minbert``."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://{_HOST}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Where the server is, and credentials; a client may look for them at each request."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            # Not Amazon's own machines, whose address would be asked for credentials.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def behind(self, proxy: Proxy) -> "S3Server":
        """The same server, reached through a proxy."""
        return dataclasses.replace(self, port=proxy.port)


class PostgresServer:
    """A PostgreSQL server with a user and a database ``minbert``; ``stop`` keeps its data.

    Attributes:
        port: the same for good.
        environment: for a client, the password.
    """

    def __init__(self, programs: Path, folder: Path, log: IO[bytes]):
        self.port = free_port()
        self.environment = {"PGPASSWORD": _PASSWORD}
        self._programs = programs
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without the password."""
        return f"postgresql://{_USER}@{_HOST}:{self.port}/{_DATABASE}"

    def url_behind(self, proxy: Proxy) -> str:
        """The same database, reached through a proxy."""
        return f"postgresql://{_USER}@{_HOST}:{proxy.port}/{_DATABASE}"

    def start(self) -> None:
        """Start the server, which must not run, and wait until it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": _HOST,
            # The path of a socket must be short, which a test's folder is not.
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "max_connections": 40,
            "fsync": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), *options]
        process = self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, **self._as_account()
        )
        ready = [
            "pg_isready",
            "--quiet",
            f"--host={_HOST}",
            f"--port={self.port}",
            f"--username={_USER}",
        ]
        try:
            _wait_for(lambda: self._run(ready, check=False) == 0, process, self._log.name)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server at once, as a crash would, and all its connections."""
        if self._process is not None:
            _end(self._process, signal.SIGQUIT)
            self._process = None

    def initialize(self) -> None:
        """Make the data, start the server and make the database."""
        password = self._folder / "password"
        password.write_text(_PASSWORD)
        for path in (self._folder, password):
            if os.geteuid() == 0:
                shutil.chown(path, _ACCOUNT)
        self._run(
            [
                "initdb",
                f"--pgdata={self._folder / 'data'}",
                f"--username={_USER}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ]
        )
        self.start()
        self._run(
            ["createdb", f"--host={_HOST}", f"--port={self.port}", f"--username={_USER}", _DATABASE]
        )

    def _run(self, command: list[str], *, check: bool = True) -> int:
        return subprocess.run(
            [str(self._programs / command[0]), *command[1:]],
            check=check,
            stdout=self._log,
            stderr=self._log,
            timeout=PATIENCE,
            **self._as_account(),
        ).returncode

    def _as_account(self) -> dict[str, Any]:
        """Arguments that make a process PostgreSQL's: it refuses to run as root."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # Not here, where the account may not be allowed to be.
        options: dict[str, Any] = {"cwd": self._folder, "env": kept | self.environment}
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return options


def what_is_missing_for_s3() -> str | None:
    """Why there can be no S3 server here, None where there can."""
    if all(map(importlib.util.find_spec, ("moto", "flask", "flask_cors"))):
        return None
    return "needs the packages moto[s3], flask and flask-cors"


def what_is_missing_for_postgres() -> str | None:
    """Why there can be no PostgreSQL server here, None where there can."""
    if _postgres_programs() is None:
        return "needs Debian's package postgresql"
    try:
        # The driver depends on SQLAlchemy's version.
        sqlalchemy.make_url("postgresql://").get_dialect().import_dbapi()
    except ImportError as error:
        return f"needs the package {error.name}"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_ACCOUNT)
        except KeyError:
            return f"needs an account {_ACCOUNT}, as PostgreSQL does not run as root"
    return None


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start an S3 server, where none of it is missing; its log goes to ``folder``."""
    server = S3Server(free_port())
    command = [sys.executable, "-m", "moto.server", "-H", _HOST, "-p", str(server.port)]
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _wait_for(lambda: _make_bucket(server), process, log.name)
            yield server
        finally:
            _end(process, signal.SIGTERM)


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """Start a PostgreSQL server, where none of it is missing; its log goes to ``folder``."""
    programs = _postgres_programs()
    assert programs is not None
    # The data lie elsewhere: pytest's folders are closed to the account that the server runs as.
    data = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        with (folder / "postgres.log").open("wb") as log:
            server = PostgresServer(programs, data, log)
            try:
                server.initialize()
                yield server
            finally:
                server.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs, the server's among them."""
    # Debian has them in a folder for each version, which is not in PATH.
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(installed, key=lambda path: int(path.parts[-3]), reverse=True)
    if (found := shutil.which("initdb")) is not None:
        newest.insert(0, Path(found).resolve())
    return newest[0].parent if newest else None


def _make_bucket(server: S3Server) -> bool:
    connection = http.client.HTTPConnection(_HOST, server.port, timeout=PATIENCE)
    try:
        connection.request("PUT", f"/{_BUCKET}")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    # Connections of before may linger.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((_HOST, port))
    return bound


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    """A port of the loopback address that no server has."""
    with _bound(0) as bound:
        return int(bound.getsockname()[1])


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: str) -> None:
    def said() -> str:
        return Path(log).read_text(errors="replace")[-2000:]

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"a server did not start: {said()}")
        return ready()

    wait_for(answers, lambda: f"a server that answers: {said()}")


def _end(process: subprocess.Popen[bytes], by: signal.Signals) -> None:
    process.send_signal(by)
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
