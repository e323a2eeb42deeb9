"""Other weightings and selection rules, worked out by hand from a small record."""

import pytest

from minbert.config import TrainConfig
from minbert.report import Report
from minbert.tasks import Task
from minbert.weights import Weights
from search.analysis.weighting import hidden, other_weights, rank, replay, replays
from search.record import Decision, State, TrialRecord


def trial(number: int, state: State, *scores: tuple[float, float, float]) -> TrialRecord:
    config = TrainConfig.check({"selection_weights": (1, 0, 0), "loss_weights": (1, 1, 1)})
    reports = []
    for step, (sst, para, sts) in enumerate(scores, start=1):
        by_task: dict[Task, float] = {"sst": sst, "para": para, "sts": sts}
        reports.append(
            Report(
                step=step,
                epoch=step,
                examples=step,
                scores=by_task,
                score=sum(by_task.values()) / 3,
                kept=True,
                metrics={},
                losses={},
                negatives=0,
                lr=1e-5,
                grad_norm=1.0,
                tokens=1,
                train_seconds=1.0,
                dev_seconds=0.0,
            )
        )
    decisions = [
        Decision(verdict="continue", reason="", attempt=1, order=10 * number + made.step, at=0.0)
        for made in reports
    ]
    return TrialRecord(
        number, f"t{number}", {}, config, state=state, reports=reports, decisions=decisions
    )


TRIALS = [
    trial(0, "finished", (0.4, 0.6, 0.5), (0.5, 0.6, 0.6), (0.4, 0.8, 0.6)),
    trial(1, "stopped", (0.2, 0.7, 0.9)),
    trial(2, "stopped", (0.45, 0.2, 0.1), (0.46, 0.2, 0.1)),
    trial(3, "failed", (0.9, 0.9, 0.9)),
]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (Weights(1, 0, 0), [(3, 1, 0.9), (0, 2, 0.5), (2, 2, 0.46), (1, 1, 0.2)]),
        (Weights(0, 0, 2), [(3, 1, 0.9), (1, 1, 0.9), (0, 3, 0.6), (2, 2, 0.1)]),
        (Weights(0, 1, 1), [(3, 1, 0.9), (1, 1, 0.8), (0, 3, 0.7), (2, 2, 0.15)]),
    ],
)
def test_any_weights_rank_all_reports(
    weights: Weights, expected: list[tuple[int, int, float]]
) -> None:
    ranked = rank(TRIALS, weights)
    assert [(one.trial.number, one.report.step) for one in ranked] == [e[:2] for e in expected]
    assert [one.score for one in ranked] == pytest.approx([e[2] for e in expected])


def test_of_equal_ones_the_front_ones_go_first() -> None:
    same = [
        trial(0, "finished", (0.5, 0.1, 0.1), (0.5, 0.3, 0.3)),
        trial(1, "finished", (0.5, 0.4, 0.4)),
        trial(2, "finished", (0.5, 0.4, 0.4)),
    ]
    ranked = rank(same, Weights(1, 0, 0))
    assert [(one.trial.number, one.report.step) for one in ranked] == [(1, 1), (2, 1), (0, 2)]


def test_stopped_trials_hide_as_much_as_finished_ones_gained() -> None:
    # Under sst alone trial 0 gained .1 after report 1, nothing after report 2. Trial 1 would come
    # to .3, trial 2 stays at .46; neither is above .5.
    found = hidden(TRIALS[:3], Weights(1, 0, 0))
    assert (found.stopped, found.finished) == (2, 1)
    assert found.most_gain == pytest.approx(0.1)
    assert found.could == ()
    # Under para alone it gained .2 after report 1: trial 1 would come to .9, above .8.
    (could,) = hidden(TRIALS[:3], Weights(0, 1, 0)).could
    assert could[0] is TRIALS[1]
    assert could[1] == pytest.approx(0.9)


def test_selection_rules_are_replayed() -> None:
    # Of the reports of trial 0 the second improves sst and sts on the first, the third para on
    # the second; by its selection weights, sst alone, the second is the best.
    assert replay(TRIALS[0], "any_task").step == 3
    assert replay(TRIALS[0], "weighted").step == 2
    row = replays(TRIALS)[0]
    assert [report.step for report in row.kept] == [3, 2]
    assert row.difference == pytest.approx(row.kept[1].score - row.kept[0].score)
    assert row.cells[-1] == f"{row.difference:+.3f}"


@pytest.mark.parametrize(
    ("tasks", "weights"),
    [
        (("sst", "para", "sts"), "1.5,1,1.5"),
        (("sst", "sts"), "1.5,0,1"),
        (("para", "sts"), "0,1.5,1"),
        (("para",), "None"),
    ],
)
def test_score_weights_to_try_are_those_of_the_tasks_in_use(
    tasks: tuple[Task, ...], weights: str
) -> None:
    assert str(other_weights(tasks)) == weights
