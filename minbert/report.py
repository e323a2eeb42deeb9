"""Report: what a training run says of itself after each dev evaluation."""

from typing import Annotated

from pydantic import Field

from .config import Backend
from .settings import Settings
from .tasks import Task

# What is read back may have been written by anyone, so numbers have ends.
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
    """what else the dev answers say of each task: F1, confusion, Spearman, ``constant`` answers"""
    losses: dict[Task, float]
    """mean unweighted training loss of each task since the report before"""
    negatives: Count
    """negative pairs seen so far"""
    lr: float
    """learning rate of the encoder's last layer at the last training step"""
    grad_norm: float
    """mean gradient norm since the report before, before clipping"""
    tokens: Count
    """training tokens since the report before, [CLS] and [SEP] included, no padding"""
    train_seconds: Seconds
    """seconds of training since the report before"""
    dev_seconds: Seconds
    """seconds of this dev evaluation"""
    linear: Backend = "blas"
    """what multiplied the matrices of linear layers, on a CPU in fp32"""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.train_seconds if self.train_seconds else 0.0
