"""The trainer protocol of a search, and its implementation by minBERT's trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from minbert.card import ModelInfo
from minbert.checkpoint import save_model
from minbert.config import TrainConfig
from minbert.encoder import Encoder
from minbert.errors import InputError, first_line
from minbert.evaluate import predict, predict_split, write_predictions
from minbert.examples import Split
from minbert.model import MultitaskModel
from minbert.report import Report
from minbert.tasks import SplitName, Task
from minbert.train import Trainer
from search.storage.checkpoints import WEIGHTS, load_weights
from search.storage.directory import Directory
from search.storage.predictions import TaskArrays

from .inputs import LoadedInputs


class TrialTrainer(Protocol):
    """Trains one configuration report by report. The driver and workers use only these members."""

    @classmethod
    def make(
        cls, config: TrainConfig, inputs: LoadedInputs, *, micro_batch: int | None, scratch: Path
    ) -> Self:
        """A trainer that has not trained yet.

        Args:
            config: what to train.
            inputs: the data and the encoder.
            micro_batch: most examples at once; None for whole batches.
            scratch: a folder that all trials of the search on this machine share.

        Raises:
            InputError: the configuration cannot be trained on these inputs.
        """

    def next_report(self) -> Report:
        """Train up to the next report.

        Raises:
            DivergedError: the loss is not a finite number.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything a later attempt needs to continue; the weights by name are under ``model``."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a ``state_dict``; InputError if it belongs to another configuration."""

    @property
    def predictions(self) -> TaskArrays:
        """The dev predictions (examples,) of the last report, by task."""

    def judge(
        self, weights: Mapping[str, torch.Tensor], examples: Mapping[Task, Split]
    ) -> TaskArrays:
        """A model's predictions (examples,) by task, after the last report.

        Args:
            weights: of a checkpoint of this training.
            examples: that it did not train on.
        """

    @classmethod
    def save(
        cls,
        folder: Path,
        checkpoint: Directory,
        config: TrainConfig,
        report: Report,
        inputs: LoadedInputs,
        recipe: str,
    ) -> None:
        """Save the model of a checkpoint for users, with dev and test predictions.

        Args:
            folder: where to save it.
            checkpoint: directory of the checkpoint.
            config: what was trained.
            report: the checkpoint's report.
            inputs: the data to predict, and the encoder.
            recipe: name of the recipe that the configuration is based on.

        Raises:
            InputError: the checkpoint is damaged.
            OSError: the folder cannot be written.
        """


class MinbertTrainer(Trainer):
    """minBERT's trainer as a ``TrialTrainer``."""

    @classmethod
    def make(
        cls, config: TrainConfig, inputs: LoadedInputs, *, micro_batch: int | None, scratch: Path
    ) -> Self:
        return cls(config, inputs.dataset, inputs.pretrained, micro_batch=micro_batch, kept=scratch)

    def judge(
        self, weights: Mapping[str, torch.Tensor], examples: Mapping[Task, Split]
    ) -> TaskArrays:
        self.model.load_state_dict(weights)
        return {
            task: predict_split(self.model, self.dataset, split) for task, split in examples.items()
        }

    @classmethod
    def save(
        cls,
        folder: Path,
        checkpoint: Directory,
        config: TrainConfig,
        report: Report,
        inputs: LoadedInputs,
        recipe: str,
    ) -> None:
        dataset, pretrained = inputs.dataset, inputs.pretrained
        model = load_model(checkpoint, config, inputs)
        info = ModelInfo(
            inputs=inputs.settings,
            config=config,
            recipe=recipe,
            tasks=dataset.tasks,
            classes=dataset.classes,
            files=dataset.files,
            report=report,
        )
        save_model(folder, model, pretrained.tokenizer(), info)
        splits: tuple[SplitName, ...] = ("dev", "test")
        for split in splits:
            predictions = predict(model, dataset, split)
            write_predictions(folder / "predictions", dataset, split, predictions)


def load_model(checkpoint: Directory, config: TrainConfig, inputs: LoadedInputs) -> MultitaskModel:
    """The model of a checkpoint, on the CPU and ready to predict.

    Raises:
        InputError: a file is missing or truncated, or belongs to another model.
        OSError: a file cannot be read.
    """
    weights = load_weights(checkpoint)
    encoder = Encoder.from_pretrained(inputs.pretrained, config.dropout)
    model = MultitaskModel(encoder, config, inputs.dataset.tasks, inputs.dataset.classes)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{checkpoint}/{WEIGHTS} is of another model: {first_line(error)}"
        ) from None
    return model.eval()
