"""A data set in the course layout, to be edited."""

from pathlib import Path

import pytest

from ..conftest import write_course_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set that gives no notes, but that train and dev share sentences."""
    return write_course_folder(tmp_path / "data", train=60)
