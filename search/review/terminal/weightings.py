"""What other weights of the tasks or another selection rule would have chosen."""

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from minbert.output import counted
from minbert.settings import command_of
from minbert.weights import Weights
from search.analysis.weighting import SELECTION_RULES, hidden, rank, replays
from search.record import SearchRecord
from search.review.reading import Run


def under_weights(run: Run, weights: Weights) -> list[RenderableType]:
    """The ranking by other weights, with no claim that the record does not support."""
    ranked = rank(run.record.trials, weights)
    if not ranked:
        return [Text("No trial has made a report yet.")]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("trial")
    for heading in ("score", *run.inputs.tasks, "report"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for one in ranked:
        table.add_row(
            str(one.trial.number),
            Text(one.trial.name, no_wrap=True, overflow="ellipsis"),
            f"{one.score:.3f}",
            *(f"{one.report.scores[task]:.3f}" for task in run.inputs.tasks),
            f"{one.report.step}/{one.trial.total_reports}",
            one.trial.state,
            "kept" if run.is_kept(one.trial.number, one.report.step) else "",
        )
    best = ranked[0]
    there = "is kept" if run.is_kept(best.trial.number, best.report.step) else "is no longer kept"
    folder = run.folder.arguments
    lines = [
        f"Under score weights {weights} (sst, para, sts): trial {best.trial.number} "
        f"({best.trial.name}) at report {best.report.step} scores highest, {best.score:.3f}; its "
        f"model {there}.",
        hidden_in_words(run.record, weights),
        "Chosen on these dev data, so optimistic. To save the model:",
        f"  {command_of('search.export')} {folder} --weights {weights} --to DIR",
    ]
    return [table, *(Text(line) for line in lines)]


def hidden_in_words(record: SearchRecord, weights: Weights) -> str:
    """How far stopped trials may hide a higher score under these weights."""
    found = hidden(record.trials, weights)
    objective = record.trials[0].config.objective
    if not found.stopped:
        return "Every trial was trained to its end."
    text = (
        f"{counted(found.stopped, 'trial')} stopped before the end of training; scheduler and "
        f"pruner use the study's objective {objective}. "
    )
    if found.most_gain is None:
        return (
            text + "No trial continued from there to its end, so what they might reach is unknown."
        )
    best = f"the highest score under {weights}"
    gain = f"the most that the {found.finished} finished ones gained after the same report"
    if not found.could:
        return text + f"With {gain} (up to {found.most_gain:+.3f}) none would exceed {best}."
    numbers = ", ".join(str(trial.number) for trial, _ in found.could[:8])
    more = " and more" if len(found.could) > 8 else ""
    return text + (
        f"With {gain}, {len(found.could)} of them could exceed {best}, up to "
        f"{found.could[0][1]:.3f}: trial {numbers}{more}."
    )


def selection_rules_table(record: SearchRecord) -> Table:
    """What each of the paper's two selection rules would have selected for each trial."""
    table = Table(
        title="What each selection rule keeps",
        caption="Scores are under the study's objective; the weighted rule uses each trial's "
        "selection weights.",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("#", justify="right")
    table.add_column("trial")
    for rule in SELECTION_RULES:
        table.add_column(f"{rule}: epoch", justify="right")
        table.add_column("score", justify="right")
    table.add_column("difference", justify="right")
    for row in replays(record.ranked):
        name = Text(row.trial.name, no_wrap=True, overflow="ellipsis")
        table.add_row(str(row.trial.number), name, *row.cells)
    return table
