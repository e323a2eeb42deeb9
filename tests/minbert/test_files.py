"""Files that are replaced as a whole, and what an error says in one line."""

from pathlib import Path

import pytest

from minbert.errors import first_line
from minbert.files import replacing, temporary_beside, write_whole


def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"before")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"of others")
    path.symlink_to(other)
    write_whole(path, b"new")
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"of others")
    assert not path.is_symlink()


def test_writers_at_the_same_time_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write(b"1" * 100)
        other.write(b"2" * 50)
    assert path.read_bytes() == b"1" * 100
    assert list(tmp_path.iterdir()) == [path]


def test_a_temporary_file_that_nobody_took_is_removed(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "file") as temporary:
        temporary.write_bytes(b"not good enough")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n  one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (OSError(" \n"), "OSError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line
