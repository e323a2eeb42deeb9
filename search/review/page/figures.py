"""The figures of the page, drawn by plotly in the browser.

A trace's ``customdata`` holds trial numbers; the page puts the trials' names before the texts.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from plotly.subplots import make_subplots

from minbert.tasks import TASK_NAMES, Task
from search.analysis.pareto import ParetoFront, Point
from search.record import GREEK, SearchRecord, State, TrialRecord, Verdict, reports_in_order
from search.review.varied import value_of, varied_columns

BLUE, ORANGE, GREY, INK = "#2563a8", "#d97706", "#8a94a3", "#1f2933"
_COLOURS: dict[State, str] = {
    "finished": BLUE,
    "stopped": GREY,
    "paused": "#a78bfa",
    "running": "#16a34a",
    "failed": "#dc2626",
    "interrupted": "#c0a060",
}
# Decisions, with their names and their marks in the learning curves.
_MARKS: dict[Verdict, tuple[str, str, str]] = {
    "promote": ("promoted", "triangle-up", "#16a34a"),
    "pause": ("paused at a rung", "line-ns-open", "#7c3aed"),
    "stop": ("stopped by the scheduler", "x-thin-open", "#b91c1c"),
    "prune": ("stopped by the pruner", "diamond-open", "#b91c1c"),
    "fail": ("failed", "star", "#dc2626"),
}
# More would be too small to read.
MOST_COLUMNS = 12
_SLICES_A_ROW = 4


def laid_out(figure: go.Figure, height: int, **more: Any) -> go.Figure:
    """Apply the layout that all figures share."""
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 55, "r": 15, "t": 30, "b": 45},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **more,
    )
    for axes in (figure.update_xaxes, figure.update_yaxes):
        axes(
            gridcolor="#e3e8ee",
            zeroline=False,
            linecolor="#b8c1cc",
            automargin=True,
            exponentformat="e",
        )
    return figure


def as_numbers(values: Sequence[Any]) -> np.ndarray:
    """Numbers in single precision: enough for a screen, and compact in plotly's JSON."""
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32)


def learning_curves(record: SearchRecord) -> go.Figure:
    """Score at each report of every trial, with the decisions."""
    figure = go.Figure()
    winner, baseline = record.winner, record.baseline
    highlighted = [t for t in (baseline, winner) if t is not None and t.reports]
    for state, colour in _COLOURS.items():
        trials = [t for t in record.trials if t.state == state and t not in highlighted]
        if curves := [trial for trial in trials if trial.reports]:
            _add_curves(figure, curves, state, line={"color": colour, "width": 1})
    if baseline is not None and baseline is not winner and baseline.reports:
        _add_curves(figure, [baseline], "the recipe", line={"color": INK, "width": 3})
    if winner is not None:
        name = "the recipe" if winner is baseline else f"trial {winner.number}"
        line = {"color": ORANGE, "width": 3}
        _add_curves(figure, [winner], f"{name}, which scored highest", line)
    for verdict, (name, symbol, colour) in _MARKS.items():
        at = [
            (report, trial)
            for trial in record.trials
            for report in trial.reports
            if _mark(trial, report.step) == verdict
        ]
        if at:
            figure.add_scatter(
                x=as_numbers([report.epoch for report, _ in at]),
                y=as_numbers([report.score for report, _ in at]),
                mode="markers",
                name=name,
                marker={"symbol": symbol, "color": colour, "size": 8, "line": {"width": 2}},
                hoverinfo="skip",
            )
    return laid_out(figure, 460, xaxis_title="epochs", yaxis_title="score on dev")


def _mark(trial: TrialRecord, step: int) -> Verdict:
    verdict = trial.decisions[step - 1].verdict
    is_promoted = any(attempt.rung == step for attempt in trial.attempts)
    if verdict == "pause" and is_promoted:
        return "promote"
    if verdict == "pause" and trial.ended and step == len(trial.reports):
        return "stop"
    return verdict


def _add_curves(figure: go.Figure, trials: Sequence[TrialRecord], name: str, line: Any) -> None:
    """Add curves as one trace, with gaps between them."""
    x: list[float] = []
    y: list[float] = []
    numbers: list[int] = []
    texts: list[str] = []
    for trial in trials:
        for report, decision in zip(trial.reports, trial.decisions, strict=True):
            x.append(report.epoch)
            y.append(report.score)
            of = f"report {report.step}/{trial.total_reports}: {report.score:.4f}"
            texts.append(f"{of} {decision.reason}")
        x.append(math.nan)
        y.append(math.nan)
        texts.append("")
        numbers += [trial.number] * (len(trial.reports) + 1)
    figure.add_scatter(
        x=as_numbers(x),
        y=as_numbers(y),
        customdata=numbers,
        text=texts,
        name=name,
        mode="lines+markers",
        line=line,
        marker={"size": 3 if line["width"] == 1 else 6},
        hoverinfo="text",
    )


class Columns:
    """The values of scored trials in the columns that vary.

    Attributes:
        trials: with a score, without failed ones.
        values: for each column with more than one value, the value of each trial.
    """

    def __init__(self, record: SearchRecord):
        self.trials = [t for t in record.trials if t.kept is not None and t.state != "failed"]
        values = {
            column: [value_of(trial, column) for trial in self.trials]
            for column in varied_columns(record.trials)
        }
        self.values = {name: each for name, each in values.items() if len(set(each)) > 1}

    @property
    def scores(self) -> np.ndarray:
        return as_numbers([trial.score or 0.0 for trial in self.trials])

    def is_number(self, column: str) -> bool:
        return all(type(value) in (int, float) for value in self.values[column])

    def is_log(self, column: str) -> bool:
        """Whether the values differ so much in size that a log scale is better."""
        if not self.is_number(column) or column in GREEK.values():
            return False
        numbers = [float(value) for value in self.values[column]]
        return min(numbers) > 0 and max(numbers) / min(numbers) >= 20

    def importances(self) -> dict[str, float]:
        """How much each column matters for the score (Optuna's PED-ANOVA), largest first.

        Returns:
            Shares that add up to 1; empty if there are too few trials to tell.
        """
        # PED-ANOVA compares the highest tenth with the rest: not possible for few or equal scores.
        if len(self.trials) < 10 or not self.values or np.ptp(self.scores) == 0:
            return {}
        study = optuna.create_study(direction="maximize")
        distributions = {name: self._distribution(name) for name in self.values}
        for index, trial in enumerate(self.trials):
            study.add_trial(
                optuna.trial.create_trial(
                    params={name: each[index] for name, each in self.values.items()},
                    distributions=distributions,
                    value=trial.score,
                )
            )
        found = optuna.importance.get_param_importances(study)
        return found if all(map(math.isfinite, found.values())) else {}

    def most_important(self, importances: dict[str, float]) -> list[str]:
        """As many columns as a figure has room for, most important first."""
        ranked = sorted(self.values, key=lambda name: -importances.get(name, 0.0))
        return ranked[:MOST_COLUMNS]

    def _distribution(self, column: str) -> BaseDistribution:
        values = self.values[column]
        if not self.is_number(column):
            return CategoricalDistribution(sorted(set(values), key=str))
        numbers = [float(value) for value in values]
        if all(isinstance(value, int) for value in values):
            return IntDistribution(int(min(numbers)), int(max(numbers)))
        return FloatDistribution(min(numbers), max(numbers), log=self.is_log(column))


def parallel_coordinates(columns: Columns, importances: dict[str, float]) -> go.Figure:
    """A line for each trial through its values and its score."""
    most = columns.most_important(importances)
    shown = [name for name in columns.values if name in most]
    axes = [_axis(name, columns.values[name], columns) for name in shown]
    score = {"label": "score", "values": columns.scores}
    colours = {
        "color": columns.scores,
        "colorscale": "Viridis",
        "showscale": True,
        "colorbar": {"title": {"text": "score"}, "thickness": 12},
    }
    figure = go.Figure(go.Parcoords(dimensions=[*axes, score], line=colours))
    return laid_out(figure, 420).update_layout(margin={"l": 70, "r": 40, "t": 60, "b": 25})


def _axis(name: str, values: Sequence[Any], columns: Columns) -> dict[str, Any]:
    if not columns.is_number(name):
        choices = sorted(set(values), key=str)
        return {
            "label": name,
            "values": [choices.index(value) for value in values],
            "tickvals": list(range(len(choices))),
            "ticktext": [str(choice) for choice in choices],
        }
    if columns.is_log(name):
        logs = np.log10(np.array(values, dtype=np.float64))
        ticks = np.linspace(logs.min(), logs.max(), 5)
        return {
            "label": name,
            "values": as_numbers(logs.tolist()),
            "tickvals": ticks.tolist(),
            "ticktext": [f"{10**tick:.2g}" for tick in ticks],
        }
    return {"label": name, "values": as_numbers(values)}


def importance_bars(importances: dict[str, float]) -> go.Figure:
    """Importances as bars, the largest at the top."""
    names = list(importances)[:MOST_COLUMNS][::-1]
    shares = [importances[name] for name in names]
    bars = go.Bar(
        x=as_numbers(shares),
        y=names,
        orientation="h",
        marker_color=BLUE,
        text=[f"{share:.2f}" for share in shares],
        hoverinfo="skip",
    )
    height = 90 + 26 * len(names)
    return laid_out(go.Figure(bars), height, xaxis_title="importance for the score")


def slices(columns: Columns, importances: dict[str, float]) -> go.Figure:
    """Score against each column, most important first."""
    names = columns.most_important(importances)
    across = min(len(names), _SLICES_A_ROW)
    down = math.ceil(len(names) / across)
    figure = make_subplots(rows=down, cols=across, shared_yaxes=True, vertical_spacing=0.28 / down)
    numbers = [trial.number for trial in columns.trials]
    finished = np.array([trial.state == "finished" for trial in columns.trials], dtype=np.uint8)
    marker = {
        "size": 6,
        "opacity": 0.7,
        "color": finished,
        "colorscale": [[0, GREY], [1, BLUE]],
        "cmin": 0,
        "cmax": 1,
        "showscale": False,
    }
    for index, name in enumerate(names):
        row, column = divmod(index, across)
        values = columns.values[name]
        is_number = columns.is_number(name)
        figure.add_scatter(
            x=as_numbers(values) if is_number else [str(value) for value in values],
            y=columns.scores,
            customdata=numbers,
            hoverinfo="text+x+y",
            mode="markers",
            marker=marker,
            showlegend=False,
            row=row + 1,
            col=column + 1,
        )
        scale = (
            {"type": "log"} if columns.is_log(name) else {} if is_number else {"type": "category"}
        )
        figure.update_xaxes(title_text=name, row=row + 1, col=column + 1, **scale)
    return laid_out(figure, 60 + 240 * down)


def front_views(record: SearchRecord) -> go.Figure | None:
    """Every checkpoint by two task scores at a time; None if there is only one task."""
    points = list(reports_in_order(record.trials))
    tasks: list[Task] = [t for t in TASK_NAMES if points and t in points[0][1].scores]
    pairs = [(a, b) for index, a in enumerate(tasks) for b in tasks[index + 1 :]]
    if not pairs:
        return None
    front = ParetoFront(limit=2**31)
    for trial, report in points:
        front.offer(Point(trial.number, report.step, report.scores))
    on_front = front.keys
    groups: dict[str, list[Any]] = defaultdict(list)
    for trial, report in points:
        is_there = (trial.number, report.step) in on_front
        groups["on the Pareto front" if is_there else "not on the Pareto front"].append(
            (trial, report)
        )
    for name, chosen in (("the recipe", record.baseline), ("scored highest", record.winner)):
        if chosen is not None and chosen.kept is not None:
            groups[name].append((chosen, chosen.kept))
    looks = {
        "not on the Pareto front": {"color": "#c3cad3", "size": 5},
        "on the Pareto front": {"color": BLUE, "size": 8},
        "the recipe": {"color": INK, "size": 14, "symbol": "circle-open", "line_width": 2},
        "scored highest": {"color": ORANGE, "size": 18, "symbol": "star-open", "line_width": 2},
    }
    figure = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.07)
    for name, look in looks.items():
        group = groups.get(name, [])
        numbers = [trial.number for trial, _ in group]
        texts = [f"report {r.step}/{t.total_reports}" for t, r in group]
        for column, (x, y) in enumerate(pairs, start=1):
            figure.add_scatter(
                x=as_numbers([report.scores[x] for _, report in group]),
                y=as_numbers([report.scores[y] for _, report in group]),
                customdata=numbers,
                text=texts,
                hoverinfo="text+x+y",
                mode="markers",
                marker=look,
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                row=1,
                col=column,
            )
            figure.update_xaxes(title_text=x, row=1, col=column)
            figure.update_yaxes(title_text=y, row=1, col=column)
    return laid_out(figure, 400)
