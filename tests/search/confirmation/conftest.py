"""A finished search to confirm."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.session import Session
from tests.conftest import write_course_folder
from tests.in_process import shared_ray

from .simulated import Saved


@pytest.fixture(scope="package")
def ray_once() -> Iterator[None]:
    """One Ray for all searches and confirmations of this folder."""
    with shared_ray():
        yield


@pytest.fixture(scope="package")
def searched(tmp_path_factory: pytest.TempPathFactory, ray_once: None) -> Path:  # noqa: ARG001
    """The folder of a finished search whose trainer trains nothing."""
    folder = tmp_path_factory.mktemp("searched")
    data = write_course_folder(folder / "data", train=60)
    options: dict[str, Any] = {"space": "lr", "trials": 5, "epochs": 1, "encoder": "tiny"}
    options |= {"data": str(data), "out": str(folder), "name": "a", "dashboard": False}
    Session(trainer=Saved, **options).run()
    return folder / "a"


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / searched.name))
