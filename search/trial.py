"""One trial on a worker: a tune.Trainable around minbert's Trainer."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from ray import tune
from ray.tune.result import DONE, SHOULD_CHECKPOINT

from minbert.config import TrainConfig
from minbert.data import Dataset
from minbert.encoder import Encoder
from minbert.hub import Pretrained
from minbert.model import MultitaskModel
from minbert.report import Report
from minbert.train import Trainer

_WEIGHTS, _REPORT = "weights.safetensors", "report.json"


class MinbertTrial(tune.Trainable):
    """Trains one configuration; a step is one report.

    A class and not a function, so that a checkpoint is written exactly where one is asked for,
    and so that a worker process goes on with the next trial.
    """

    def setup(
        self, config: dict[str, Any], *, dataset: Dataset, pretrained: Pretrained, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        self._dataset = dataset
        self._pretrained = pretrained
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config = TrainConfig.model_validate(new_config["config"])
        # Made in the first step: what goes wrong in making it then fails this trial alone.
        self._trainer: Trainer | None = None
        return True

    def step(self) -> dict[str, Any]:
        if self._trainer is None:
            self._trainer = Trainer(self._config, self._dataset, self._pretrained)
        report = self._trainer.next_report()
        return {
            "report": report.model_dump(mode="json"),
            "score": report.score,
            DONE: self._trainer.finished,
            SHOULD_CHECKPOINT: report.kept,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        assert self._trainer is not None
        folder = Path(checkpoint_dir)
        # Tied parameters would not load into a fresh model; there are none.
        weights = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self._trainer.model.state_dict().items()
        }
        safetensors.torch.save_file(weights, folder / _WEIGHTS)
        (folder / _REPORT).write_text(self._trainer.reports[-1].model_dump_json())


def load_checkpoint(
    folder: Path, config: TrainConfig, dataset: Dataset, pretrained: Pretrained
) -> tuple[MultitaskModel, Report]:
    """The model that a trial kept, on the CPU, and its report."""
    encoder = Encoder.from_pretrained(pretrained, config.dropout)
    model = MultitaskModel(encoder, config, dataset.tasks, dataset.classes)
    model.load_state_dict(safetensors.torch.load_file(folder / _WEIGHTS))
    report = Report.model_validate_json((folder / _REPORT).read_text())
    return model.eval(), report
