import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minbert import train as train_module
from minbert.config import TrainConfig
from minbert.errors import InputError
from minbert.evaluate import embed_sentences, grade
from minbert.examples import Dataset
from minbert.hub import Pretrained, load_pretrained
from minbert.model import MultitaskModel
from minbert.report import Report
from minbert.train import DivergedError, Trainer

from .copies import Copies

# Every source of chance at once: dropout, sampling by size, negatives.
CONFIG = TrainConfig(
    batch_size=8, epochs=2, lr=1e-3, negatives=1.0, reports_per_epoch=2, seed=3, dropout=0.2
)
TIMES = {"train_seconds", "dev_seconds"}


def train(trainer: Trainer) -> list[dict[str, Any]]:
    while not trainer.finished:
        trainer.next_report()
    return [report.model_dump(exclude=TIMES) for report in trainer.reports]


def assert_same_weights(a: Trainer, b: Trainer) -> None:
    for (name, left), right in zip(
        a.model.state_dict().items(), b.model.state_dict().values(), strict=True
    ):
        assert torch.equal(left, right), name


JOINT = {"pair_encoding": "joint", "para_head": "linear", "sts_head": "linear", "pooling": "cls"}


@pytest.mark.parametrize(
    ("stop_after", "changes"),  # of 40 steps, with a report after each tenth
    [
        (1, {}),
        (10, {}),
        (27, {}),
        (15, {"optimizer": "radam", "sampling": "sequential"}),
        (15, {"negative_strategy": "hard", "sampling": "round_robin", "select": "any_task"}),
        (15, JOINT),
    ],
)
def test_interrupted_training_equals_uninterrupted_bit_for_bit(
    tiny: Pretrained, dataset: Dataset, stop_after: int, changes: dict[str, object]
) -> None:
    config = CONFIG.replace(**changes)
    whole = Trainer(config, dataset, tiny)
    reports = train(whole)

    class Stop(Exception):  # noqa: N818
        pass

    def stop(trainer: Trainer) -> None:
        if trainer.step == stop_after:
            raise Stop

    first = Trainer(config, dataset, tiny)
    with suppress(Stop):
        while True:
            first.next_report(stop)
    assert first.step == stop_after
    state = first.state_dict()
    torch.manual_seed(99)  # what came before must not matter
    second = Trainer(config, dataset, tiny)
    second.load_state_dict(state)
    assert train(second) == reports
    assert_same_weights(whole, second)


def test_hard_negatives_are_found_once_a_folder_and_change_nothing(
    tiny: Pretrained, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.replace(negative_strategy="hard")
    embedded = []

    def embed(model: MultitaskModel, *arguments: Any) -> np.ndarray:
        embedded.append(model)
        return embed_sentences(model, *arguments)

    monkeypatch.setattr(train_module, "embed_sentences", embed)
    alone = Trainer(config, dataset, tiny)
    reports = train(alone)
    for found in (2, 2):  # by the first of the two
        trainer = Trainer(config, dataset, tiny, kept=tmp_path)
        assert len(embedded) == found
        assert train(trainer) == reports
        assert_same_weights(trainer, alone)
    # What the configuration varies beside the precision matters only afterwards.
    Trainer(config.replace(seed=9, dropout=0, negatives=2, lr=1e-5), dataset, tiny, kept=tmp_path)
    Trainer(config.replace(negative_strategy="random"), dataset, tiny, kept=tmp_path)
    assert len(embedded) == 2
    # Other vectors are never taken for these.
    Trainer(config.replace(precision="bf16"), dataset, tiny, kept=tmp_path)
    name = "embeddings.word_embeddings.weight"
    other = replace(tiny, weights={**tiny.weights, name: tiny.weights[name] + 1})
    Trainer(config, dataset, other, kept=tmp_path)
    Trainer(config, dataset, load_pretrained("tiny", 1), kept=tmp_path)
    splits = dict(dataset.splits["sts"])
    splits["train"] = splits["train"].select(np.arange(30))
    fewer = replace(dataset, splits={**dataset.splits, "sts": splits})
    Trainer(config, fewer, tiny, kept=tmp_path)
    assert len(embedded) == 6


def test_seed_decides_everything(tiny: Pretrained, dataset: Dataset) -> None:
    one, same = Trainer(CONFIG, dataset, tiny), Trainer(CONFIG, dataset, tiny)
    # Trained in turns they would disturb each other if chance were not theirs alone.
    assert train(one) == train(same)
    other = Trainer(CONFIG.replace(seed=4), dataset, tiny)
    assert train(other) != [report.model_dump(exclude=TIMES) for report in one.reports]


def test_reports_come_at_fixed_fractions(tiny: Pretrained, dataset: Dataset) -> None:
    # 5 + 5 + 5 batches of 8 in 40 + 40 + 40 examples, 5 more of negatives: 20 steps an epoch.
    trainer = Trainer(CONFIG.replace(reports_per_epoch=3), dataset, tiny)
    assert trainer.steps_per_epoch == 20
    steps = []
    while not trainer.finished:
        report = trainer.next_report()
        steps.append(trainer.step)
        assert trainer.at_report
        assert report.step == len(steps)
    assert steps == [7, 14, 20, 27, 34, 40]
    assert [report.epoch for report in trainer.reports] == [step / 20 for step in steps]
    with pytest.raises(RuntimeError):
        trainer.next_report()


def test_report_counts_what_was_trained_on(tiny: Pretrained, dataset: Dataset) -> None:
    trainer = Trainer(
        CONFIG.replace(sampling="sequential", reports_per_epoch=1, epochs=1), dataset, tiny
    )
    report = trainer.next_report()
    assert report.examples == 40 + 40 + 80
    assert report.negatives == 40
    sentence_tokens = 0
    for task in ("sst", "para"):
        split = dataset.splits[task]["train"]
        lengths = split.offsets[1:] - split.offsets[:-1] + 2
        sentence_tokens += int(lengths[split.first].sum())
        sentence_tokens += 0 if split.second is None else int(lengths[split.second].sum())
    split = dataset.splits["sts"]["train"]
    assert split.second is not None
    lengths = split.offsets[1:] - split.offsets[:-1] + 2
    true_pairs = int(lengths[split.first].sum() + lengths[split.second].sum())
    negatives = report.tokens - sentence_tokens - true_pairs
    assert 40 * 2 * int(lengths.min()) <= negatives <= 40 * 2 * int(lengths.max())
    assert set(report.losses) == {"sst", "para", "sts"}
    assert report.score == pytest.approx(sum(report.scores.values()) / 3)


def test_untrained_tasks_are_scored_and_their_heads_stay(
    tiny: Pretrained, dataset: Dataset
) -> None:
    trainer = Trainer(CONFIG.replace(train_tasks=("sst",), weight_decay=0), dataset, tiny)
    before = {name: value.clone() for name, value in trainer.model.heads.state_dict().items()}
    report = trainer.next_report()
    assert set(report.scores) == {"sst", "para", "sts"}
    assert set(report.losses) == {"sst"}
    after = trainer.model.heads.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"sst"}


def test_a_task_of_no_loss_weight_does_not_train_its_head(
    tiny: Pretrained, dataset: Dataset
) -> None:
    config = CONFIG.replace(loss_weights=(1, 0, 1), sts_head="difference", weight_decay=0)
    trainer = Trainer(config, dataset, tiny)
    before = {name: value.clone() for name, value in trainer.model.heads.state_dict().items()}
    trainer.next_report()
    after = trainer.model.heads.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"sst", "sts"}


def test_kept_report_follows_the_rule(tiny: Pretrained, dataset: Dataset) -> None:
    trainer = Trainer(CONFIG.replace(select="last"), dataset, tiny)
    train(trainer)
    assert all(report.kept for report in trainer.reports)
    trainer = Trainer(CONFIG.replace(select="objective"), dataset, tiny)
    train(trainer)
    best = max(trainer.reports, key=lambda report: report.score)
    assert trainer.kept is best


def test_divergence_is_said_not_scored(tiny: Pretrained, dataset: Dataset) -> None:
    trainer = Trainer(CONFIG, dataset, tiny)

    def poison(trainer: Trainer) -> None:
        next(trainer.model.parameters()).data.fill_(math.nan)

    with pytest.raises(DivergedError, match="loss became nan by step"):
        trainer.next_report(poison)
    assert trainer.reports == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"reports_per_epoch": 50}, "an epoch has only 20 steps"),
        ({"train_tasks": ("sst",), "loss_weights": (0, 1, 1)}, "loss_weights: 0,1,1 gives no"),
    ],
)
def test_configuration_that_does_not_fit_the_data(
    tiny: Pretrained, dataset: Dataset, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        Trainer(CONFIG.replace(batch_size=8, **changes), dataset, tiny)


def test_encoder_of_one_segment_takes_no_joint_pairs(tiny: Pretrained, dataset: Dataset) -> None:
    narrow = replace(tiny, config=replace(tiny.config, segments=1))
    with pytest.raises(InputError, match="pair_encoding: encoder 'tiny' knows one segment only"):
        Trainer(CONFIG.replace(**JOINT), dataset, narrow)


def test_report_survives_json(tiny: Pretrained, dataset: Dataset) -> None:
    report = Trainer(CONFIG, dataset, tiny).next_report()
    assert Report.model_validate_json(report.model_dump_json()) == report


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_trains_on_cuda_and_goes_on_from_a_state(tiny: Pretrained, dataset: Dataset) -> None:
    trainer = Trainer(CONFIG, dataset, tiny, "cuda")
    first = trainer.next_report()
    assert all(map(math.isfinite, first.scores.values()))
    again = Trainer(CONFIG, dataset, tiny, "cuda")
    again.load_state_dict(trainer.state_dict())
    train(again)
    assert again.finished


def test_a_batch_in_parts_trains_as_the_whole_batch_does(
    tiny: Pretrained, dataset: Dataset
) -> None:
    # Without dropout, which draws other masks for other shapes. RAdam's first steps follow the
    # gradient, where AdamW's follow its sign.
    config = CONFIG.replace(dropout=0.0, optimizer="radam", epochs=1)
    whole = Trainer(config, dataset, tiny, "cpu")
    parts = Trainer(config, dataset, tiny, "cpu", micro_batch=3)
    ours, theirs = train(whole), train(parts)
    for report, other in zip(ours, theirs, strict=True):
        assert report["losses"] == pytest.approx(other["losses"], rel=1e-4)
        assert report["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        for name in ("tokens", "examples", "negatives", "step"):
            assert report[name] == other[name]


def test_predictions_of_the_last_report_are_at_hand(tiny: Pretrained, dataset: Dataset) -> None:
    trainer = Trainer(CONFIG, dataset, tiny, "cpu")
    report = trainer.next_report()
    for task, predictions in trainer.predictions.items():
        labels = dataset.splits[task]["dev"].labels
        assert labels is not None
        assert grade(task, predictions, labels, dataset.classes).score == report.scores[task]


@pytest.mark.parametrize("config", [CONFIG, CONFIG.replace(optimizer="radam", **JOINT)])
def test_a_step_off_the_cpu_copies_once_and_waits_for_nothing(
    tiny: Pretrained, dataset: Dataset, config: TrainConfig
) -> None:
    """On the device of no memory, where whatever reads a value of a tensor fails."""
    trainer = Trainer(config, dataset, tiny, device="meta")
    for _ in range(trainer.steps_per_epoch - 1):
        with Copies() as copies:
            trainer._train_step()
        assert copies.to_device == 1
    with pytest.raises(RuntimeError, match="meta"):
        trainer._make_report()


def test_a_run_goes_on_with_its_back_end(tiny: Pretrained, dataset: Dataset) -> None:
    """Also on a machine where the other one is faster; the last digits would differ."""
    whole, first = Trainer(CONFIG, dataset, tiny), Trainer(CONFIG, dataset, tiny)
    for trainer in (whole, first):
        assert trainer.linear == "blas"
        trainer._use_backend("onednn")
    reports = train(whole)
    assert {report["linear"] for report in reports} == {"onednn"}
    first.next_report()
    second = Trainer(CONFIG, dataset, tiny)
    second.load_state_dict(first.state_dict())
    assert second.linear == "onednn"
    assert train(second) == reports
    assert_same_weights(whole, second)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_of_the_products(tiny: Pretrained, dataset: Dataset, precision: str) -> None:
    config = CONFIG.replace(precision=precision, epochs=1)
    trainer = Trainer(config, dataset, tiny)
    seen = set()
    trainer.model.encoder.layers[0].up.register_forward_hook(  # type: ignore[union-attr]
        lambda _, __, output: seen.add(output.dtype)
    )
    train(trainer)
    assert seen == {{"fp32": torch.float32, "bf16": torch.bfloat16}[precision]}
    # The weights, and what they are saved as, stay as they are.
    assert {each.dtype for each in trainer.model.parameters()} == {torch.float32}
