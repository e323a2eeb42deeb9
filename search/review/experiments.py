"""The paper's experiments, with what the paper says about each step."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from minbert.tasks import TASK_NAMES, Task
from search.record import TrialRecord
from spaces import Experiment


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment, formatted for people.

    Attributes:
        name: with the number of its trial, if that differs from its position in the list.
        scores: on dev; a dash if there is none.
        change: of the mean from the row before; empty if either row has none.
        finding: what the paper says about the step.
    """

    name: str
    scores: dict[Task, str]
    mean: str
    change: str
    finding: str


def experiment_rows(
    experiments: Sequence[Experiment], trials: Sequence[TrialRecord]
) -> list[ExperimentRow]:
    """Dev scores of each experiment, their mean, and its change from the row before.

    Args:
        experiments: in the order of the paper.
        trials: matched by name. An experiment whose trial is missing or failed has an empty row,
            and the row after it has no change.
    """
    by_name = {trial.name: trial for trial in trials}
    rows = []
    before = None
    for number, experiment in enumerate(experiments, start=1):
        trial = by_name.get(experiment.name)
        # The recipe is trial 0, whatever its position in the list.
        other = f" (trial {trial.number})" if trial and trial.number != number else ""
        kept = trial.kept if trial and trial.state != "failed" else None
        scores = kept.scores if kept else {}
        mean = sum(scores.values()) / len(scores) if scores else None
        rows.append(
            ExperimentRow(
                name=experiment.name + other,
                scores={t: f"{scores[t]:.3f}" if t in scores else "–" for t in TASK_NAMES},
                mean="–" if mean is None else f"{mean:.3f}",
                change="" if mean is None or before is None else f"{mean - before:+.3f}",
                finding=experiment.finding,
            )
        )
        before = mean
    return rows


def experiments_table(rows: Sequence[ExperimentRow]) -> Table:
    """The rows for a terminal."""
    table = Table(
        title="The paper's experiments on these dev data",
        caption="Of the paper's own table only the .655 is known. Its data and encoder may differ "
        "from these: read the direction of each step, not its size.",
        box=box.SIMPLE,
    )
    table.add_column("experiment")
    for heading in (*TASK_NAMES, "mean", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("the paper says")
    for number, row in enumerate(rows, start=1):
        name = f"{number} {row.name}"
        table.add_row(name, *row.scores.values(), row.mean, row.change, row.finding)
    return table
