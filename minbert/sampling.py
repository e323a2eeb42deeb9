"""Which examples of which task each optimizer step of an epoch sees.

Everything here is a function of the seed and the epoch. So a resumed run draws what it would have
drawn without the interruption, and nothing needs saving.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from .config import TrainConfig
from .tasks import TASK_NAMES, Task


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """An independent random generator for each purpose, which is given as numbers."""
    return np.random.default_rng([seed, *purpose])


def batches_per_pass(examples: int, batch_size: int) -> int:
    return -(-examples // batch_size)


def steps_per_epoch(sizes: Mapping[Task, int], batch_size: int) -> int:
    """Steps needed to see every example once."""
    return sum(batches_per_pass(size, batch_size) for size in sizes.values())


def task_order(config: TrainConfig, sizes: Mapping[Task, int], epoch: int) -> Sequence[Task]:
    """The task of each step of an epoch (from 0).

    Every way of sampling takes the same number of steps: ``sequential`` one task after another,
    ``round_robin`` in turn, ``proportional`` at random with probability size^exponent, where the
    exponent changes linearly from the run's first step to its last (as in Stickland and
    Murray 2019, section 4.1, who lower it with each epoch).
    """
    tasks = list(sizes)
    steps = steps_per_epoch(sizes, config.batch_size)
    if config.sampling == "sequential":
        return [t for t in tasks for _ in range(batches_per_pass(sizes[t], config.batch_size))]
    if config.sampling == "round_robin":
        first = epoch * steps  # so that the turns continue across epochs
        return [tasks[(first + step) % len(tasks)] for step in range(steps)]
    last = max(1, config.epochs * steps - 1)
    progress = (epoch * steps + np.arange(steps)) / last  # (steps,)
    exponent = config.sampling_exponent + progress * (
        config.sampling_exponent_end - config.sampling_exponent
    )
    share = np.array([sizes[task] for task in tasks]) ** exponent[:, None]  # (steps, tasks)
    cumulative = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    draws = generator(config.seed, 0, epoch).random(steps)
    picks = (draws[:, None] >= cumulative[:, :-1]).sum(axis=1)
    return [tasks[pick] for pick in picks]


def batch_rows(config: TrainConfig, task: Task, size: int, epoch: int, batch: int) -> np.ndarray:
    """Rows of the task's ``batch``-th batch (from 0) in an epoch.

    A task that has more batches in an epoch than one pass over its examples goes over them
    again, in another order.
    """
    each_pass = batches_per_pass(size, config.batch_size)
    order = _pass_order(config.seed, epoch, TASK_NAMES.index(task), batch // each_pass, size)
    start = (batch % each_pass) * config.batch_size
    return order[start : start + config.batch_size]


@lru_cache(maxsize=8)  # the batches of a pass follow one another
def _pass_order(seed: int, epoch: int, task: int, pass_: int, size: int) -> np.ndarray:
    return generator(seed, 1, epoch, task, pass_).permutation(size)
