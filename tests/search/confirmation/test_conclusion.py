"""What a confirmation shows, on predictions whose scores are known."""

import math
from pathlib import Path

import pytest

from minbert.errors import InputError
from minbert.tasks import Task
from search.confirmation.conclusion import conclude
from search.confirmation.words import lines_of
from search.record import SearchRecord
from search.storage.predictions import DevPredictions

from .made import all_trainings, labels, make_plan, make_trial, predictions_in, write_judged

EXAMPLES = 100


def judged(folder: Path, gains: list[float]) -> DevPredictions:
    """Predictions of pairs in which the rival is right for so much more of two tasks."""
    predictions = predictions_in(folder)
    shares: dict[Task, float] = {"sst": 0.5, "para": 0.5}
    for pair, gain in enumerate(gains):
        predictions.write_judge(f"fold-{pair}", labels(EXAMPLES, ["sst", "para"]))
        write_judged(predictions, 3 + 2 * pair, shares, EXAMPLES)
        write_judged(predictions, 4 + 2 * pair, {**shares, "sst": 0.5 + gain}, EXAMPLES)
    return predictions


def test_the_interval_is_that_of_the_paired_differences(tmp_path: Path) -> None:
    plan = make_plan()
    _, trials = all_trainings(plan, [0.5, 0.4, 0.6])
    conclusion = conclude(plan, trials, judged(tmp_path, [0.10, 0.12, 0.14]))
    assert conclusion is not None
    assert [pair.difference for pair in conclusion.pairs] == pytest.approx([0.05, 0.06, 0.07])
    assert [pair.scores["sst"] for pair in conclusion.pairs] == pytest.approx([0.1, 0.12, 0.14])
    assert [pair.scores["para"] for pair in conclusion.pairs] == [0.0, 0.0, 0.0]
    assert (conclusion.rival, conclusion.ending) == (2, "better")
    # t(.975, 2) = 4.303, times .01 / √3.
    assert conclusion.interval is not None
    assert conclusion.interval.half_width == pytest.approx(0.02484, abs=1e-5)
    assert conclusion.words == (
        "Better than the recipe: trained this way it scores 6.0 points more on average (95 % "
        "interval 3.5 to 8.5), over 3 training seeds, on 600 examples that played no part in "
        "choosing it."
    )


def test_examples_that_judge_all_pairs_widen_the_interval(tmp_path: Path) -> None:
    plan = make_plan(judge="test")
    _, trials = all_trainings(plan, [0.5, 0.4, 0.6])
    predictions = judged(tmp_path, [0.1, 0.1, 0.1])
    predictions.write_judge("test", labels(EXAMPLES, ["sst", "para"]))
    conclusion = conclude(plan, trials, predictions)
    assert conclusion is not None
    assert conclusion.interval is not None
    # All seeds agree, so only the examples count: the rival is right for 10 more of 100, and the
    # variance of that share is .1 · .9 / 100. The score is the mean of it and a task without any.
    half_width = 1.96 * math.sqrt(0.1 * 0.9 / 100)
    assert conclusion.tasks["sst"].half_width == pytest.approx(half_width, rel=0.1)
    assert conclusion.interval.half_width == pytest.approx(half_width / 2, rel=0.1)
    assert conclusion.tasks["para"].half_width == 0
    assert [pair.fold for pair in conclusion.pairs] == [None] * 3
    assert "over 3 training seeds, on 200 examples that played no part" in conclusion.words


def test_folds_that_judge_twice_widen_the_interval(tmp_path: Path) -> None:
    plan = make_plan(seeds=7)
    _, trials = all_trainings(plan, [0.5, 0.4, 0.6])
    conclusion = conclude(plan, trials, judged(tmp_path, [0.1] * 7))
    assert conclusion is not None
    # All pairs agree, and the first two folds judge two of them. Each adds 2 / (7 · 6) of the
    # variance of its examples, which is .1 · .9 / 100.
    half_width = 1.96 * math.sqrt(2 * 2 / 42 * 0.1 * 0.9 / 100)
    assert conclusion.tasks["sst"].half_width == pytest.approx(half_width, rel=0.1)
    assert conclusion.tasks["para"].half_width == 0
    # Each fold counts once.
    assert "over 7 training seeds, on 1,000 examples" in conclusion.words


@pytest.mark.parametrize(
    ("gains", "ending", "begins"),
    [
        ([0.1, 0.0, -0.08], "not shown", "Not shown to be better. The difference is +0.3 points"),
        ([-0.2, -0.22, -0.2], "worse", "Worse than the recipe: trained this way it scores 10.3"),
    ],
)
def test_other_endings(tmp_path: Path, gains: list[float], ending: str, begins: str) -> None:
    plan = make_plan()
    _, trials = all_trainings(plan, [0.5, 0.4, 0.6])
    conclusion = conclude(plan, trials, judged(tmp_path, gains))
    assert conclusion is not None
    assert conclusion.ending == ending
    assert conclusion.words.startswith(begins)


def test_the_race_may_end_it(tmp_path: Path) -> None:
    plan = make_plan()
    _, trials = all_trainings(plan, [0.6, 0.4, 0.5])
    conclusion = conclude(plan, trials, predictions_in(tmp_path))
    assert conclusion is not None
    assert conclusion.ending == "recipe"
    assert "Keep the recipe" in conclusion.words


def test_a_training_that_failed_is_told_and_replaced_by_none(tmp_path: Path) -> None:
    plan = make_plan()
    trials = [make_trial(0, 0.5), make_trial(1, 0.4), make_trial(2, 0.6)]
    trials += [make_trial(3), make_trial(4, state="running")]
    assert conclude(plan, trials, predictions_in(tmp_path)) is None
    trials[4] = make_trial(4, state="failed")
    conclusion = conclude(plan, trials, predictions_in(tmp_path))
    assert conclusion is not None
    assert conclusion.ending == "failed"
    assert conclusion.words == ("Not confirmed: 1 of 5 trainings failed (training 4: it crashed).")


def test_missing_predictions_are_no_verdict(tmp_path: Path) -> None:
    plan = make_plan()
    _, trials = all_trainings(plan, [0.5, 0.4, 0.6])
    predictions = judged(tmp_path, [0.1, 0.1, 0.1])
    predictions.directory.remove("0006/judged.npz")
    with pytest.raises(InputError, match="predictions for fold 2 of 5 are missing or damaged"):
        conclude(plan, trials, predictions)


def test_a_trial_that_was_added_later_does_not_earn_the_word(tmp_path: Path) -> None:
    plan = make_plan()
    _, trials = all_trainings(plan, [0.5, 0.4, 0.6])
    conclusion = conclude(plan, trials, judged(tmp_path, [0.10, 0.12, 0.14]))
    assert conclusion is not None
    search = [make_trial(number, 0.5 + number / 100) for number in range(7)]
    lines = list(lines_of(conclusion, SearchRecord(7, search)))
    assert lines[0] == "Confirmation of trial 2, training 2:"
    assert lines[1].startswith("Better than the recipe")
    assert lines[-1] == "Trial 6 scored highest after that, and is not confirmed."
