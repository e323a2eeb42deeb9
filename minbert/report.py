"""Report: the results of a training run at one dev evaluation."""

from typing import Annotated

from pydantic import Field

from .config import Backend
from .settings import Settings
from .tasks import Task

# What is read back may have been written by anyone, so numbers have bounds.
Count = Annotated[int, Field(ge=0, lt=2**62)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Metric = bool | float | list[list[int]]


class Report(Settings):
    """One dev evaluation of a run, at a fixed fraction of its epochs."""

    step: Count
    """number of this report, from 1"""
    epoch: Annotated[float, Field(ge=0, le=1e6)]
    """epochs trained, fractions included"""
    examples: Count
    """training examples seen, negatives included"""
    scores: dict[Task, float]
    """dev score of each task: accuracy (sst, para), Pearson (sts)"""
    score: float
    """the weighted score of ``scores`` under the run's objective"""
    kept: bool
    """the run keeps this report's checkpoint, until a later one replaces it"""
    metrics: dict[Task, dict[str, Metric]]
    """further metrics of each task: F1, confusion, Spearman, ``constant`` predictions"""
    losses: dict[Task, float]
    """mean unweighted training loss of each task since the previous report"""
    negatives: Count
    """negative pairs seen so far"""
    lr: float
    """learning rate of the encoder's last layer at the last training step"""
    grad_norm: float
    """mean gradient norm since the previous report, before clipping"""
    tokens: Count
    """training tokens since the previous report, [CLS] and [SEP] included, no padding"""
    train_seconds: Seconds
    """seconds of training since the previous report"""
    dev_seconds: Seconds
    """seconds of this dev evaluation"""
    linear: Backend = "blas"
    """the library for matrix products in linear layers, on a CPU in fp32"""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.train_seconds if self.train_seconds else 0.0
