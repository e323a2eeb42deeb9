"""Configurations trained with many seeds, for the truth behind confirmations.

    python -m bench.repeats record --data DIR [--out DIR]   train them, on all cores
    python -m bench.repeats collect [--out DIR]             write bench/bank/repeats.npz

Configurations near the recipe ``strong`` and the recipe itself are trained as those of the bank
(``bench.bank``), each with the same seeds. A training leaves out a fold of the training examples.
The model that it selects predicts dev, that fold, and held-out examples that no training sees. The
file of the bank holds labels and predictions, and no sentence.
"""

import argparse
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.averaging import chosen
from bench.bank import FOLDER
from minbert.config import InputSettings, TrainConfig, recipe
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.evaluate import predict_split
from minbert.examples import Split
from minbert.folds import texts_of
from minbert.settings import run_command
from minbert.tasks import TASK_NAMES, Task
from minbert.train import Trainer
from search.confirmation.trainings import FOLDS
from search.inputs import Fold, LoadedInputs, load_inputs
from search.storage.predictions import TaskArrays

FILE = FOLDER / "repeats.npz"
CONFIGURATIONS, SEEDS = 16, 8
HELD_OUT = 3000
INPUTS = InputSettings(encoder="minilm", layers=1, train_limit=800, dev_limit=800)
# A score that a configuration of a search's upper half reaches.
_LOWEST = 0.55


def configurations() -> list[TrainConfig]:
    """The recipe, then configurations of the bank from the best down."""
    first = recipe("strong").replace(epochs=3)
    others = [c for c in chosen(CONFIGURATIONS, _LOWEST) if c.effective() != first.effective()]
    return [first, *others[: CONFIGURATIONS - 1]]


def held_out(inputs: LoadedInputs) -> dict[Task, Split]:
    """Training examples that share no sentence with those that are trained on."""
    everything = load_dataset(
        inputs.settings.replace(train_limit=None), inputs.pretrained.tokenizer()
    )
    used = np.unique(
        np.concatenate([texts_of(inputs.dataset.splits[t]["train"]).ravel() for t in TASK_NAMES])
    )
    found: dict[Task, Split] = {}
    for number, task in enumerate(TASK_NAMES):
        split = everything.splits[task]["train"]
        rows = np.flatnonzero(~np.isin(texts_of(split), used).any(axis=1))
        draw = np.random.default_rng([0, number])
        found[task] = split.select(np.sort(draw.choice(rows, HELD_OUT, replace=False)))
    return found


def train(
    config: TrainConfig, fold: Fold, inputs: LoadedInputs, held: Mapping[Task, Split]
) -> dict[str, TaskArrays]:
    """What the model that a training selects predicts, by place."""
    rest, left_out = inputs.judged_by(fold)
    trainer = Trainer(config, rest.dataset, inputs.pretrained)
    selected: dict[str, torch.Tensor] = {}
    while not trainer.finished:
        if trainer.next_report().kept:
            selected = {name: each.clone() for name, each in trainer.model.state_dict().items()}
    trainer.model.load_state_dict(selected)
    dev = {task: inputs.dataset.splits[task]["dev"] for task in TASK_NAMES}
    places = {"dev": dev, "fold": left_out, "held": held}
    return {
        place: {
            task: predict_split(trainer.model, inputs.dataset, split)
            for task, split in splits.items()
        }
        for place, splits in places.items()
    }


def small(predictions: TaskArrays) -> dict[str, np.ndarray]:
    """Predictions in few bytes.

    Rounding a similarity changes its score by far less than .0001.
    """
    return {
        "sst": predictions["sst"].astype(np.uint8),
        "para": predictions["para"] > 0.5,
        "sts": predictions["sts"].astype(np.float16),
    }


def _record_one(out: Path, data: str, number: int, seed: int) -> str:
    torch.set_num_threads(1)
    inputs = load_inputs(INPUTS.replace(data=data))
    config = configurations()[number].replace(seed=seed)
    found = train(config, Fold(seed % FOLDS, FOLDS), inputs, held_out(inputs))
    arrays = {
        f"{place}_{task}": array
        for place, predictions in found.items()
        for task, array in small(predictions).items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs know no names
    path = _file_of(out, number, seed)
    path.with_suffix(".part").write_bytes(buffer.getvalue())
    path.with_suffix(".part").replace(path)
    return path.name


def _file_of(out: Path, number: int, seed: int) -> Path:
    return out / f"{number:02d}-{seed}.npz"


def _all() -> list[tuple[int, int]]:
    """Every configuration with its first seed, then with the next."""
    return [(number, seed) for seed in range(SEEDS) for number in range(CONFIGURATIONS)]


def record(out: Path, data: str, workers: int) -> None:
    """Train what is not in the folder yet."""
    out.mkdir(parents=True, exist_ok=True)
    missing = [task for task in _all() if not _file_of(out, *task).exists()]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        made = [pool.apply_async(partial(_record_one, out, data), task) for task in missing]
        for number, result in enumerate(made, 1):
            print(f"{number} of {len(made)}: {result.get()}", file=sys.stderr, flush=True)


def collect(out: Path, data: str) -> None:
    """Write the file of the bank from a folder that is complete."""
    if missing := [task for task in _all() if not _file_of(out, *task).exists()]:
        raise InputError(f"{out}: {len(missing)} trainings are missing; record them first")
    inputs = load_inputs(INPUTS.replace(data=data))
    held, folds = held_out(inputs), inputs.folds(FOLDS)
    arrays: dict[str, np.ndarray] = {}
    for task in TASK_NAMES:
        splits = inputs.dataset.splits[task]
        arrays[f"labels_dev_{task}"] = _labels(splits["dev"])
        arrays[f"labels_held_{task}"] = _labels(held[task])
        arrays[f"labels_train_{task}"] = _labels(splits["train"])
        arrays[f"folds_{task}"] = folds.of[task]
    for number, seed in _all():
        with np.load(_file_of(out, number, seed)) as file:
            arrays |= {f"{number}_{seed}_{name}": file[name] for name in file}
    configs = [config.model_dump(mode="json") for config in configurations()]
    arrays["configurations"] = np.frombuffer(json.dumps(configs).encode(), np.uint8)
    with FILE.open("wb") as opened:
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]  # the stubs know no names
    print(f"{FILE}: {len(_all())} trainings, {FILE.stat().st_size:,} bytes")


def _labels(split: Split) -> np.ndarray:
    assert split.labels is not None
    return split.labels.astype(np.float16)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("record", "collect"))
    parser.add_argument("--data", default="glue", help="as for search.run")
    parser.add_argument("--out", type=Path, default=Path("repeats"), help="of the recorded files")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.what == "record":
        record(arguments.out, arguments.data, arguments.workers)
    else:
        collect(arguments.out, arguments.data)
    return 0


if __name__ == "__main__":
    run_command(main)
