"""How much is chance: exact values, parity with grading, and honesty over many searches."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbert.evaluate import grade
from minbert.tasks import TASK_NAMES, Task
from minbert.weights import EQUAL_WEIGHTS, Weights
from search.analysis.noise import (
    Bootstrap,
    noise_in_words,
    noise_of,
    paired_difference,
    ties_at_rungs,
)
from search.record import Decision, SearchRecord, TrialRecord
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions, TaskArrays, pack_predictions
from testkit.synthetic import CLASSES, draw_labels, draw_predictions
from tests.search.review.test_review import report, trial


def test_resampled_scores_are_those_of_the_repeated_examples() -> None:
    draw = np.random.default_rng(1)
    labels = draw_labels(50, draw)
    predictions = [draw_predictions(labels, skill, draw) for skill in (0.5, 0.9)]
    bootstrap = Bootstrap(labels, resamples=20)
    counts: dict[Task, Any] = bootstrap._counts
    for task in TASK_NAMES:
        scores = bootstrap.task_scores(task, [each[task] for each in predictions])
        assert scores.shape == (21, 2)
        assert counts[task][0].tolist() == [1] * 50
        assert counts[task][1:].sum(axis=1).tolist() == [50] * 20
        for row, count in enumerate(counts[task]):
            examples = np.repeat(np.arange(50), count)
            for column, given_predictions in enumerate(predictions):
                right = grade(
                    task, given_predictions[task][examples], labels[task][examples], CLASSES
                )
                assert scores[row, column] == pytest.approx(right.score, abs=1e-5)


def test_constant_predictions_correlate_with_nothing() -> None:
    labels: TaskArrays = {"sts": np.arange(5, dtype=np.float32)}
    constant = np.full(5, 2.5, dtype=np.float32)
    assert Bootstrap(labels, 10).task_scores("sts", [constant]).tolist() == [[0.0]] * 11


def test_difference_of_a_checkpoint_with_itself_is_nothing() -> None:
    draw = np.random.default_rng(2)
    labels = draw_labels(40, draw)
    predictions = draw_predictions(labels, 0.7, draw)
    for difference in paired_difference(labels, predictions, predictions, EQUAL_WEIGHTS).values():
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


@given(st.integers(0, 20), st.integers(0, 20))
def test_difference_in_accuracy_is_a_count(first: int, second: int) -> None:
    labels: TaskArrays = {"para": np.ones(20, dtype=np.float32)}

    def right(count: int) -> TaskArrays:
        return {"para": (np.arange(20) < count).astype(np.uint8)}

    found = paired_difference(labels, right(first), right(second), Weights(0, 1, 0))
    assert found["para"].value == pytest.approx((second - first) / 20)
    assert found["score"] == found["para"]
    assert found["para"].low <= found["para"].value <= found["para"].high


def search_of(
    skills: list[list[float]], folder: Any, *, examples: int = 300, seed: int = 0
) -> tuple[SearchRecord, DevPredictions]:
    """A finished search whose trials answer at random with these skills at their reports."""
    draw = np.random.default_rng(seed)
    labels = draw_labels(examples, draw)
    predictions = DevPredictions(LocalDirectory(folder))
    folder.mkdir(exist_ok=True)
    (folder / "labels.npz").write_bytes(_as_npz(labels))
    trials: list[TrialRecord] = []
    for number, steps in enumerate(skills):
        reports = []
        for step, skill in enumerate(steps, start=1):
            given_predictions = draw_predictions(labels, skill, draw)
            predictions.write(number, step, pack_predictions(given_predictions))
            scores = [grade(t, given_predictions[t], labels[t], CLASSES).score for t in TASK_NAMES]
            reports.append(report(step, *scores))
        trials.append(trial(number, reports))
    return SearchRecord(len(trials), trials), predictions


def decided(order: int) -> Decision:
    return Decision(verdict="pause", reason="rung 1", attempt=1, order=order, at=0)


def _as_npz(labels: TaskArrays) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **labels)  # type: ignore[arg-type]  # the stubs know no names
    return buffer.getvalue()


def test_a_lead_among_equals_is_called_luck(tmp_path: Any) -> None:
    record, predictions = search_of([[0.6]] * 12, tmp_path)
    noise = noise_of(record, predictions)
    assert noise is not None
    assert record.winner is not None
    # All but the recipe's own.
    assert noise.reports == 11
    assert noise.examples == 900
    assert 0 < noise.luck < noise.most_luck
    assert not noise.beyond_chance
    words = " ".join(noise_in_words(noise, record.winner))
    assert "may well be luck" in words or "The recipe itself scored highest" in words


def test_a_real_lead_is_more_than_chance_and_still_not_called_confirmed(tmp_path: Any) -> None:
    record, predictions = search_of([[0.5], [0.5], [0.8], [0.55]], tmp_path)
    noise = noise_of(record, predictions)
    assert noise is not None
    assert record.winner is record.trials[2]
    assert noise.probability < 0.01
    words = " ".join(noise_in_words(noise, record.winner))
    assert "larger than the choice of the dev examples and of the best explains" in words
    assert "How much other seeds differ is not counted, and can be more." in words
    assert "better" not in words


def test_trials_within_noise_of_the_winner_are_named_by_their_places(tmp_path: Any) -> None:
    record, predictions = search_of([[0.3], [0.8], [0.5], [0.8], [0.8]], tmp_path)
    noise = noise_of(record, predictions)
    assert noise is not None
    assert record.winner is not None
    assert noise.tied == (2, 3)
    words = noise_in_words(noise, record.winner)
    assert "The trials in 2nd and 3rd place are within noise of the winner." in words
    apart = dataclasses.replace(noise, tied=(2, 3, 4, 6, 8, 11))
    words = noise_in_words(apart, record.winner)
    assert words[2].startswith("The trials in 2nd to 4th, 6th, 8th and 11th place are")
    words = noise_in_words(dataclasses.replace(noise, tied=(2,)), record.winner)
    assert "The trial in 2nd place is within noise of the winner." in words


def test_places_within_noise_at_a_rung_are_those_when_the_trial_was_decided_on(
    tmp_path: Any,
) -> None:
    labels: TaskArrays = {"para": np.ones(100, dtype=np.float32)}
    predictions = DevPredictions(LocalDirectory(tmp_path))
    predictions.write_labels_of(labels)
    # Right answers of 100 at each report, and when each was decided on. The recipe has no place.
    counts = [[90], [80], [77], [60, 70], [82], [79]]
    orders = [[0], [1], [2], [3, 6], [4], [5]]
    trials = []
    for number, given_counts in enumerate(counts):
        reports = []
        for step, count in enumerate(given_counts, start=1):
            right = (np.arange(100) < count).astype(np.float32)
            predictions.write(number, step, pack_predictions({"para": right}))
            reports.append(report(step, 0, count / 100, 0))
        one = trial(number, reports)
        one.config = one.config.replace(objective=(0, 1, 0))
        one.fixed = number == 0
        one.decisions = [decided(order) for order in orders[number]]
        trials.append(one)
    record = SearchRecord(len(trials), trials)

    def tied(number: int, step: int = 1) -> str | None:
        return ties_at_rungs(record, predictions, trials[number], [step]).get(step)

    # Of d more right answers the standard error is √(d(1 − d/100)), so 3 are noise, and 5 are not.
    assert tied(0) is None
    assert tied(1) is None
    assert tied(2) == "1st"
    assert tied(3) is None
    assert tied(4) == "2nd"
    assert tied(5) == "1st, 2nd and 4th"
    assert tied(3, step=2) is None


def test_choosing_from_more_takes_more_to_lead(tmp_path: Any) -> None:
    few, more = (noise_of(*search_of([[0.6]] * count, tmp_path / str(count))) for count in (3, 40))
    assert few is not None
    assert more is not None
    assert more.most_luck > few.most_luck


def test_only_what_the_objective_weighs_counts(tmp_path: Any) -> None:
    record, predictions = search_of([[0.5], [0.6]], tmp_path, examples=50)
    for one in record.trials:
        one.config = one.config.replace(objective=(1, 0, 0))
    noise = noise_of(record, predictions)
    assert noise is not None
    assert noise.examples == 50


def test_two_examples_are_enough_to_say_that_it_may_be_luck(tmp_path: Any) -> None:
    record, predictions = search_of([[0.5], [0.6]], tmp_path, examples=2)
    noise = noise_of(record, predictions)
    assert noise is not None
    assert not noise.beyond_chance


def test_any_damage_to_predictions_is_as_if_there_were_none(tmp_path: Any) -> None:
    record, predictions = search_of([[0.5], [0.6]], tmp_path, examples=20)
    path = tmp_path / "0001" / "0001.npz"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        # Some bytes, such as times, do not matter; none may raise.
        predictions.read(1, 1)
    path.write_bytes(whole[: len(whole) // 2])
    assert predictions.read(1, 1) is None
    assert noise_of(record, predictions) is None


def test_nothing_is_said_without_labels_or_predictions(tmp_path: Any) -> None:
    record, predictions = search_of([[0.5], [0.6]], tmp_path)
    (tmp_path / "0001" / "0001.npz").write_bytes(b"torn")
    assert noise_of(record, predictions) is None
    (tmp_path / "labels.npz").unlink()
    assert predictions.labels() is None
    assert noise_of(record, predictions) is None
