import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy.exc
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from pyarrow import fs

from testkit.waiting import PATIENCE, wait_for

from . import servers
from .servers import PostgresServer, Proxy, S3Server


def set_environment(patch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        patch.setenv(name, value)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if (missing := servers.what_is_missing_for_s3()) is not None:
        pytest.skip(missing)
    with (
        servers.s3_server(tmp_path_factory.mktemp("s3")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        set_environment(patch, server.environment)
        yield server


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    if (missing := servers.what_is_missing_for_postgres()) is not None:
        pytest.skip(missing)
    with (
        servers.postgres_server(tmp_path_factory.mktemp("postgres")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        set_environment(patch, server.environment)
        yield server


@pytest.fixture
def echo() -> Iterator[int]:
    """A port that says back what it hears, to the end."""

    def answer() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                while heard := client.recv(1024):
                    client.sendall(heard)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)


def file_system(server: S3Server, seconds: float = PATIENCE) -> Any:
    """A client that tries once, and waits so long for an answer."""
    return fs.S3FileSystem(
        endpoint_override=server.endpoint,
        connect_timeout=seconds,
        request_timeout=seconds,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )


def write(system: Any, path: str, content: bytes) -> None:
    with system.open_output_stream(path) as file:
        file.write(content)


def read(system: Any, path: str) -> bytes:
    with system.open_input_file(path) as file:
        return bytes(file.readall())


class TestProxy:
    def test_carries_what_is_said_in_both_directions_to_the_end(self, echo: int) -> None:
        with Proxy(echo) as proxy, connect(proxy) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == b"hello"

    def test_a_cut_ends_connections_and_refuses_new_ones_until_mended(self, echo: int) -> None:
        with Proxy(echo) as proxy, connect(proxy) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
            for _ in range(3):
                proxy.cut()
                assert client.recv(5) == b""
                with pytest.raises(ConnectionRefusedError):
                    connect(proxy)
                proxy.repair()
                with connect(proxy) as again:
                    again.sendall(b"hello")
                    assert again.recv(5) == b"hello"

    def test_what_hangs_comes_through_when_mended(self, echo: int) -> None:
        with Proxy(echo) as proxy:
            proxy.hang()
            with connect(proxy) as client:
                client.sendall(b"hello")
                # However long this is, nothing may come: a busy machine cannot break it.
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.recv(5)
                proxy.repair()
                client.settimeout(PATIENCE)
                assert client.recv(5) == b"hello"

    def test_what_hangs_is_lost_when_cut(self, echo: int) -> None:
        with Proxy(echo) as proxy:
            proxy.hang()
            with connect(proxy) as client:
                client.sendall(b"hello")
                # Else it would end by a reset.
                wait_for(lambda: proxy.connections == 1, "the proxy takes the connection")
                proxy.cut()
                proxy.repair()
                assert client.recv(5) == b""

    def test_a_server_that_is_gone_ends_the_connection(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        with Proxy(port) as proxy, connect(proxy) as client:
            assert client.recv(5) == b""


class TestS3Server:
    def test_keeps_small_and_large_files(self, s3: S3Server) -> None:
        system = file_system(s3)
        # More than one part.
        large = os.urandom(1 << 20) * 24
        write(system, "minbert/some/small", b"hello")
        write(system, "minbert/some/large", large)
        assert read(system, "minbert/some/small") == b"hello"
        assert read(system, "minbert/some/large") == large

    def test_can_be_unreachable_for_a_while(self, s3: S3Server) -> None:
        with Proxy(s3.port) as proxy:
            system = file_system(s3.behind(proxy))
            write(system, "minbert/cut/before", b"hello")
            proxy.cut()
            with pytest.raises(OSError, match="NETWORK_CONNECTION"):
                write(system, "minbert/cut/during", b"hello")
            with pytest.raises(OSError, match="NETWORK_CONNECTION"):
                read(system, "minbert/cut/before")
            proxy.repair()
            assert read(system, "minbert/cut/before") == b"hello"
            with pytest.raises(FileNotFoundError):
                read(system, "minbert/cut/during")

    def test_can_hang(self, s3: S3Server) -> None:
        with Proxy(s3.port) as proxy:
            system = file_system(s3.behind(proxy))
            write(system, "minbert/hung/before", b"hello")
            proxy.hang()
            with pytest.raises(OSError, match="Timeout"):
                read(file_system(s3.behind(proxy), seconds=1), "minbert/hung/before")
            proxy.repair()
            assert read(system, "minbert/hung/before") == b"hello"

    def test_an_upload_that_is_cut_leaves_what_was_there(self, s3: S3Server) -> None:
        with Proxy(s3.port) as proxy:
            system = file_system(s3.behind(proxy))
            write(system, "minbert/upload/file", b"old")
            part = bytes(11 << 20)
            file = system.open_output_stream("minbert/upload/file")
            file.write(part)
            proxy.cut()
            with pytest.raises(OSError, match="NETWORK_CONNECTION"):  # noqa: PT012
                # It is sent behind our back, so either may be told of it.
                file.write(part)
                file.close()
            proxy.repair()
            assert read(system, "minbert/upload/file") == b"old"

    def test_is_gone_afterwards(self, tmp_path: Path, s3: S3Server) -> None:
        del s3  # for its skipping
        with pytest.raises(ZeroDivisionError), servers.s3_server(tmp_path) as server:
            raise ZeroDivisionError
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        assert "PUT /minbert" in (tmp_path / "moto.log").read_text()


class TestPostgresServer:
    def test_keeps_a_study_when_it_crashes(self, postgres: PostgresServer) -> None:
        storage = RDBStorage(postgres.url, engine_kwargs={"pool_pre_ping": True})
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "crash")
        trial_id = storage.create_new_trial(study_id)
        postgres.stop()
        with pytest.raises(optuna.exceptions.StorageInternalError):
            storage.set_trial_user_attr(trial_id, "key", "lost")
        postgres.start()
        assert storage.get_trial(trial_id).user_attrs == {}
        storage.set_trial_user_attr(trial_id, "key", "kept")
        other = RDBStorage(postgres.url)
        assert other.get_study_id_from_name("crash") == study_id
        assert [trial.user_attrs for trial in other.get_all_trials(study_id)] == [{"key": "kept"}]

    def test_can_be_unreachable_for_a_while(self, postgres: PostgresServer) -> None:
        with Proxy(postgres.port) as proxy:
            storage = RDBStorage(postgres.url_behind(proxy), engine_kwargs={"pool_pre_ping": True})
            study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "cut")
            proxy.cut()
            with pytest.raises(optuna.exceptions.StorageInternalError):
                storage.set_study_user_attr(study_id, "key", "lost")
            proxy.repair()
            storage.set_study_user_attr(study_id, "key", "kept")
            assert storage.get_study_user_attrs(study_id) == {"key": "kept"}

    def test_refuses_a_wrong_password(
        self, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPASSWORD", "wrong")
        with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
            RDBStorage(postgres.url)

    def test_is_gone_afterwards(self, tmp_path: Path, postgres: PostgresServer) -> None:
        del postgres  # for its skipping
        with pytest.raises(ZeroDivisionError), servers.postgres_server(tmp_path) as server:
            raise ZeroDivisionError
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
