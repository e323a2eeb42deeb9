"""The description of a trial in TensorBoard's Text tab."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minbert.errors import escape_markdown
from minbert.tasks import TASKS, Task
from search.record import TrialRecord, field_texts

from .mistakes import DevTexts, Mistake

# Mistakes shown for each task.
_MOST = 5


def trial_text(
    trial: TrialRecord,
    differences: Mapping[str, Any],
    texts: DevTexts,
    predictions: Mapping[Task, np.ndarray] | None,
) -> str:
    """A trial's configuration, attempts, decisions and worst dev mistakes as Markdown.

    Args:
        trial: in its current state.
        differences: the fields that differ from the recipe.
        predictions: (examples,) for each task, by the checkpoint that the trial keeps; None if not
            stored.
    """
    parts = [f"## Trial {trial.number}", *_standing(trial, differences)]
    if trial.attempts:
        parts += ["### Attempts and decisions", _list(_history(trial))]
    if trial.kept is not None and predictions is not None:
        parts += [f"### Worst dev mistakes, report {trial.kept.step}"]
        for task in texts.tasks:
            parts += _mistakes(task, texts, predictions[task])
    if not trial.was_refused:
        rest = {name: v for name, v in trial.config if name not in differences and v is not None}
        parts += ["### The rest of its configuration", _fields(rest, trial.config.train_tasks)]
    return "\n\n".join(parts)


def _standing(trial: TrialRecord, differences: Mapping[str, Any]) -> Iterator[str]:
    why = f": {escape_markdown(trial.why)}" if trial.why else ""
    yield f"**{trial.state}**{why}"
    kept = trial.kept
    if kept is None:
        yield "It keeps no checkpoint."
    else:
        scores = ", ".join(f"{task} {score:.3f}" for task, score in kept.scores.items())
        yield (
            f"It keeps the checkpoint of report {kept.step} of {trial.total_reports}: "
            f"score {kept.score:.3f} ({scores})."
        )
    origin = f" ({escape_markdown(trial.origin)})" if trial.origin else ""
    if differences:
        fields = _fields(differences, trial.config.train_tasks)
        yield f"Differences from the recipe{origin}: {fields}"
    elif not trial.was_refused:
        yield "It trains like the recipe."


def _fields(fields: Mapping[str, Any], tasks: Sequence[Task]) -> str:
    return ", ".join(map(escape_markdown, field_texts(fields, tasks)))


def _history(trial: TrialRecord) -> Iterator[str]:
    """Attempts, each with the decisions that differ from the one before."""
    said = None
    for attempt in trial.attempts:
        more = f": {escape_markdown(attempt.reason)}" if attempt.reason else ""
        batch = f", {attempt.micro_batch} examples at once" if attempt.micro_batch else ""
        machine = trial.machine_of(attempt.number)
        on = f" on {escape_markdown(machine)}" if machine else ""
        yield f"Attempt {attempt.number}{on}, {attempt.why}{batch}{more}"
        for step, decision in enumerate(trial.decisions, start=1):
            new = (decision.verdict, decision.reason)
            if decision.attempt == attempt.number and decision.reason and new != said:
                yield f"Report {step}, {decision.verdict}: {escape_markdown(decision.reason)}"
                said = new


def _mistakes(task: Task, texts: DevTexts, predictions: np.ndarray) -> Iterator[str]:
    title = TASKS[task].title.capitalize()
    worst = texts.worst(task, predictions, _MOST)
    if not worst:
        yield f"**{title}**: none."
        return
    yield f"**{title}**"
    if TASKS[task].is_pair:
        head = ["sentence", "sentence", "label", "prediction", "shared words"]
    else:
        head = ["sentence", "label", "prediction"]
    yield _table(head, [_row(task, mistake) for mistake in worst])
    if task == "para":
        wrongly_yes, rightly_no = texts.false_friends(predictions)
        yield (
            "Of the pairs that are not paraphrases, those predicted as paraphrases share "
            f"{_share(wrongly_yes)} of their words on average, the others {_share(rightly_no)}."
        )


def _row(task: Task, mistake: Mistake) -> list[str]:
    cells = [*map(escape_markdown, mistake.sentences)]
    cells += [_value(task, mistake.label), _value(task, mistake.prediction)]
    return cells if mistake.overlap is None else [*cells, _share(mistake.overlap)]


def _value(task: Task, value: float) -> str:
    """A label or a prediction, formatted for people."""
    if task == "para":
        return "yes" if value else "no"
    return f"{value:.0f}" if TASKS[task].whole_labels else f"{value:.1f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
