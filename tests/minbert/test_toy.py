"""The generated data set: its layout, its balance, and that it is neither trivial nor hopeless."""

import csv
import itertools
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from minbert import toy
from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.evaluate import grade
from minbert.examples import Dataset
from minbert.hub import Pretrained, load_pretrained
from minbert.tasks import TASK_NAMES, TASKS, SplitName, Task
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
    for task, splits in loaded.splits.items():
        assert {name: len(split) for name, split in splits.items()} == toy.SIZES[task]
        assert splits["test"].labels is None


def test_tasks_are_as_unequal_as_the_real_ones_and_every_dev_score_means_something() -> None:
    train = {task: sizes["train"] for task, sizes in toy.SIZES.items()}
    assert train["para"] / train["sts"] == pytest.approx(16, rel=0.02)
    assert train["sst"] / train["sts"] == pytest.approx(1.5, rel=0.02)
    # The whole is as much work as three equal tasks of 1,200 were, so `make search` stays short.
    assert 3_000 < sum(train.values()) <= 3_600
    for sizes in toy.SIZES.values():
        # Standard error of an accuracy: at most .5 / √n.
        assert 0.5 / sizes["dev"] ** 0.5 < 0.05


@pytest.mark.parametrize("task", TASK_NAMES)
def test_no_example_comes_twice(folder: Path, task: Task) -> None:
    rows = rows_of(folder, task)
    columns = TASKS[task].sentence_columns
    assert len({frozenset(row[column] for column in columns) for row in rows}) == len(rows)
    assert len({row["id"] for row in rows}) == len(rows)


def drawn(task: Task, examples: int = 5_000) -> tuple[np.ndarray, np.ndarray]:
    """What is true of so many examples, and their labels."""
    rows = list(itertools.islice(toy._distinct(task, 0), examples))
    labels = [float(toy._label_text(task, row.label)) for row in rows]
    return np.array([float(row.truth) for row in rows]), np.array(labels)


def test_labels_are_balanced() -> None:
    shares: dict[Task, Counter[float]] = {}
    for task in TASK_NAMES:
        _, labels = drawn(task)
        counts = Counter(np.round(labels).tolist())
        shares[task] = Counter({value: n / len(labels) for value, n in counts.items()})
    assert shares["sst"].keys() == set(range(5))
    assert all(0.17 < share < 0.23 for share in shares["sst"].values())
    assert 0.48 < shares["para"][1] < 0.52
    assert shares["sts"].keys() == set(range(6))
    assert all(share > 0.1 for share in shares["sts"].values())


def test_labels_are_about_as_noisy_as_the_real_ones() -> None:
    # The figures of the module's docstring: what a reader scores who answers the truth.
    ceilings: dict[Task, float] = {"sst": 0.56, "para": 0.90, "sts": 0.90}
    for task, ceiling in ceilings.items():
        truth, labels = drawn(task)
        assert grade(task, truth, labels, classes=5).score == pytest.approx(ceiling, abs=0.01)
        # And nobody scores more: the truth is the most likely label, or its mean grows with it.
        of_each = [labels[truth == value] for value in np.unique(truth)]
        if task == "sts":
            means = [float(each.mean()) for each in of_each]
            assert means == sorted(means)
        else:
            for value, each in zip(np.unique(truth), of_each, strict=True):
                assert Counter(each.tolist()).most_common(1)[0][0] == value


def test_hidden_labels_are_those_of_the_test_rows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = toy.hidden_labels(0)
    # Test rows that are written as train rows have labels.
    sizes: dict[Task, dict[SplitName, int]] = {
        task: {"train": sum(sizes.values())} for task, sizes in toy.SIZES.items()
    }
    monkeypatch.setattr(toy, "SIZES", sizes)
    write_toy(tmp_path)
    for task in TASK_NAMES:
        spec = TASKS[task]
        with (tmp_path / spec.file_name("train")).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))[-len(hidden[task]) :]
        tested = rows_of(folder, task)[-len(rows) :]
        assert spec.label_column not in tested[0]
        for column in spec.sentence_columns:
            assert [row[column] for row in rows] == [row[column] for row in tested]
        assert [float(row[spec.label_column]) for row in rows] == hidden[task]


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
    scores: dict[tuple[int, ...], dict[Task, float]] = {}
    for weights in ((1, 1, 1), (1, 16, 1), (16, 1, 16)):
        config = TrainConfig.check({"epochs": 1, "loss_weights": weights})
        scores[weights] = Trainer(config, toy_data, minilm, device="cpu").next_report().scores
    means = {weights: sum(each.values()) / len(each) for weights, each in scores.items()}
    # Of .79 that can be had.
    assert 0.55 < means[1, 1, 1] < 0.70
    assert max(means.values()) - min(means.values()) > 0.02
    # Weight moves skill from one task to another.
    for_para, against_para = scores[1, 16, 1], scores[16, 1, 16]
    assert for_para["para"] - against_para["para"] > 0.05
    assert against_para["sst"] - for_para["sst"] > 0.05
