"""A trainer that trains nothing: its scores are a function of the configuration and the step."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minbert.config import TrainConfig
from minbert.examples import Split
from minbert.report import Report
from minbert.tasks import Task
from search.storage.predictions import TaskArrays

from .simulation import equal_scores, made_up_report


class ScoredTrainer:
    """What a search asks of a trainer, but for ``score`` and ``save``, which a subclass gives."""

    predictions: ClassVar[TaskArrays] = {}

    def __init__(self, config: TrainConfig):
        self._config, self._step = config, 0

    @classmethod
    def make(cls, config: TrainConfig, *_: Any, **__: Any) -> Self:
        return cls(config)

    def score(self, config: TrainConfig, step: int) -> float:
        raise NotImplementedError

    def next_report(self) -> Report:
        self._step += 1
        scores = equal_scores(self.score(self._config, self._step))
        return made_up_report(self._config, self._step, scores, kept=True)

    def judge(self, weights: Mapping[str, Any], examples: Mapping[Task, Split]) -> TaskArrays:  # noqa: ARG002
        """Right for a share of the examples of each task: the configuration's last score.

        Where labels are hidden, it answers 1 for that share, and 0 for the others.
        """
        share = self.score(self._config, self._step)
        predictions: TaskArrays = {}
        for task, split in examples.items():
            right = np.arange(len(split)) < share * len(split)
            labels = np.ones(len(split)) if split.labels is None else split.labels
            predictions[task] = np.where(right, labels, labels == 0)
        return predictions

    def state_dict(self) -> dict[str, Any]:
        return {"model": {}, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
