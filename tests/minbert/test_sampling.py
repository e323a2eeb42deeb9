from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbert.config import TrainConfig
from minbert.sampling import batch_rows, steps_per_epoch, task_order
from minbert.tasks import Task

SIZES: dict[Task, int] = {"sst": 10, "para": 25, "sts": 7}  # 3 + 7 + 2 batches of 4


def config(**changes: object) -> TrainConfig:
    return TrainConfig().replace(batch_size=4, epochs=2, **changes)


def test_sequential_is_one_task_after_another() -> None:
    order = task_order(config(sampling="sequential"), SIZES, 0)
    assert order == ["sst"] * 3 + ["para"] * 7 + ["sts"] * 2
    assert steps_per_epoch(SIZES, 4) == 12


def test_turns_go_on_across_epochs() -> None:
    turns = [*task_order(config(sampling="round_robin"), {"sst": 9, "para": 1, "sts": 1}, 0)]
    turns += task_order(config(sampling="round_robin"), {"sst": 9, "para": 1, "sts": 1}, 1)
    assert turns == ["sst", "para", "sts", "sst", "para"] * 1 + ["sts", "sst", "para", "sts", "sst"]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_proportional_draws_by_size_to_a_power(exponent: float) -> None:
    sizes: dict[Task, int] = {"sst": 8_000, "para": 72_000}
    drawn = Counter(
        task_order(config(sampling_exponent=exponent, sampling_exponent_end=exponent), sizes, 0)
    )
    expected = 9**exponent / (1 + 9**exponent)
    assert drawn["para"] / drawn.total() == pytest.approx(expected, abs=0.01)


def test_exponent_anneals_over_the_whole_run() -> None:
    sizes: dict[Task, int] = {"sst": 8_000, "para": 72_000}
    first, last = (
        Counter(task_order(config(sampling_exponent_end=0.0), sizes, epoch))["para"] / 20_000
        for epoch in (0, 1)
    )
    # The exponent averages .75 in the first of two epochs and .25 in the second.
    assert first == pytest.approx(9**0.75 / (1 + 9**0.75), abs=0.01)
    assert last == pytest.approx(9**0.25 / (1 + 9**0.25), abs=0.01)


@given(size=st.integers(1, 60), batch_size=st.integers(1, 9), epoch=st.integers(0, 3))
def test_a_pass_sees_every_example_once(size: int, batch_size: int, epoch: int) -> None:
    settings = TrainConfig().replace(batch_size=batch_size)
    batches = -(-size // batch_size)
    for first in (0, batches):
        rows = [batch_rows(settings, "sst", size, epoch, first + b) for b in range(batches)]
        assert sorted(np.concatenate(rows)) == list(range(size))
        assert all(len(batch) <= batch_size for batch in rows)


def test_order_differs_between_epochs_passes_tasks_and_seeds() -> None:
    settings = TrainConfig().replace(batch_size=100)
    orders = [
        batch_rows(settings, "sst", 100, 0, 0),
        batch_rows(settings, "sst", 100, 1, 0),
        batch_rows(settings, "sst", 100, 0, 1),
        batch_rows(settings, "para", 100, 0, 0),
        batch_rows(settings.replace(seed=1), "sst", 100, 0, 0),
    ]
    assert len({tuple(order) for order in orders}) == len(orders)
    assert (batch_rows(settings, "sst", 100, 0, 0) == orders[0]).all()
