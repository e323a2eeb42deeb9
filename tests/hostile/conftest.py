"""A good run to change, and what the commands say of it."""

import shutil
from pathlib import Path

import pytest

from minbert.examples import Dataset
from minbert.hub import Pretrained
from search.review.reading import read_run
from testkit.synthetic import rising, synthetic_run

from .told import Told, change, save_model_of


@pytest.fixture(scope="module")
def good(
    tmp_path_factory: pytest.TempPathFactory,
    course_folder: Path,
    tiny: Pretrained,
    dataset: Dataset,
) -> Path:
    """A finished run whose winner can be exported."""
    path = tmp_path_factory.mktemp("good") / "run"
    folder = synthetic_run(path, rising, space="optimizer", trials=4, epochs=3, examples=30)
    change(path, "setup", lambda setup: setup | {
        "inputs": {"data": str(course_folder), "encoder": "tiny"}, "data files": dataset.files,
    })  # fmt: skip
    winner = read_run(folder).record.winner
    assert winner is not None
    save_model_of(winner, folder, dataset, tiny)
    return path


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    shutil.copytree(good, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(capsys, monkeypatch)
