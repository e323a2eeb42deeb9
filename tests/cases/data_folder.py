"""A data set in the course layout, edited and loaded by tests."""

from pathlib import Path

from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.hub import Pretrained
from minbert.tasks import SplitName


def notes(
    folder: Path,
    tiny: Pretrained,
    splits: tuple[SplitName, ...] = ("train", "dev", "test"),
    **options: object,
) -> list[str]:
    """All notes but those on overlap."""
    inputs = InputSettings.check({"data": str(folder), **options})
    found = load_dataset(inputs, tiny.tokenizer(), splits=splits, cache=None).notes
    assert len(set(found)) == len(found)
    return [note for note in found if "also occur in train" not in note]
