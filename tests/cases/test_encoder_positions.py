"""Texts that are too long for an encoder's positions are refused before anything starts."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minbert.__main__ import main as minbert_main
from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.encoder_config import EncoderConfig
from minbert.errors import InputError
from minbert.examples import Dataset
from minbert.hub import load_pretrained
from minbert.positions import check_positions
from minbert.train import Trainer
from search.plan import make_plan
from search.propose.spaces import load_space
from search.session import Session
from search.settings import StudySettings
from tests.conftest import write_course_folder

from .encoders import WORDS, shape_of, write_encoder


@pytest.fixture(scope="module")
def long_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Course files: one long dev sentence of 24 word pieces, and test pairs of 41 and 40."""
    folder = write_course_folder(tmp_path_factory.mktemp("long") / "data", train=10, dev=6, test=3)
    rewrite(folder / "ids-sst-dev.csv", 4, [" ".join("a" * 24)])
    rewrite(folder / "sts-test-student.csv", 2, [" ".join("b" * 41), " ".join("c" * 40)])
    return folder


def rewrite(path: Path, line: int, texts: list[str]) -> None:
    """Replace the sentences of one line of a file."""
    lines = path.read_text().splitlines()
    cells = lines[line].split("\t")
    cells[2 : 2 + len(texts)] = texts
    lines[line] = "\t".join(cells)
    path.write_text("\n".join(lines) + "\n")


def load(folder: Path, **inputs: Any) -> Dataset:
    tokenizer = load_pretrained("tiny").tokenizer()
    return load_dataset(InputSettings(data=str(folder), **inputs), tokenizer, cache=None)


def with_positions(positions: int, segments: int = 2) -> EncoderConfig:
    return shape_of(WORDS, max_positions=positions, segments=segments)


SENTIMENT = TrainConfig(train_tasks=("sst",))
JOINT = TrainConfig(pair_encoding="joint", para_head="linear", sts_head="linear")


def test_the_longest_sentence_is_held_against_the_positions(long_data: Path) -> None:
    dataset = load(long_data, tasks=("sst",))
    check_positions(dataset, with_positions(26), [SENTIMENT])
    with pytest.raises(
        InputError,
        match=r"^ids-sst-dev\.csv: a sentence of 24 word pieces needs 26 positions with "
        r"\[CLS\] and \[SEP\], but the encoder has 25; give --max-length 23$",
    ):
        check_positions(dataset, with_positions(25), [SENTIMENT])
    check_positions(load(long_data, tasks=("sst",), max_length=23), with_positions(25), [SENTIMENT])


def lengths(dataset: Dataset, task: Any, name: Any) -> tuple[np.ndarray, np.ndarray]:
    split = dataset.splits[task][name]
    counts = np.diff(split.offsets)
    assert split.second is not None
    return counts[split.first], counts[split.second]


def test_pairs_that_are_encoded_together_are_held_against_the_positions(long_data: Path) -> None:
    dataset = load(long_data, tasks=("para", "sts"))
    config = JOINT.replace(train_tasks=("para", "sts"))
    needed = max(
        int((first + second).max()) + 3
        for task in ("para", "sts")
        for name in ("train", "dev", "test")
        for first, second in [lengths(dataset, task, name)]
    )
    check_positions(dataset, with_positions(needed), [config])
    with pytest.raises(InputError, match=r"word pieces needs \d+ positions .*joint") as caught:
        check_positions(dataset, with_positions(needed - 1), [TrainConfig(), config])
    longest = int(re.findall(r"--max-length (\d+)", str(caught.value))[0])
    assert longest == (needed - 4) // 2
    cut = load(long_data, tasks=("para", "sts"), max_length=longest)
    check_positions(cut, with_positions(needed - 1), [TrainConfig(), config])


def test_a_test_split_counts(long_data: Path) -> None:
    """Its predictions are written at a search's end."""
    dataset = load(long_data, tasks=("sts",))
    config = JOINT.replace(train_tasks=("sts",))
    with pytest.raises(InputError, match=r"sts-test-student\.csv: a pair of 41 and 40 word pieces"):
        check_positions(dataset, with_positions(83), [config])
    check_positions(dataset, with_positions(84), [config])
    # Rows that a sample leaves out are never encoded.
    splits = dataset.splits["sts"]
    splits["test"] = splits["test"].select(np.array([0, 2]))
    check_positions(dataset, with_positions(83), [config])


def test_training_rows_of_a_task_that_is_not_trained_on_do_not_count(tmp_path: Path) -> None:
    folder = write_course_folder(tmp_path / "data", train=6, dev=4, test=2)
    rewrite(folder / "sts-train.csv", 3, [" ".join("a" * 60), "b"])
    dataset = load(folder)
    check_positions(dataset, with_positions(61), [SENTIMENT])
    with pytest.raises(InputError, match=r"sts-train\.csv: a sentence of 60 word pieces"):
        check_positions(dataset, with_positions(61), [SENTIMENT, TrainConfig()])


def test_negatives_may_put_any_two_sentences_together(tmp_path: Path) -> None:
    folder = write_course_folder(tmp_path / "data", train=6, dev=4, test=2)
    for line, texts in ((1, ["a " * 30, "b"]), (2, ["c " * 25, "d"])):
        rewrite(folder / "sts-train.csv", line, texts)
    dataset = load(folder, tasks=("sts",))
    config = JOINT.replace(train_tasks=("sts",))
    first, second = lengths(dataset, "sts", "train")
    pairs = int((first + second).max()) + 3
    check_positions(dataset, with_positions(max(pairs, 34)), [config])
    with pytest.raises(InputError, match=r"a negative pair of 30 and 25 word pieces needs 58"):
        check_positions(dataset, with_positions(57), [config.replace(negatives=0.5)])
    check_positions(dataset, with_positions(58), [config.replace(negatives=0.5)])


def test_an_encoder_of_one_segment_is_refused_for_joint_pairs(long_data: Path) -> None:
    dataset = load(long_data)
    check_positions(dataset, with_positions(512, segments=1), [TrainConfig()])
    with pytest.raises(InputError, match="pair_encoding: the encoder knows one segment only"):
        check_positions(dataset, with_positions(512, segments=1), [TrainConfig(), JOINT])
    # Without pairs there is nothing that needs the second segment.
    sentences = load(long_data, tasks=("sst",))
    check_positions(sentences, with_positions(512, segments=1), [JOINT])


def test_no_length_helps_an_encoder_with_too_few_positions(long_data: Path) -> None:
    with pytest.raises(InputError, match=r"has 5; take an encoder with more positions$"):
        check_positions(load(long_data), with_positions(5), [TrainConfig()])


def few_positions(folder: Path, positions: int) -> str:
    write_encoder(folder, max_positions=positions)
    return str(folder)


def test_train_refuses_what_is_too_long_before_it_writes_anything(
    tmp_path: Path, long_data: Path
) -> None:
    encoder = few_positions(tmp_path / "encoder", 16)
    out = tmp_path / "model"
    argv = ["train", "--data", str(long_data), "--encoder", encoder, "--out", str(out)]
    with pytest.raises(InputError, match=r"\.csv: a sentence of .* has 16; give --max-length 14$"):
        minbert_main(argv)
    assert not out.exists()


SPACE = """
def space(trial):
    kind = trial.suggest_categorical("pair_encoding", CHOICES)
    if kind == "joint":
        return {"pair_encoding": kind, "para_head": "linear", "sts_head": "linear"}
    return {"pair_encoding": kind, "para_head": "difference", "sts_head": "cosine"}
"""


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        ("lr", {}, None),
        ("mine.py", {}, "(pair_encoding joint), but the encoder has 50; give --max-length 23"),
        (
            "separate.py",
            {"try_": ("pair_encoding=joint,para_head=linear,sts_head=linear",)},
            "(pair_encoding joint), but the encoder has 50; give --max-length 23",
        ),
    ],
)
def test_a_search_refuses_what_its_space_may_propose_before_anything_starts(
    space: str, more: dict[str, Any], said: str | None, tmp_path: Path, long_data: Path
) -> None:
    if space.endswith(".py"):
        choices = '["separate"]' if space == "separate.py" else '["separate", "joint"]'
        (tmp_path / space).write_text(SPACE.replace("CHOICES", choices))
        space = str(tmp_path / space)
    search = {"space": space, "trials": 3, "out": str(tmp_path / "runs"), **more}
    settings = StudySettings.check(search)
    encoder = few_positions(tmp_path / "encoder", 50)
    inputs = InputSettings(data=str(long_data), encoder=encoder)
    plan = make_plan(settings, inputs, load_space(settings.space))
    pretrained = load_pretrained(encoder)
    dataset = load_dataset(inputs, pretrained.tokenizer(), cache=None)
    if said is None:
        check_positions(dataset, pretrained.config, plan.configs)
        return
    with pytest.raises(InputError, match=re.escape(said)):
        Session(data=str(long_data), encoder=encoder, **search).run()
    assert not list((tmp_path / "runs").iterdir())


def test_a_configuration_that_slips_through_fails_with_one_line(
    tmp_path: Path, long_data: Path
) -> None:
    pretrained = load_pretrained(few_positions(tmp_path / "encoder", 16))
    dataset = load_dataset(InputSettings(data=str(long_data)), pretrained.tokenizer(), cache=None)
    trainer = Trainer(TrainConfig(epochs=1, batch_size=4), dataset, pretrained, "cpu")
    with pytest.raises(InputError, match="lower --max-length") as caught:
        trainer.next_report()
    assert "\n" not in str(caught.value)


def test_a_saved_model_refuses_other_data_that_are_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_course_folder(tmp_path / "data", train=8, dev=6, test=2)
    joint = ["--pair-encoding", "joint", "--para-head", "linear", "--sts-head", "linear"]
    encoder = few_positions(tmp_path / "encoder", 128)
    model = str(tmp_path / "model")
    argv = ["train", "--data", str(data), "--encoder", encoder, "--out", model, "--epochs", "1"]
    assert minbert_main([*argv, *joint]) == 0
    text = " ".join("a" * 90)
    rewrite(data / "sts-dev.csv", 2, [text, text])
    for command in (
        ["evaluate", "--data", str(data)],
        ["predict", "--data", str(data), "--out", str(tmp_path / "predictions")],
    ):
        with pytest.raises(
            InputError, match=r"^sts-dev\.csv: a pair of 90 and 90 .* has 128; shorten it, or"
        ):
            minbert_main([command[0], "--model", model, *command[1:]])
    with pytest.raises(InputError, match=r"^para test: a pair of 90 and 90 word pieces"):
        minbert_main(["predict", "--model", model, "--text", text, "--text2", text])
    capsys.readouterr()
