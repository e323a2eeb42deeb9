"""What a person reads of a search: names, tables, words, files, curves."""

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from minbert.config import RECIPES, TrainConfig
from minbert.report import Report
from minbert.tasks import Task
from search.record import Attempt, Decision, SearchRecord, State, TrialRecord, Verdict, field_texts
from search.results import write_summary, write_table
from search.review.__main__ import main as review
from search.review.experiments import experiment_rows, experiments_table
from search.review.reading import read_run
from search.review.terminal.tables import LiveTable, PlainLines, outcome, trials_table
from search.schedule.rung import names_rung
from spaces import Experiment
from spaces.paper import EXPERIMENTS
from testkit.synthetic import synthetic_run
from tests.search.commands import said


def report(step: int, sst: float, para: float, sts: float, *, kept: bool = True) -> Report:
    scores: dict[Task, float] = {"sst": sst, "para": para, "sts": sts}
    return Report(
        step=step,
        epoch=step / 2,
        examples=100 * step,
        scores=scores,
        score=(sst + para + sts) / 3,
        kept=kept,
        metrics={},
        losses={"sst": 1.5, "para": 0.7, "sts": 0.1},
        negatives=0,
        lr=2e-5,
        grad_norm=1.0,
        tokens=100,
        train_seconds=2.0,
        dev_seconds=0.5,
    )


def trial(
    number: int,
    reports: list[Report],
    state: State = "finished",
    name: str | None = None,
    **fields: object,
) -> TrialRecord:
    config = TrainConfig.check({"epochs": 2, "reports_per_epoch": 2, **fields})
    verdict: Verdict = {"finished": "finish", "stopped": "stop"}.get(state, "continue")  # type: ignore[assignment]  # literals all
    decisions = [
        Decision(verdict=verdict, reason="because", attempt=1, order=made.step, at=0.0)
        for made in reports
    ]
    return TrialRecord(
        number,
        name or " ".join(field_texts(fields)),
        fields,
        config,
        state=state,
        reports=reports,
        decisions=decisions,
    )


@pytest.fixture
def record() -> SearchRecord:
    """A recipe, a trial that scores higher, one stopped, one failed, one interrupted."""
    return SearchRecord(
        8,
        [
            trial(0, [report(1, 0.3, 0.6, 0.3), report(2, 0.4, 0.6, 0.5)], name="recipe"),
            trial(
                1,
                [report(1, 0.5, 0.7, 0.6), report(2, 0.5, 0.6, 0.4, kept=False)],
                loss_weights=(2.0, 1.0, 1.0),
                lr=2e-5,
            ),
            trial(2, [report(1, 0.2, 0.5, 0.2)], "stopped", loss_weights=(0.0, 0.0, 1.0)),
            trial(3, [report(1, 0.9, 0.9, 0.9)], "failed", lr=1.0),
            trial(4, [report(1, 0.8, 0.8, 0.8)], "interrupted", lr=1e-5),
        ],
    )


def text_of(parts: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in parts if isinstance(parts, list) else [parts]:
        console.print(part)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


# The record


def test_weights_are_shown_as_shares() -> None:
    texts = field_texts({"loss_weights": (2.0, 1.0, 1.0), "lr": 2e-5, "optimizer": "radam"})
    assert texts == ["α=0.50", "β=0.25", "γ=0.25", "lr=2e-05", "optimizer=radam"]


def test_a_trials_score_is_that_of_the_checkpoint_it_keeps(record: SearchRecord) -> None:
    assert record.trials[1].score == pytest.approx(0.6)
    assert record.trials[0].score == pytest.approx(0.5)


def test_failed_trials_do_not_win(record: SearchRecord) -> None:
    # Trial 3 scored higher and failed.
    assert record.winner is record.trials[4]
    record.trials[4].state = "running"
    # What it has reached so far stands, or a lower trial would be called the highest.
    assert record.winner is record.trials[4]
    record.trials[4].state = "failed"
    assert record.winner is record.trials[1]


def test_of_equal_trials_the_first_wins() -> None:
    trials = [trial(number, [report(1, 0.5, 0.5, 0.5)]) for number in range(3)]
    assert SearchRecord(3, trials[::-1]).winner is trials[0]


def test_nothing_wins_where_nothing_was_reported() -> None:
    empty = SearchRecord(1, [trial(0, [], "failed")])
    assert empty.winner is None
    assert "no winner" in text_of(outcome(empty))


# Files


def test_table_of_trials(record: SearchRecord, tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", record)
    rows = list(csv.DictReader((tmp_path / "trials.csv").open(encoding="utf-8")))
    assert [row["trial"] for row in rows] == ["3", "4", "1", "0", "2"]
    kept = {name: rows[2][name] for name in ("score", "sst", "para", "sts", "epochs", "reports")}
    assert kept == {
        "score": "0.6000",
        "sst": "0.5000",
        "para": "0.7000",
        "sts": "0.6000",
        "epochs": "1.0000",
        "reports": "2",
    }
    assert [rows[2][name] for name in ("alpha", "beta", "gamma")] == ["0.5000", "0.2500", "0.2500"]
    assert rows[2]["lr"] == "2e-05"


def test_summary_names_winner_and_baseline(record: SearchRecord, tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.json", record, {"space": "weights"})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["space"], summary["winner"], summary["baseline"]) == ("weights", 4, 0)
    assert "optimistic" in summary["winner_is"]
    assert [len(one["reports"]) for one in summary["trials"]] == [2, 2, 1, 1, 1]
    assert TrainConfig.check(summary["trials"][1]["config"]) == record.trials[1].config


# The terminal


def test_outcome_sets_the_winner_beside_the_recipe_and_claims_no_more(
    record: SearchRecord,
) -> None:
    record.trials[3].error = "it diverged"
    record.trials[4].state = "failed"
    text = text_of(list(outcome(record)))
    assert "Trial 3 (lr=1) failed: it diverged" in text
    assert "Winner: trial 1" in text
    assert "α 0.50  β 0.25  γ 0.25" in text
    assert "similarity Pearson     0.500    0.600       +0.100" in text
    assert "Chosen on these dev data from 3 trials, so optimistic" in text
    assert "better" not in text


def test_outcome_of_a_search_that_runs_names_no_winner(record: SearchRecord) -> None:
    record.trials[4].state = "running"
    text = text_of(list(outcome(record)))
    assert "Highest so far: trial 4" in text
    assert "Winner" not in text


def test_outcome_says_so_when_the_recipe_wins() -> None:
    alone = SearchRecord(1, [trial(0, [report(1, 0.5, 0.5, 0.5)], name="recipe")])
    assert "It is the recipe itself" in text_of(list(outcome(alone)))


def test_live_table_fits_80_columns_and_keeps_running_trials_in_sight() -> None:
    names = "α=0.34 β=0.59 γ=0.07 lr=2e-05 optimizer=adamw batch_size=32"
    trials = [trial(n, [report(1, n / 40, 0.5, 0.5)], name=names) for n in range(30)]
    trials[0].state = "running"
    record = SearchRecord(40, trials, slots=2)
    console = Console(file=io.StringIO(), width=80)
    text = text_of(LiveTable(console, record, 600.0).render())
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines() if "2/4" in line or "1/4" in line]
    assert [row[0] for row in rows] == [*(str(n) for n in range(29, 18, -1)), "0"]
    assert "0.725" in text
    assert "29 of 40 trials over, 1 of 2 slots busy" in text
    assert "left" in text


def test_table_is_sorted_by_score(record: SearchRecord) -> None:
    lines = [line.split()[0] for line in text_of(trials_table(record)).splitlines() if "/4" in line]
    assert lines == ["3", "4", "1", "0", "2"]


def test_plain_lines_say_each_report_and_each_end(record: SearchRecord) -> None:
    console = Console(file=io.StringIO(), width=80)
    record.trials[1].attempts = [
        Attempt(number=1, why="start", at=0.0),
        Attempt(number=2, why="promoted", reason="rung 1: 1st of 3", rung=1, at=0.0),
    ]
    with PlainLines(console, record) as lines:
        lines.started(record.trials[1])
        lines.reported(record.trials[1], record.trials[1].reports[0])
        lines.ended(record.trials[1])
    output = console.file
    assert isinstance(output, io.StringIO)
    begun, first, second = output.getvalue().splitlines()
    assert begun.endswith("continues after report 2 (promoted: rung 1: 1st of 3)")
    assert first.endswith("trial  1  report 1/4  score 0.600  sst 0.500  para 0.700  sts 0.600")
    assert second.endswith("trial  1  finished: because (4 of 8 over; best so far: trial 4, 0.800)")


# The experiments


def test_experiments_table_has_changes_and_what_the_report_says() -> None:
    rows = (
        Experiment("first", {}, ""),
        Experiment("second", {}, "all up"),
        Experiment("third", {}, "much worse"),
        Experiment("fourth", {}, "up again"),
    )
    trials = [
        trial(0, [report(1, 0.5, 0.6, 0.7)], name="third"),
        trial(1, [report(1, 0.3, 0.4, 0.5)], name="first"),
        trial(2, [], "failed", name="second"),
        trial(3, [report(1, 0.4, 0.6, 0.5)], name="fourth"),
    ]
    lines = text_of(experiments_table(experiment_rows(rows, trials)), width=100).splitlines()
    cells = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert cells == [
        ["1", "first", "0.300", "0.400", "0.500", "0.400"],
        ["2", "second", "–", "–", "–", "–", "all", "up"],
        ["3", "third", "(trial", "0)", "0.500", "0.600", "0.700", "0.600", "much", "worse"],
        [
            "4",
            "fourth",
            "(trial",
            "3)",
            "0.400",
            "0.600",
            "0.500",
            "0.500",
            "-0.100",
            "up",
            "again",
        ],
    ]


def test_one_number_of_the_report_is_known_and_no_other() -> None:
    findings = " ".join(experiment.finding for experiment in EXPERIMENTS)
    assert [word for word in findings.split() if any(map(str.isdigit, word))] == [".655"]
    assert EXPERIMENTS[6].finding == "overall .655 on test"
    assert EXPERIMENTS[6].changes["epochs"] == RECIPES["paper"].epochs


def test_a_trial_in_detail_says_which_places_at_a_rung_were_within_noise(tmp_path: Path) -> None:
    folder = synthetic_run(
        tmp_path / "run", lambda *_: 0.6, space="lr", trials=8, epochs=3, examples=50
    )
    trials = read_run(folder).record.trials
    # All trials are as good. The first at the rung had no other to compare with, the last had.
    at_rung = [t for t in trials if t.decisions and names_rung(t.decisions[0].reason)]
    at_rung.sort(key=lambda trial: trial.decisions[0].order)
    texts = [
        " ".join(said(review, folder.path, "--trial", each.number)[1].split())
        for each in (at_rung[0], at_rung[-1])
    ]
    assert "within noise" not in texts[0]
    assert "continue; within noise of this score: " in texts[1]
