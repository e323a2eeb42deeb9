"""Report: what a training run says of itself after each dev evaluation."""

from typing import Any

from .settings import Settings
from .tasks import Task


class Report(Settings):
    """One dev evaluation of a run, at a fixed fraction of its epochs."""

    step: int
    """number of this report, from 1"""
    epoch: float
    """epochs trained, fractions included"""
    examples: int
    """training examples seen, negatives included"""
    scores: dict[Task, float]
    """dev score of each task: accuracy (sst, para), Pearson (sts)"""
    score: float
    """the weighted score of ``scores`` under the run's objective"""
    kept: bool
    """the run keeps this report's checkpoint, until a later one replaces it"""
    metrics: dict[Task, dict[str, Any]]
    """what else the dev answers say of each task: F1, confusion, Spearman, ``constant`` answers"""
    losses: dict[Task, float]
    """mean unweighted training loss of each task since the report before"""
    negatives: int
    """negative pairs seen so far"""
    lr: float
    """learning rate of the encoder's last layer at the last training step"""
    grad_norm: float
    """mean gradient norm since the report before, before clipping"""
    tokens: int
    """training tokens since the report before, [CLS] and [SEP] included, no padding"""
    train_seconds: float
    """seconds of training since the report before"""
    dev_seconds: float
    """seconds of this dev evaluation"""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.train_seconds if self.train_seconds else 0.0
