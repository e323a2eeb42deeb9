"""What report.html draws: figures, the regions of the triangle of weights, the table of trials."""

import math
import time
from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from minbert.output import counted
from minbert.tasks import TASK_NAMES
from search.confirmation.conclusion import Conclusion
from search.record import SearchRecord
from search.rerun import train_options
from search.review.reading import Confirmed, Run
from search.review.varied import value_of, varied_columns

from . import figures
from .confirmation_figure import differences
from .timeline import Timeline, make_timeline
from .timeline_figure import timeline_bars
from .triangle import Region

# Okabe and Ito's colours, which colour-blind people tell apart, and shades of them.
_REGION_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56789a", "#a6761d", "#7b5ea7", "#4d4d4d"),
    *("#3b8ea5", "#b5523b", "#5f8f3e", "#9c4f72", "#6a7fdb", "#8c6d31"),
)


def _judge_in_words(confirmation: Conclusion) -> str:
    if confirmation.pairs[0].fold is None:
        return "judged by the labelled test examples"
    return "both without the same fold of the training examples, which judged them"


def page_figures(run: Run, timeline: Timeline | None) -> list[dict[str, Any]]:
    """The figures for which there is data, each with title, text, height and width (pixels)."""
    record, confirmation = run.record, run.confirmation
    if not any(trial.reports for trial in record.trials):
        return []
    drawn = []
    if confirmation is not None and confirmation.interval is not None:
        drawn.append(
            _drawn(
                "confirmation",
                "What the confirmation measured",
                f"Each grey dot is a pair of trainings: trial {confirmation.rival} and the recipe, "
                f"with the same new seed, {_judge_in_words(confirmation)}. Right of the dotted "
                "line, the trial scored higher. Blue: the mean with its 95 % interval.",
                differences(confirmation),
            )
        )
    drawn += [
        _drawn(
            "curves",
            "Learning curves",
            "The score at each dev evaluation, with the decision. Point at a curve for the trial "
            "and the reason; click a name above to hide it.",
            figures.learning_curves(record),
        ),
        *_configuration_figures(figures.Columns(record)),
    ]
    if (front := figures.front_views(record)) is not None:
        drawn.append(
            _drawn(
                "front",
                "Scores of the tasks",
                "Every checkpoint by its dev scores. A checkpoint is on the Pareto front if no "
                "other is equal or higher on all tasks at once. For any weights of the tasks, the "
                "highest score is on it.",
                front,
                760,
            )
        )
    if timeline is not None:
        drawn.append(
            _drawn(
                "timeline",
                "When attempts ran",
                f"Attempts by slot; empty is idle. The slots were busy for {timeline.busy:.0%} of "
                "the time. Dotted lines: the search was resumed.",
                timeline_bars(timeline),
                600,
            )
        )
    if run.confirmed is not None:
        drawn += _timeline_of_confirmation(run.confirmed)
    return drawn


def _timeline_of_confirmation(confirmed: Confirmed) -> list[dict[str, Any]]:
    timeline = make_timeline(confirmed.trainings, confirmed.driver_runs, time.time())
    if timeline is None:
        return []
    raced = any(trial.origin == "race" for trial in confirmed.trainings)
    return [
        _drawn(
            "confirmation-timeline",
            "When the confirmation's trainings ran",
            f"{'The race first, then the pairs. ' if raced else ''}Point at a training to see its "
            "configuration, its seed and what judged it. Dotted lines: the confirmation was "
            "resumed.",
            timeline_bars(timeline, are_listed=False),
            600,
        )
    ]


def _configuration_figures(columns: figures.Columns) -> list[dict[str, Any]]:
    """The figures of scores against configurations; none if nothing varies."""
    if not columns.values or len(columns.trials) < 2:
        return []
    importances = columns.importances()
    stopped = "Stopped trials are shown with the score that they had, after fewer epochs."
    room = figures.MOST_COLUMNS
    some = f"The {room} most important choices. " if len(columns.values) > room else ""
    drawn = [
        _drawn(
            "parallel",
            "Configurations and scores",
            "One line per trial. Drag along an axis to pick a range, or move the axes. "
            f"{some}{stopped}",
            figures.parallel_coordinates(columns, importances),
            110 * min(len(columns.values), room),
        )
    ]
    if importances:
        drawn.append(
            _drawn(
                "importances",
                "What mattered",
                "Importance of the choices for reaching the highest tenth of the scores, by "
                f"Optuna's PED-ANOVA, at most {room} shown, from "
                f"{counted(len(columns.trials), 'trial')}. With few trials it is rough, and α, β, "
                f"γ add up to 1, so they share their importance. {stopped}",
                figures.importance_bars(importances),
            )
        )
    drawn.append(
        _drawn(
            "slices",
            "Score against each choice",
            f"{some}One point per trial; finished trials are blue. {stopped}",
            figures.slices(columns, importances),
            720 if len(columns.values) > 1 else 0,
        )
    )
    return drawn


def _drawn(name: str, title: str, text: str, figure: go.Figure, width: int = 0) -> dict[str, Any]:
    height = int(figure.layout.height)
    about = {"id": name, "title": title, "text": text, "height": height, "width": width}
    return {**about, "figure": figure}


def page_regions(divided: list[Region], run: Run) -> list[dict[str, Any]]:
    numbers = dict.fromkeys(region.trial.number for region in divided)
    colours = dict(zip(numbers, cycle(_REGION_COLOURS), strict=False))
    return [
        {
            "trial": region.trial.number,
            "name": region.trial.name,
            "state": region.trial.state,
            "report": region.report.step,
            "scores": [region.report.scores[task] for task in TASK_NAMES],
            "kept": run.is_kept(region.trial.number, region.report.step),
            "corners": region.corners,
            "share": region.share,
            "colour": colours[region.trial.number],
        }
        for region in divided
    ]


def page_table(record: SearchRecord, recipe: str) -> dict[str, Any]:
    varied = varied_columns(record.trials)
    tasks = record.tasks
    names = ["trial", "name", "state", "score", *tasks, "epochs", "seconds", *varied]
    rows = []
    for trial in record.ranked:
        kept = trial.kept
        numbers = [trial.score, *(kept.scores.get(t) if kept else None for t in tasks)]
        epochs = trial.reports[-1].epoch if trial.reports else 0.0
        values = [None if trial.was_refused else value_of(trial, c) for c in varied]
        cells = [trial.number, trial.name, trial.state, *numbers, epochs, trial.seconds, *values]
        rows.append(
            {
                "cells": [_short(cell) for cell in cells],
                "why": trial.why,
                "origin": trial.origin,
                "options": None if trial.was_refused else train_options(trial.config, recipe),
            }
        )
    return {"columns": names, "rows": rows}


def _short(value: Any) -> Any:
    """Numbers to six digits, more than the page shows; the command has all digits."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    return value if not isinstance(value, bool) else str(value)
