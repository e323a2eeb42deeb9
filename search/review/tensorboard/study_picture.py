"""One picture of a study: its checkpoints by task scores, and the learning curves of its trials."""

import io
import itertools
from collections.abc import Sequence
from typing import Any

from minbert.tasks import TASKS, Task
from search.analysis.pareto import ParetoFront
from search.record import SearchRecord, TrialRecord

_INCHES = (8.0, 7.0)
_DOTS_PER_INCH = 100
_GREY, _FRONT, _RECIPE, _HIGHEST = "#9aa5b1", "#c2410c", "#111827", "#1d4ed8"


def study_picture(
    record: SearchRecord, front: ParetoFront, tasks: Sequence[Task]
) -> tuple[bytes, int, int]:
    """Draw the current state of a study.

    Args:
        record: with at least one report.
        front: its points are marked.

    Returns:
        A PNG file, its width and its height in pixels.
    """
    # Imported here because it takes a second. Not pyplot, which keeps figures and needs a display.
    from matplotlib.figure import Figure

    pairs = list(itertools.combinations(tasks, 2))
    rows, columns = (2, 2) if len(pairs) > 1 else (1, 1 + len(pairs))
    figure = Figure(_INCHES, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for pair in pairs:
        _draw_front(next(panels), record, front, pair)
    _draw_curves(next(panels), record)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    width, height = (round(inches * _DOTS_PER_INCH) for inches in _INCHES)
    return buffer.getvalue(), width, height


def _draw_front(
    axes: Any, record: SearchRecord, front: ParetoFront, pair: tuple[Task, Task]
) -> None:
    scores = [report.scores for trial in record.trials for report in trial.reports]
    x, y = ([each[task] for each in scores] for task in pair)
    axes.plot(x, y, ".", color=_GREY, markersize=5)
    x, y = ([point.scores[task] for point in front.points] for task in pair)
    axes.plot(x, y, "o", color=_FRONT, markersize=7, markerfacecolor="none", markeredgewidth=1.5)
    titles = [f"{TASKS[task].title}, {TASKS[task].metric}" for task in pair]
    title = f"all checkpoints; ringed: the Pareto front of {len(front.points)}"
    axes.set(title=title, xlabel=titles[0], ylabel=titles[1])
    axes.grid(alpha=0.3)


def _draw_curves(axes: Any, record: SearchRecord) -> None:
    from matplotlib.collections import LineCollection

    curves = [_curve(trial) for trial in record.trials if trial.reports]
    axes.add_collection(LineCollection(curves, colors=_GREY, linewidths=0.8, alpha=0.6))
    # A line with a single point is invisible.
    ends = [curve[-1] for curve in curves]
    axes.plot(*zip(*ends, strict=True), ".", color=_GREY, markersize=5)
    highest = record.best("running", "paused", "finished", "stopped", "interrupted")
    for trial, name, color in (
        (record.baseline, "the recipe", _RECIPE),
        (highest, "highest: chosen on\nthese dev data, so optimistic", _HIGHEST),
    ):
        if trial is not None and trial.kept is not None:
            label = f"trial {trial.number}, {name}"
            points = zip(*_curve(trial), strict=True)
            axes.plot(*points, ".-", color=color, linewidth=1.8, label=label)
    axes.locator_params(axis="x", nbins=5)
    axes.set(title="learning curves", xlabel="training examples", ylabel="dev score")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right")


def _curve(trial: TrialRecord) -> list[tuple[int, float]]:
    return [(report.examples, report.score) for report in trial.reports]
