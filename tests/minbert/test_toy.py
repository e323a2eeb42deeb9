"""The generated data set: its layout, its balance, and that it is neither trivial nor hopeless."""

import csv
import random
from collections import Counter
from pathlib import Path

import pytest

from minbert import toy
from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.examples import Dataset
from minbert.hub import Pretrained, load_pretrained
from minbert.tasks import TASK_NAMES, TASKS, Task
from minbert.toy import write_toy
from minbert.train import Trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder)
    return folder


def rows_of(folder: Path, task: Task) -> list[dict[str, str]]:
    rows = []
    for split in ("train", "dev", "test"):
        with (folder / TASKS[task].file_name(split)).open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file, delimiter="\t"))
    return rows


def test_the_seed_decides_every_byte(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        write_toy(tmp_path / name, seed)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 9
    for name in names:
        content = (folder / name).read_bytes()
        assert (tmp_path / "same" / name).read_bytes() == content
        assert (tmp_path / "other" / name).read_bytes() != content


def test_it_loads_without_a_remark(tiny: Pretrained) -> None:
    loaded = load_dataset(InputSettings(data="toy"), tiny.tokenizer(), cache=None)
    assert (loaded.name, loaded.classes, loaded.notes) == ("toy", 5, ())
    for splits in loaded.splits.values():
        sizes = {name: len(split) for name, split in splits.items()}
        assert sizes["train"] >= 600
        assert min(sizes["dev"], sizes["test"]) >= 200
        assert splits["test"].labels is None


@pytest.mark.parametrize("task", TASK_NAMES)
def test_no_example_comes_twice(folder: Path, task: Task) -> None:
    rows = rows_of(folder, task)
    columns = TASKS[task].sentence_columns
    assert len({frozenset(row[column] for column in columns) for row in rows}) == len(rows)
    assert len({row["id"] for row in rows}) == len(rows)


def test_labels_are_balanced(folder: Path) -> None:
    shares: dict[Task, Counter[float]] = {}
    for task in TASK_NAMES:
        labels = [row.get(TASKS[task].label_column) for row in rows_of(folder, task)]
        known = [round(float(label)) for label in labels if label is not None]
        assert len(known) == len(labels) - toy.SIZES["test"]
        shares[task] = Counter({value: n / len(known) for value, n in Counter(known).items()})
    assert shares["sst"].keys() == set(range(5))
    assert all(0.15 < share < 0.25 for share in shares["sst"].values())
    assert 0.45 < shares["para"][1] < 0.55
    assert shares["sts"].keys() == set(range(6))
    assert all(share > 0.07 for share in shares["sts"].values())


def test_no_word_stands_for_two_things() -> None:
    for concepts in (toy._PEOPLE, toy._THINGS, toy._DEEDS_TO_PEOPLE + toy._DEEDS_TO_THINGS):
        words = [word for concept in concepts for word in concept.split("/")]
        assert len(words) == len(set(words))
    opinions = [word for words in toy._OPINIONS.values() for word in words]
    assert len(opinions) == len(set(opinions))


def test_look_alikes_are_other_events_and_a_change_changes_one_part() -> None:
    generator = random.Random(0)
    for _ in range(500):
        event = toy._event(generator)
        assert toy._look_alike(event, generator) != event
        for part in toy._SHARES:
            changed = vars(toy._changed(event, part, generator))
            differing = [name for name, value in vars(event).items() if changed[name] != value]
            assert differing == [part]
            assert changed["agent"] != changed["target"]


def test_one_event_is_told_in_many_ways() -> None:
    event = toy._Event("doctor/physician", "helped/assisted", "baker", "in the park", never=True)
    told = {toy._worded(event, random.Random(seed)) for seed in range(300)}
    # Two words for the doctor, two for the deed, two voices, two places for the place.
    assert len(told) == 16
    assert "In the park the physician never assisted the baker." in told
    assert "The baker was never helped by the doctor in the park." in told


@pytest.fixture(scope="module")
def minilm() -> Pretrained:
    return load_pretrained("minilm", layers=2)


@pytest.fixture(scope="module")
def toy_data(minilm: Pretrained) -> Dataset:
    return load_dataset(InputSettings(data="toy"), minilm.tokenizer(), cache=None)


@pytest.mark.slow
def test_one_epoch_learns_much_but_not_all_and_loss_weights_matter(
    minilm: Pretrained, toy_data: Dataset
) -> None:
    scores = {}
    for weights in ((1, 1, 1), (8, 1, 1), (1, 16, 16)):
        config = TrainConfig.check({"epochs": 1, "loss_weights": weights})
        scores[weights] = Trainer(config, toy_data, minilm, device="cpu").next_report().score
    assert 0.55 < scores[1, 1, 1] < 0.90
    assert max(scores.values()) - min(scores.values()) > 0.03
