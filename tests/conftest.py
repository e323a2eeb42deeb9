"""What several test files share: a small random encoder and a small data set."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import cluster  # noqa: F401  # before any test imports Ray, whose environment it prepares
from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.examples import Dataset
from minbert.hub import Pretrained, load_pretrained
from testkit.browser import Browser, open_browser, what_is_missing

from .plugin import pytest_sessionfinish  # noqa: F401
from .state import hear_signals, no_process_left, nothing_changed

SUBJECTS = ("dog", "cat", "child", "woman", "man", "bird", "horse", "girl")
VERBS = ("sees", "likes", "finds", "hears", "wants", "paints")
OBJECTS = ("a tree", "the sea", "an apple", "some bread", "the moon", "a song", "a book")


def write_course_folder(folder: Path, *, train: int = 40, dev: int = 24, test: int = 8) -> Path:
    """Write the nine files of the course layout with rows made from a fixed seed."""
    draw = random.Random(7)

    def sentence() -> str:
        return f"The {draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)} ."

    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", train), ("dev", dev), ("test-student", test)):
        columns = {
            "ids-sst": ["sentence", "sentiment"],
            "quora": ["sentence1", "sentence2", "is_duplicate"],
            "sts": ["sentence1", "sentence2", "similarity"],
        }
        for prefix, names in columns.items():
            labelled = split != "test-student"
            lines = ["\t".join(["", "id", *(names if labelled else names[:-1])])]
            for row in range(rows):
                texts = [sentence() for _ in names[:-1]]
                label = {"ids-sst": row % 5, "quora": float(row % 2), "sts": row % 11 / 2}[prefix]
                cells = [str(row), f"{prefix}-{split}-{row}", *texts, *([str(label)] * labelled)]
                lines.append("\t".join(cells))
            (folder / f"{prefix}-{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small models are slower on several threads, and bits may differ between numbers of them."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither read nor fill the user's cache, in commands that tests start either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINBERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _heard_signals() -> None:
    hear_signals()


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_by_a_file(
    _one_thread: None, _cache_of_its_own: None, _heard_signals: None
) -> Iterator[None]:
    """Neither by its tests nor by its fixtures."""
    with nothing_changed(), no_process_left():
        yield


@pytest.fixture(autouse=True)
def _nothing_left_by_a_test() -> Iterator[None]:
    with nothing_changed():
        yield


@pytest.fixture(scope="session")
def course_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_course_folder(tmp_path_factory.mktemp("course") / "data")


@pytest.fixture(scope="session")
def tiny() -> Pretrained:
    return load_pretrained("tiny")


@pytest.fixture(scope="session")
def dataset(course_folder: Path, tiny: Pretrained) -> Dataset:
    return load_dataset(InputSettings(data=str(course_folder)), tiny.tokenizer(), cache=None)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if (missing := what_is_missing()) is not None:
        pytest.skip(missing)
    with open_browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened
