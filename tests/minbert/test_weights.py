import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbert.tasks import TASK_NAMES, Task
from minbert.weights import (
    EQUAL_WEIGHTS,
    Scores,
    SelectionRule,
    Weights,
    selected_index,
    weighted_score,
)

WEIGHT = st.floats(0, 1e6)
SCORE = st.floats(-1, 1)


def scores(sst: float, para: float, sts: float) -> dict[Task, float]:
    return {"sst": sst, "para": para, "sts": sts}


def test_score_by_hand() -> None:
    # (1·.5 + 2·.8 + 1·.1) / 4
    assert weighted_score(scores(0.5, 0.8, 0.1), Weights(1, 2, 1)) == pytest.approx(0.55)


def test_score_covers_only_the_tasks_there_are() -> None:
    assert weighted_score({"sst": 0.5, "sts": 0.1}, Weights(1, 7, 3)) == pytest.approx(0.2)


@given(st.tuples(SCORE, SCORE, SCORE), st.tuples(WEIGHT, WEIGHT, WEIGHT), st.floats(0.01, 100))
def test_scale_of_weights_does_not_matter(
    values: tuple[float, float, float], weights: tuple[float, float, float], scale: float
) -> None:
    if sum(weights) < 1e-6:
        return
    scaled = Weights(*(scale * weight for weight in weights))
    assert weighted_score(scores(*values), scaled) == pytest.approx(
        weighted_score(scores(*values), Weights(*weights)), abs=1e-9
    )


def test_loss_weights_have_mean_one() -> None:
    assert Weights(1, 2, 3).normalised(3.0) == {"sst": 0.5, "para": 1.0, "sts": 1.5}


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="sst, sts"):
        Weights(0, 1, 0).normalised(1.0, ["sst", "sts"])


# Epoch by epoch: sst and sts fall while para rises, then all fall, then sst alone rises.
HISTORY: list[Scores] = [
    scores(0.50, 0.70, 0.60),
    scores(0.40, 0.75, 0.50),
    scores(0.39, 0.74, 0.49),
    scores(0.41, 0.60, 0.30),
]


@pytest.mark.parametrize(
    ("rule", "weights", "index"),
    [
        # 2 beats 1 in para; 3 beats the kept 2 in nothing; 4 beats the kept 2 in sst.
        ("any_task", EQUAL_WEIGHTS, 3),
        ("weighted", Weights(0, 1, 0), 1),
        ("weighted", Weights(1.5, 1, 1.5), 0),
        ("objective", Weights(0, 1, 0), 0),
        ("last", EQUAL_WEIGHTS, 3),
    ],
)
def test_kept_checkpoint_by_hand(rule: SelectionRule, weights: Weights, index: int) -> None:
    assert kept(HISTORY, rule, weights) == index


def kept(reports: list[Scores], rule: SelectionRule, weights: Weights = EQUAL_WEIGHTS) -> int:
    return selected_index(reports, rule, selection_weights=weights, objective=EQUAL_WEIGHTS)


@given(st.lists(st.tuples(SCORE, SCORE, SCORE), min_size=1))
def test_of_equal_checkpoints_the_first_is_kept(history: list[tuple[float, float, float]]) -> None:
    reports: list[Scores] = [scores(*values) for values in history]
    once = kept(reports, "objective")
    assert kept(reports * 2, "objective") == kept(reports, "weighted") == once
    best = weighted_score(reports[once], EQUAL_WEIGHTS)
    assert all(weighted_score(report, EQUAL_WEIGHTS) <= best for report in reports)


def test_tasks_are_in_the_order_of_the_weights() -> None:
    assert Weights._fields == TASK_NAMES
