"""What is said before a confirmation starts: its cost, and what it can show."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minbert.tasks import Task
from minbert.weights import Weights
from search.confirmation.cost import (
    cost_in_words,
    examples_of_a_fold,
    seconds_of_a_training,
    variance_of_examples,
)
from search.review.terminal.messages import _options_of
from search.settings import StudySettings

DEV: dict[Task, int] = {"sst": 400, "para": 1000}


PARA = Weights(0, 1, 0)


def made_run(objective: Weights = PARA, **changes: Any) -> Any:
    """A search whose winner and recipe disagree on 200 dev examples of each task."""
    labels = {task: np.ones(size) for task, size in DEV.items()}
    first, next_ones = {}, {}
    for task, size in DEV.items():
        numbers = np.arange(size)
        first[task] = (numbers >= 110).astype(float)  # wrong on the first 110
        next_ones[task] = ((numbers < 110) | (numbers >= 200)).astype(float)  # on the next 90
    answers = {0: first, 3: next_ones}
    trials = [trial(0, 8.0, reports=2, total=4), trial(3, 60.0, reports=3, total=4)]
    about = {
        "record": SimpleNamespace(trials=trials, winner=trials[1]),
        "predictions": SimpleNamespace(
            labels=lambda: labels, read=lambda number, step: answers[number] if step == 1 else None
        ),
        "objective": objective,
        "inputs": SimpleNamespace(tasks=("sst", "para")),
        "driver_runs": [
            SimpleNamespace(
                data=SimpleNamespace(sizes={"sst": {"train": 1000}, "para": {"train": 2500}})
            )
        ],
    }
    return SimpleNamespace(**{**about, **changes})


def trial(number: int, seconds: float, reports: int, total: int) -> Any:
    kept = SimpleNamespace(step=1)
    return SimpleNamespace(
        number=number, kept=kept, seconds=seconds, reports=[kept] * reports, total_reports=total
    )


def variance_of_one(size: int) -> float:
    """Of the lead on one example: 110 of +1 and 90 of −1 among so many."""
    return 200 / size - (20 / size) ** 2


def test_the_time_of_a_training_is_that_of_all_its_reports() -> None:
    # 4 s a report and 20 s a report, with 4 reports each.
    assert seconds_of_a_training(made_run()) == 48


def test_the_variance_of_examples_is_that_of_the_lead_on_as_many_of_each_task() -> None:
    of_para = variance_of_one(1000)
    judge: dict[Task, int] = {"sst": 50, "para": 500}
    assert variance_of_examples(made_run(), judge) == pytest.approx(of_para / 500, rel=0.2)
    both = variance_of_examples(made_run(Weights(1, 1, 0)), judge)
    expected = variance_of_one(400) / 50 / 4 + of_para / 500 / 4
    assert both == pytest.approx(expected, rel=0.2)
    predictions = SimpleNamespace(labels=lambda: None)
    assert variance_of_examples(made_run(predictions=predictions), judge) is None


def test_the_cost_in_words() -> None:
    run = made_run()
    judge = examples_of_a_fold(run)
    assert judge == {"sst": 200, "para": 500}
    # 14 trainings of 48 s on 2 slots.
    said = cost_in_words(run, 14, 7, 2, judge)
    assert said.startswith("14 trainings, about 6 min on 2 slots. A difference of ")
    # The examples of a fold add 2.0² points² (.196 / 500), and seeds .65². Seven pairs show 3.37
    # standard errors in 4 of 5 cases; a little more, because two folds judge twice.
    standard_error = math.sqrt(2.0**2 + 0.65**2) / math.sqrt(7)
    assert points_in(said) == pytest.approx(3.37 * standard_error, rel=0.15)
    # What test examples that judge all pairs have in common does not average out.
    assert points_in(cost_in_words(run, 14, 7, 2, judge, same=True)) > points_in(said)


def points_in(said: str) -> float:
    return float(said.split("A difference of ")[1].split()[0])


def test_the_command_that_confirms_repeats_the_options_that_were_given() -> None:
    given = {"confirm_seeds": 10, "judge": "test", "finalists": 1}
    assert _options_of(StudySettings.check(given)) == " --confirm-seeds 10 --judge test"
    assert _options_of(StudySettings.check({})) == ""


def test_without_predictions_or_known_examples_only_the_time_is_told() -> None:
    predictions = SimpleNamespace(labels=lambda: None)
    said = "3 trainings, about 2 min on 1 slot."
    assert cost_in_words(made_run(predictions=predictions), 3, 7, 1, {"para": 500}) == said
    assert cost_in_words(made_run(), 3, 7, 1, None) == said
