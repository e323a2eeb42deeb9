"""A search on made-up scores, opened by each test."""

from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from minbert.examples import Dataset
from minbert.hub import Pretrained
from search.review.tensorboard import log as tensorboard
from search.review.tensorboard.mistakes import DevTexts

from .logged_search import Search


@pytest.fixture(scope="module")
def texts(dataset: Dataset, tiny: Pretrained) -> DevTexts:
    return DevTexts(dataset, tiny.tokenizer())


@pytest.fixture
def search(tmp_path: Path, texts: DevTexts) -> Callable[..., Search]:
    """Opens a driver and its log on a study, the same one each time."""
    storage = InMemoryStorage()
    return lambda **settings: Search(tmp_path, storage, texts, **settings)


@pytest.fixture
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pictures are not looked at: one takes a third of a second."""
    monkeypatch.setattr(tensorboard, "study_picture", lambda *_: (b"", 1, 1))
