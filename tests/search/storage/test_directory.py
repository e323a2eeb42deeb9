"""Directories: what holds of one on a disk and of one in an object store alike."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minbert.errors import InputError
from search.storage.directory import (
    Directory,
    LocalDirectory,
    ObjectDirectory,
    join,
    open_directory,
)
from tests.servers import Proxy, S3Server, s3_server, what_is_missing_for_s3


@pytest.fixture(scope="module", autouse=True)
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server | None]:
    """The server, for all of the file; None where it cannot be."""
    if what_is_missing_for_s3() is not None:
        yield None
        return
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["disk", "store"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    if request.param == "disk":
        return open_directory(tmp_path / "runs")
    if (missing := what_is_missing_for_s3()) is not None:
        pytest.skip(missing)
    return open_directory(f"s3://minbert/{tmp_path.name}")


def test_what_is_written_is_read(directory: Directory) -> None:
    assert (directory.files(), directory.directories()) == ([], [])
    assert directory.modified("a/b") is None
    (directory / "a").write("b", b"first")
    directory.write("a/b", b"second")
    directory.write("c", b"")
    large = os.urandom(12 << 20)
    directory.write("a/d/large", large)
    assert directory.read("a/b") == (directory / "a").read("b") == b"second"
    assert directory.read("c") == b""
    assert (directory / "a" / "d").read("large") == large
    assert sorted(directory.files()) == ["a/b", "a/d/large", "c"]
    assert sorted((directory / "a").files()) == ["b", "d/large"]
    assert directory.directories() == ["a"]
    assert (directory.modified("a/b") or 0) > 1e9
    again = open_directory(directory.address)
    assert again.read("a/b") == b"second"
    assert str(again / "a") == join(str(directory), "a")


def test_what_is_missing_says_so(directory: Directory) -> None:
    with pytest.raises(FileNotFoundError):
        directory.read("nothing")
    directory.remove("nothing")
    directory.remove("nothing/at/all")
    directory.remove()


def test_removing(directory: Directory) -> None:
    for name in ("a/1/x", "a/1/y", "a/2/x", "b"):
        directory.write(name, b"content")
    directory.remove("a/1/x")
    assert sorted(directory.files()) == ["a/1/y", "a/2/x", "b"]
    directory.remove("a/1")
    assert sorted(directory.files()) == ["a/2/x", "b"]
    directory.remove("a/2")
    directory.write("a/2/x", b"again")
    assert directory.read("a/2/x") == b"again"
    directory.remove()
    assert directory.files() == []


@pytest.mark.parametrize("failing", ["disk", "store"])
def test_a_failed_write_leaves_what_was_there(
    failing: str, s3: S3Server | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if failing == "disk":
        _leaves_what_was_there(LocalDirectory(tmp_path), lambda: _no_space(monkeypatch))
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        return
    if s3 is None:
        pytest.skip(what_is_missing_for_s3() or "")
    with Proxy(s3.port) as proxy:
        where = f"s3://minbert/{tmp_path.name}?endpoint_override={s3.behind(proxy).endpoint}"
        _leaves_what_was_there(open_directory(where), proxy.cut)
        assert open_directory(f"s3://minbert/{tmp_path.name}").read("file") == b"whole"
        with pytest.raises(OSError, match="NETWORK_CONNECTION"):
            open_directory(where).read("file")
        proxy.repair()
        assert open_directory(where).read("file") == b"whole"


def _leaves_what_was_there(directory: Directory, fail: Callable[[], None]) -> None:
    directory.write("file", b"whole")
    fail()
    with pytest.raises(OSError, match=r"No space|NETWORK_CONNECTION"):
        directory.write("file", b"another" * 1000)


def _no_space(patch: pytest.MonkeyPatch) -> None:
    def replace(path: Path, target: Path) -> Path:
        raise OSError(28, f"No space left on device for {target}", str(path))

    patch.setattr(Path, "replace", replace)


def test_another_driver_may_remove_a_folder_that_became_empty(tmp_path: Path) -> None:
    directory = LocalDirectory(tmp_path)
    directory.write("a/b/file", b"x")
    directory.remove("a/b/file")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "file")
    with pytest.raises(FileNotFoundError, match="not a file"):
        directory.read("pipe/file")
    assert stat.S_ISDIR(tmp_path.stat().st_mode)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("gs://bucket/runs", "gs://bucket: give a path, or s3://"),
        ("s3:///runs", "give a path, or s3://"),
        ("s3://key:secret@bucket/runs", "credentials belong in the environment"),
        ("s3://bucket/runs?secret_key=secret", "only endpoint_override, region, scheme can be"),
    ],
)
def test_other_addresses_are_refused_without_showing_secrets(where: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_directory(where)
    assert "secret" not in str(caught.value).replace("secret_key", "")


def test_the_address_tells_workers_of_a_server_that_is_not_amazons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    directory = open_directory("s3://bucket/runs/")
    assert isinstance(directory / "x", ObjectDirectory)
    assert (directory / "x").address == (
        "s3://bucket/runs/x?endpoint_override=http%3A%2F%2F127.0.0.1%3A9"
    )
    assert str(directory / "x") == "s3://bucket/runs/x"
