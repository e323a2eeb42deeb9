"""Checkpoints: whole or not there, torn ones named, and nothing is kept without need."""

from pathlib import Path

import pytest
import torch

from minbert.config import InputSettings, TrainConfig
from minbert.errors import DamagedError
from minbert.evaluate import evaluate
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.train import Trainer
from search.inputs import LoadedInputs
from search.storage.checkpoints import CheckpointStore, load_checkpoint, save_checkpoint
from search.storage.directory import Directory, LocalDirectory
from search.trainer import load_model

CONFIG = TrainConfig(epochs=2, batch_size=8)


@pytest.fixture
def trained(dataset: Dataset, tiny: Pretrained) -> Trainer:
    trainer = Trainer(CONFIG, dataset, tiny, "cpu")
    trainer.next_report()
    return trainer


def save(
    folder: Path, trainer: Trainer, number: int, attempt: int, *, with_state: bool
) -> Directory:
    """Save the last report's checkpoint."""
    key = number, len(trainer.reports)
    return save_checkpoint(
        LocalDirectory(folder), key, attempt, trainer.state_dict(), with_state=with_state
    )


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_trainer_goes_on_from_its_checkpoint_bit_for_bit(
    trained: Trainer, dataset: Dataset, tiny: Pretrained, tmp_path: Path
) -> None:
    path = save(tmp_path, trained, 7, 1, with_state=True)
    assert str(path) == str(tmp_path / "0007" / "0001-1")
    trained.next_report()
    other = Trainer(CONFIG, dataset, tiny, "cpu")
    other.load_state_dict(load_checkpoint(path))
    other.next_report()
    theirs = other.model.state_dict()
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, theirs[name])
    assert other.reports[1].scores == trained.reports[1].scores


def test_a_model_gives_the_scores_of_its_report(
    trained: Trainer, dataset: Dataset, tiny: Pretrained, tmp_path: Path
) -> None:
    path = save(tmp_path, trained, 7, 1, with_state=False)
    inputs = LoadedInputs(InputSettings(), dataset, tiny)
    assert sorted(path.files()) == ["checkpoint.json", "weights.safetensors"]
    results = evaluate(load_model(path, CONFIG, inputs), dataset)
    assert {task: result.score for task, result in results.items()} == trained.reports[0].scores


@pytest.mark.parametrize("file", ["weights.safetensors", "state.pt", "checkpoint.json"])
def test_torn_files_are_named_and_not_used(file: str, trained: Trainer, tmp_path: Path) -> None:
    checkpoint = save(tmp_path, trained, 7, 1, with_state=True)
    content = checkpoint.read(file)
    checkpoint.write(file, content[: len(content) // 2])
    with pytest.raises(DamagedError, match=f"{checkpoint}/{file} is damaged"):
        load_checkpoint(checkpoint)


def test_a_damaged_state_gives_way_to_the_one_before(trained: Trainer, tmp_path: Path) -> None:
    save(tmp_path, trained, 7, 1, with_state=True)
    trained.next_report()
    save(tmp_path, trained, 7, 1, with_state=True)
    store = CheckpointStore(LocalDirectory(tmp_path))
    store.scan({(7, 1): 1, (7, 2): 1}, sweep=True)
    for left in ("0001-1", None):
        store.drop_latest_state(7, "words")
        latest = store.latest_state(7)
        assert latest is None if left is None else str(latest) == str(tmp_path / "0007" / left)
    assert store.damaged == ["words", "words"]


def test_what_a_kill_left_half_done_is_swept_away(trained: Trainer, tmp_path: Path) -> None:
    save(tmp_path, trained, 7, 1, with_state=True)
    torn = tmp_path / "0007" / "0002-1"
    torn.mkdir()
    (torn / "weights.safetensors").write_bytes(b"whole")
    (torn / ".state.pt.99").write_bytes(b"ha")
    # Neither is something that a person put there a checkpoint.
    (tmp_path / "note.txt").touch()
    store = CheckpointStore(LocalDirectory(tmp_path))
    store.scan({(7, 1): 1, (7, 2): 1}, sweep=True)
    assert [path.name for path in (tmp_path / "0007").iterdir()] == ["0001-1"]
    assert str(store.model(7, 1)) == str(tmp_path / "0007" / "0001-1")
    assert store.model(7, 2) is None
    assert (tmp_path / "note.txt").exists()


def test_only_what_is_wanted_stays(trained: Trainer, tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path, trained, number, 1, with_state=True)
    store = CheckpointStore(LocalDirectory(tmp_path))
    store.scan({(number, 1): 1 for number in range(4)}, sweep=True)
    store.keep_only(0, models={1}, states=set())
    store.keep_only(1, models={1}, states={1})
    store.keep_only(2, models=set(), states={1})
    store.keep_only(3, models=set(), states=set())
    whole = ["checkpoint.json", "state.pt", "weights.safetensors"]
    assert names(tmp_path) == [
        *(f"0000/0001-1/{name}" for name in whole if name != "state.pt"),
        *(f"0001/0001-1/{name}" for name in whole),
        *(f"0002/0001-1/{name}" for name in whole),
    ]
    assert store.latest_state(0) is None
    assert store.latest_state(1) is not None


def test_only_checkpoints_of_recorded_reports_count(trained: Trainer, tmp_path: Path) -> None:
    store = CheckpointStore(LocalDirectory(tmp_path))
    save(tmp_path, trained, 0, 1, with_state=False)
    store.added(0, 1, 1)
    # A second attempt that began before the report makes it again; the first one stands.
    save(tmp_path, trained, 0, 2, with_state=True)
    store.refused(0, 1, 2)
    assert [path.name for path in (tmp_path / "0000").iterdir()] == ["0001-1"]
    # A worker that was given up writes late.
    save(tmp_path, trained, 0, 3, with_state=True)
    save(tmp_path, trained, 1, 1, with_state=True)
    store.scan({(0, 1): 1}, sweep=False)
    assert store.latest_state(0) is None
    assert store.model(1, 1) is None
    store.scan({(0, 1): 1}, sweep=True)
    assert [path.name for path in tmp_path.glob("*/*")] == ["0001-1"]
