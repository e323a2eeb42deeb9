"""Replays of confirmations, on made-up trainings whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from bench import confirmations
from bench.components import _tetrachoric, components, shares_of
from bench.confirmations import KINDS, BankWorld, replayed
from bench.repeats import Bank, Place, load_bank
from minbert.config import recipe
from minbert.tasks import TASK_NAMES, Task
from search.confirmation.trainings import FOLDS
from search.storage.predictions import TaskArrays

SEEDS = 8
EXAMPLES = {"dev": 200, "fold": 200, "held": 400}
PLACES: tuple[Place, ...] = ("dev", "fold", "held")


def make_bank(right: Callable[[int, int, np.ndarray], np.ndarray], configs: int = 3) -> Bank:
    """Trainings that are right on the examples (by number) that a function tells."""
    labels: dict[Place, TaskArrays] = {
        place: {task: np.arange(EXAMPLES[place]) % 2.0 for task in TASK_NAMES} for place in PLACES
    }
    folds: TaskArrays = {
        task: (np.arange(EXAMPLES["fold"]) // 2 % FOLDS).astype(np.int8) for task in TASK_NAMES
    }

    def predicted(place: Place, task: Task, number: int, seed: int) -> np.ndarray:
        given = labels[place][task]
        if place == "fold":
            given = given[folds[task] == seed % FOLDS]
        is_right = right(number, seed, np.arange(len(given)))
        answers: np.ndarray = np.where(is_right, given, 1 - given).astype(np.float32)
        return answers

    return Bank(
        configurations=(recipe("strong"),) * configs,
        labels=labels,
        folds=folds,
        predictions={
            place: {
                task: [
                    [predicted(place, task, number, seed) for seed in range(SEEDS)]
                    for number in range(configs)
                ]
                for task in TASK_NAMES
            }
            for place in PLACES
        },
    )


def some_of_ten(number: int, seed: int, rows: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """The recipe is right on 7 of 10 examples, configuration 1 on 9, configuration 2 on 5."""
    shares = (7, 9, 5)
    right: np.ndarray = rows // 2 % 10 < shares[number]
    return right


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Bank:
    made = make_bank(some_of_ten)
    monkeypatch.setattr(confirmations, "load_bank", lambda: made)
    return made


def test_the_truth_is_the_difference_on_held_out_examples(bank: Bank) -> None:
    # Accuracy .9 − .7, and Pearson of binary answers .8 − .4.
    assert bank.truths == pytest.approx([0, (0.2 + 0.2 + 0.4) / 3, (-0.2 - 0.2 - 0.4) / 3])


@pytest.mark.parametrize("kind", KINDS)
def test_a_far_better_configuration_is_confirmed(bank: Bank, kind: str) -> None:
    row = replayed(1, 5, (kind, 1))
    assert row["ending"] == "better"
    assert row["true"] == bank.truths[1]
    assert row["trainings"] == 10


def test_a_pair_has_the_same_seed_and_its_fold_has_the_seeds_that_left_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_bank(lambda number, seed, rows: rows % 10 < 5 + number + seed / 100)
    monkeypatch.setattr(confirmations, "load_bank", lambda: made)
    asked: set[tuple[int, int]] = set()
    for number in range(20):
        world = BankWorld("as it was", number)
        judges = list(world.judges.values())
        for pair in range(7):
            fold = pair % FOLDS
            judge = judges[fold]
            one, other = (world.answers(config, pair, judge) for config in (0, 1))
            assert len(one["sst"]) == len(judge.labels["sst"]) == len(other["sst"])
            asked.add((fold, world._drawn[pair, fold]))
        # No training judges twice.
        assert len(set(world._drawn.values())) == 7
    assert {(fold, seed % FOLDS) for fold, seed in asked} == {(fold, fold) for fold in range(FOLDS)}
    assert {seed for _, seed in asked} == set(range(SEEDS))


def test_shares_tell_examples_configurations_and_runs_apart() -> None:
    draw = np.random.default_rng(0)
    by_example = draw.random(1000) < 0.5
    same = make_bank(lambda number, seed, rows: by_example[rows])  # noqa: ARG005
    assert shares_of(same, "sst") == pytest.approx((1, 0, 0, 0))
    by_config = draw.random((3, 1000)) < 0.5
    differ = make_bank(lambda number, seed, rows: by_config[number, rows])  # noqa: ARG005
    assert shares_of(differ, "sst") == pytest.approx((0, 1, 0, 0), abs=0.1)
    by_seed = draw.random((SEEDS, 1000)) < 0.5
    together = make_bank(lambda number, seed, rows: by_seed[seed, rows])  # noqa: ARG005
    assert shares_of(together, "para") == pytest.approx((0, 0, 1, 0), abs=0.1)
    by_run = draw.random((3, SEEDS, 1000)) < 0.5
    runs = make_bank(lambda number, seed, rows: by_run[number, seed, rows])
    for task in TASK_NAMES:
        assert shares_of(runs, task) == pytest.approx((0, 0, 0, 1), abs=0.1)


@pytest.mark.parametrize(("of", "configs", "seeds"), [("small", 16, 8), ("full", 2, 5)])
def test_the_bank_is_complete(of: str, configs: int, seeds: int) -> None:
    found = load_bank(of)
    assert len(found.configurations) == configs
    assert found.configurations[0].effective() == recipe("strong").replace(epochs=3).effective()
    for place in found.predictions:
        scores = found.scores(place)
        assert scores.shape == (configs, seeds)
        assert np.all((scores > 0.4) & (scores < 0.8))


def test_without_held_out_examples_components_are_those_of_dev() -> None:
    lines = list(components(load_bank("full")))
    assert lines[0].startswith("2 configurations, 5 seeds each, scored on 12,082 dev examples.")
    assert not any("Folds:" in line for line in lines)


def test_the_correlation_behind_right_answers_is_found() -> None:
    # With half of the answers right: Sheppard 1899.
    assert _tetrachoric(2 / np.pi * np.arcsin(0.8), 0.5) == pytest.approx(0.8, abs=1e-4)
    draw = np.random.default_rng(0)
    common, own = draw.standard_normal(200_000), draw.standard_normal((2, 200_000))
    right = np.sqrt(0.7) * common + np.sqrt(0.3) * own < -0.5
    found = _tetrachoric(float(np.corrcoef(right)[0, 1]), float(right.mean()))
    assert found == pytest.approx(0.7, abs=0.01)
