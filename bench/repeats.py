"""Configurations trained with many seeds, for the truth behind confirmations.

    python -m bench.repeats record --data DIR [--of small] [--out DIR]   train them, on all cores
    python -m bench.repeats collect [--of small] [--out DIR]   write the file in bench/bank

Configurations near the recipe ``strong`` and the recipe itself are trained as those of the bank
(``bench.bank``), each with the same seeds. A training leaves out a fold of the training examples.
The model that it selects predicts dev, that fold, and held-out examples that no training sees. The
file of the bank holds labels and predictions, and no sentence.

    small  16 configurations, 8 seeds each, 800 training examples of each task
    full   the recipe and the best of them, 5 seeds each, all training examples; none are held out
"""

import argparse
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from bench.averaging import chosen
from bench.bank import FOLDER
from bench.truth import CLASSES
from minbert.config import InputSettings, TrainConfig, recipe
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.evaluate import grade, predict_split
from minbert.examples import Split
from minbert.folds import texts_of
from minbert.settings import run_command
from minbert.tasks import TASK_NAMES, Task
from minbert.train import Trainer
from search.confirmation.trainings import FOLDS
from search.inputs import Fold, LoadedInputs, load_inputs
from search.storage.predictions import TaskArrays

Place = Literal["dev", "fold", "held"]
# A score that a configuration of a search's upper half reaches.
_LOWEST = 0.55
_MOST_CONFIGURATIONS = 16


@dataclass(frozen=True)
class Recording:
    """Trainings of some configurations with the same seeds.

    Attributes:
        file: their file in the bank.
        inputs: what they are trained on, less the folder of the data.
        configurations: how many.
        seeds: how many, from 0.
        held_out: examples of each task that no training sees.
    """

    file: Path
    inputs: InputSettings
    configurations: int
    seeds: int
    held_out: int

    @property
    def trainings(self) -> list[tuple[int, int]]:
        """Every configuration with its first seed, then with the next."""
        return [
            (number, seed) for seed in range(self.seeds) for number in range(self.configurations)
        ]

    @property
    def places(self) -> tuple[Place, ...]:
        """What the models predict."""
        return ("dev", "fold", "held") if self.held_out else ("dev", "fold")


RECORDINGS = {
    "small": Recording(
        FOLDER / "repeats.npz",
        InputSettings(encoder="minilm", layers=1, train_limit=800, dev_limit=800),
        configurations=_MOST_CONFIGURATIONS,
        seeds=8,
        held_out=3000,
    ),
    "full": Recording(
        FOLDER / "repeats-full.npz",
        InputSettings(encoder="minilm", layers=1),
        configurations=2,
        seeds=FOLDS,
        held_out=0,
    ),
}


def configurations() -> list[TrainConfig]:
    """The recipe, then configurations of the bank from the best down."""
    first = recipe("strong").replace(epochs=3)
    found = chosen(_MOST_CONFIGURATIONS, _LOWEST)
    others = [config for config in found if config.effective() != first.effective()]
    return [first, *others[: _MOST_CONFIGURATIONS - 1]]


def held_out(inputs: LoadedInputs, count: int) -> dict[Task, Split]:
    """Training examples that share no sentence with those that are trained on."""
    if not count:
        return {}
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
        found[task] = split.select(np.sort(draw.choice(rows, count, replace=False)))
    return found


def train(
    config: TrainConfig, fold: Fold, inputs: LoadedInputs, held: Mapping[Task, Split]
) -> dict[Place, TaskArrays]:
    """What the model that a training selects predicts, by place."""
    rest, left_out = inputs.judged_by(fold)
    trainer = Trainer(config, rest.dataset, inputs.pretrained)
    selected: dict[str, torch.Tensor] = {}
    while not trainer.finished:
        if trainer.next_report().kept:
            selected = {name: each.clone() for name, each in trainer.model.state_dict().items()}
    trainer.model.load_state_dict(selected)
    dev = {task: inputs.dataset.splits[task]["dev"] for task in TASK_NAMES}
    places: dict[Place, Mapping[Task, Split]] = {"dev": dev, "fold": left_out, "held": held}
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


def _record_one(of: str, out: Path, data: str, number: int, seed: int) -> str:
    torch.set_num_threads(1)
    recording = RECORDINGS[of]
    inputs = load_inputs(recording.inputs.replace(data=data))
    config = configurations()[number].replace(seed=seed)
    held = held_out(inputs, recording.held_out)
    found = train(config, Fold(seed % FOLDS, FOLDS), inputs, held)
    arrays = {
        f"{place}_{task}": array
        for place in recording.places
        for task, array in small(found[place]).items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs know no names
    path = _file_of(out, number, seed)
    path.with_suffix(".part").write_bytes(buffer.getvalue())
    path.with_suffix(".part").replace(path)
    return path.name


def _file_of(out: Path, number: int, seed: int) -> Path:
    return out / f"{number:02d}-{seed}.npz"


def record(of: str, out: Path, data: str, workers: int) -> None:
    """Train what is not in the folder yet."""
    out.mkdir(parents=True, exist_ok=True)
    missing = [task for task in RECORDINGS[of].trainings if not _file_of(out, *task).exists()]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        made = [pool.apply_async(partial(_record_one, of, out, data), task) for task in missing]
        for number, result in enumerate(made, 1):
            print(f"{number} of {len(made)}: {result.get()}", file=sys.stderr, flush=True)


def collect(of: str, out: Path, data: str) -> None:
    """Write the file of the bank from a folder that is complete."""
    recording = RECORDINGS[of]
    missing = [task for task in recording.trainings if not _file_of(out, *task).exists()]
    if missing:
        raise InputError(f"{out}: {len(missing)} trainings are missing; record them first")
    inputs = load_inputs(recording.inputs.replace(data=data))
    held, folds = held_out(inputs, recording.held_out), inputs.folds(FOLDS)
    arrays: dict[str, np.ndarray] = {}
    for task in TASK_NAMES:
        splits = inputs.dataset.splits[task]
        arrays[f"labels_dev_{task}"] = _labels(splits["dev"])
        arrays[f"labels_train_{task}"] = _labels(splits["train"])
        arrays[f"folds_{task}"] = folds.of[task]
        if held:
            arrays[f"labels_held_{task}"] = _labels(held[task])
    for number, seed in recording.trainings:
        with np.load(_file_of(out, number, seed)) as file:
            arrays |= {f"{number}_{seed}_{name}": file[name] for name in file}
    configs = [c.model_dump(mode="json") for c in configurations()[: recording.configurations]]
    arrays["configurations"] = np.frombuffer(json.dumps(configs).encode(), np.uint8)
    with recording.file.open("wb") as opened:
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]  # the stubs know no names
    size = recording.file.stat().st_size
    print(f"{recording.file}: {len(recording.trainings)} trainings, {size:,} bytes")


def _labels(split: Split) -> np.ndarray:
    assert split.labels is not None
    return split.labels.astype(np.float16)


@dataclass(frozen=True)
class Bank:
    """Recorded trainings of some configurations, the recipe's first.

    Attributes:
        configurations: that are trained.
        labels: of dev, of the held-out examples if there are any, and of the training examples
            (``fold``).
        folds: the fold of each training example.
        predictions: (configurations, seeds) arrays of each task by place; those for a fold have
            the examples of the fold that the seed leaves out.
    """

    configurations: tuple[TrainConfig, ...]
    labels: Mapping[Place, TaskArrays]
    folds: TaskArrays
    predictions: Mapping[Place, Mapping[Task, list[list[np.ndarray]]]]

    @property
    def seeds(self) -> int:
        """Number of seeds of a configuration."""
        return len(self.predictions["dev"]["sst"][0])

    @property
    def unseen(self) -> Place:
        """The examples that all trainings predict: held-out ones, or else dev.

        Dev chose the checkpoint of each training, so scores there are optimistic, of all alike.
        """
        return "held" if "held" in self.labels else "dev"

    def labels_for(self, place: Place, seed: int) -> TaskArrays:
        """Labels of the examples that a seed's predictions are for."""
        labels = self.labels[place]
        if place != "fold":
            return labels
        return {task: labels[task][self.folds[task] == seed % FOLDS] for task in TASK_NAMES}

    def scores(self, place: Place) -> np.ndarray:
        """Scores of equal task weights, (configurations, seeds)."""
        found = np.zeros((len(self.configurations), self.seeds))
        for number in range(len(self.configurations)):
            for seed in range(self.seeds):
                labels = self.labels_for(place, seed)
                found[number, seed] = np.mean(
                    [
                        grade(
                            task, self.predictions[place][task][number][seed], given, CLASSES
                        ).score
                        for task, given in labels.items()
                    ]
                )
        return found

    @property
    def truths(self) -> np.ndarray:
        """Mean differences to the recipe on unseen examples, (configurations,)."""
        mean = self.scores(self.unseen).mean(axis=1)
        differences: np.ndarray = mean - mean[0]
        return differences


@cache
def load_bank(of: str = "small") -> Bank:
    """The trainings of a recording."""
    recording = RECORDINGS[of]
    with np.load(recording.file) as file:
        arrays = {name: file[name] for name in file}
    configs = json.loads(arrays["configurations"].tobytes())
    names = {place: "train" if place == "fold" else place for place in recording.places}
    return Bank(
        configurations=tuple(TrainConfig.model_validate(config) for config in configs),
        labels={
            place: {t: arrays[f"labels_{name}_{t}"].astype(np.float32) for t in TASK_NAMES}
            for place, name in names.items()
        },
        folds={task: arrays[f"folds_{task}"] for task in TASK_NAMES},
        predictions={
            place: {
                task: [
                    [
                        arrays[f"{number}_{seed}_{place}_{task}"].astype(np.float32)
                        for seed in range(recording.seeds)
                    ]
                    for number in range(len(configs))
                ]
                for task in TASK_NAMES
            }
            for place in names
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("record", "collect"))
    parser.add_argument("--data", default="glue", help="as for search.run")
    parser.add_argument("--of", choices=tuple(RECORDINGS), default="small", help="which of them")
    parser.add_argument("--out", type=Path, help="folder of the recorded files")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    out = arguments.out or Path(f"repeats-{arguments.of}")
    if arguments.what == "record":
        record(arguments.of, out, arguments.data, arguments.workers)
    else:
        collect(arguments.of, out, arguments.data)
    return 0


if __name__ == "__main__":
    run_command(main)
