"""One trial in detail, and two trials compared."""

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from minbert.errors import InputError
from minbert.tasks import TASK_NAMES, TASKS
from search.analysis.noise import Difference, paired_difference, ties_at_rungs
from search.record import Attempt, SearchRecord, TrialRecord, field_texts
from search.rerun import train_command, train_options
from search.review.reading import Run
from search.schedule.rung import names_rung

from .tables import clock


def show_trial(run: Run, trial: TrialRecord) -> list[RenderableType]:
    """A trial's configuration, attempts, reports with decisions, and errors."""
    state = f"{trial.state}: {trial.why}" if trial.why else trial.state
    recipe = str(run.setup["recipe"])
    lines: list[RenderableType] = [
        Text(f"Trial {trial.number}, {trial.name}", style="bold"),
        Text(state),
        Text(f"Origin: {trial.origin}; {clock(trial.seconds)} of training and evaluation"),
        Text(f"Differs from the recipe {recipe} in: {_differences(run.record, trial)}"),
    ]
    if trial.reports:
        lines.append(_reports_table(run, trial))
    for attempt in trial.attempts:
        lines.append(Text(_attempt_in_words(attempt, trial.machine_of(attempt.number))))
        if (failure := trial.failures.get(attempt.number)) is not None:
            lines.append(Text(f"  failed: {failure.reason}"))
    if trial.error is not None:
        lines.append(Text(f"Error: {trial.error}"))
    if trial.was_refused:
        return lines
    command = train_command(run.inputs, recipe)
    return [
        *lines,
        Text("To train this trial again by itself:"),
        Text(f"  {command} {train_options(trial.config, recipe)} --out trial-{trial.number}"),
    ]


def _differences(record: SearchRecord, trial: TrialRecord) -> str:
    if trial.was_refused:
        return "fields that are not known, because the space failed"
    return ", ".join(field_texts(record.differences(trial), trial.config.train_tasks)) or "nothing"


def _attempt_in_words(attempt: Attempt, machine: str) -> str:
    on = f" on {machine}" if machine else ""
    parts = [f"Attempt {attempt.number}{on}: {attempt.why}"]
    if attempt.reason:
        parts.append(attempt.reason)
    if attempt.micro_batch is not None:
        parts.append(f"at most {attempt.micro_batch} examples at once")
    return "; ".join(parts)


def _reports_table(run: Run, trial: TrialRecord) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("report", "epoch", "score", *run.inputs.tasks):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("decision")
    table.add_column("model", no_wrap=True)
    at_rungs = [
        report.step
        for report, decision in zip(trial.reports, trial.decisions, strict=True)
        if names_rung(decision.reason)
    ]
    ties = ties_at_rungs(run.record, run.predictions, trial, at_rungs)
    for report, decision in zip(trial.reports, trial.decisions, strict=True):
        reason = f": {decision.reason}" if decision.reason else ""
        if (tied := ties.get(report.step)) is not None:
            reason += f"; within noise of this score: {tied}"
        table.add_row(
            f"{report.step}/{trial.total_reports}",
            f"{report.epoch:.2f}",
            f"{report.score:.3f}",
            *(f"{report.scores[task]:.3f}" for task in run.inputs.tasks),
            Text(f"{decision.verdict}{reason}"),
            "kept" if run.is_kept(trial.number, report.step) else "",
        )
    return table


def compare(run: Run, first: TrialRecord, second: TrialRecord) -> list[RenderableType]:
    """Compare two trials by the checkpoints that they keep, with the paired difference on dev.

    Raises:
        InputError: a trial has no report.
    """
    for trial in (first, second):
        if trial.kept is None:
            raise InputError(f"--compare: trial {trial.number} has no report to compare")
    assert first.kept is not None
    assert second.kept is not None
    labels = run.predictions.labels()
    ours = run.predictions.read(first.number, first.kept.step)
    theirs = run.predictions.read(second.number, second.kept.step)
    found: dict[str, Difference] = {}
    if labels is not None and ours is not None and theirs is not None:
        found = {**paired_difference(labels, ours, theirs, run.objective)}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("dev")
    for heading in (f"trial {first.number}", f"trial {second.number}", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    tasks = [task for task in TASK_NAMES if task in first.kept.scores]
    rows = [
        (task, TASKS[task].title, first.kept.scores[task], second.kept.scores[task])
        for task in tasks
    ]
    for key, title, before, after in [
        *rows,
        ("score", "score", first.kept.score, second.kept.score),
    ]:
        interval = found.get(key)
        shown = "" if interval is None else f"{interval.low:+.3f} to {interval.high:+.3f}"
        table.add_row(title, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}", shown)
    names = [
        Text(f"Trial {t.number}, {t.name}: {_differences(run.record, t)}") for t in (first, second)
    ]
    return [*names, table, Text(_caution(found))]


def _caution(found: dict[str, Difference]) -> str:
    if not found:
        return (
            "The dev predictions of the two are not stored, so it is not known how much is chance."
        )
    return (
        "The interval comes from a paired bootstrap over dev examples. It allows neither for how "
        "the two were chosen, nor for other seeds of the same training."
    )
