"""The table of the report's experiments, beside what the report says of each step."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from minbert.tasks import TASK_NAMES
from search.record import TrialRecord
from spaces.paper import Experiment


def experiments_table(experiments: Sequence[Experiment], trials: Sequence[TrialRecord]) -> Table:
    """Dev scores of each experiment, their mean, and its change from the row before.

    Args:
        experiments: in the order of the report.
        trials: found by the experiments' names; one that is missing or failed leaves its row
            empty, and the row after it has no change.
    """
    table = Table(
        title="The report's experiments on these dev data",
        caption="Of the report's own table only the .655 is known. Its data and encoder may differ "
        "from these: read the direction of each step, not its size.",
        box=box.SIMPLE,
    )
    table.add_column("experiment")
    for heading in (*TASK_NAMES, "mean", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("the report says")
    by_name = {trial.name: trial for trial in trials}
    before = None
    for number, experiment in enumerate(experiments, start=1):
        trial = by_name.get(experiment.name)
        kept = trial.kept if trial and trial.state != "failed" else None
        mean = sum(kept.scores.values()) / len(kept.scores) if kept else None
        change = f"{mean - before:+.3f}" if mean is not None and before is not None else ""
        scores = kept.scores if kept else {}
        table.add_row(
            f"{number} {experiment.name}",
            *(f"{scores[task]:.3f}" if task in scores else "–" for task in TASK_NAMES),
            f"{mean:.3f}" if mean is not None else "–",
            change,
            experiment.finding,
        )
        before = mean
    return table
