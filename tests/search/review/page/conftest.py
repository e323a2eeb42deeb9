"""A synthetic run, for all tests of the page."""

import pytest

from search.record import SearchRecord
from search.review.page.report import write_page
from search.review.reading import read_run
from search.storage.folder import RunFolder
from testkit.synthetic import rising, synthetic_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished search of 24 trials; the page is written."""
    path = tmp_path_factory.mktemp("report") / "a <b>run</b>"
    folder = synthetic_run(path, rising, space="optimizer", trials=24, epochs=9)
    write_page(read_run(folder))
    return folder


@pytest.fixture(scope="module")
def record(folder: RunFolder) -> SearchRecord:
    return read_run(folder).record
