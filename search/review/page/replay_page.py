"""replay.html: the best score against trainings spent, for each way of searching."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from minbert.errors import plain
from minbert.files import write_whole

from .figures import GREY, laid_out

# Distinct for people with common colour blindness (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Band:
    """A way of searching: quartiles of its score (points, 3) over trainings spent (points,)."""

    name: str
    trainings: np.ndarray
    quartiles: np.ndarray


def write_replay_page(
    path: Path, run: str, bands: Sequence[Band], recipe_score: float, best_score: float
) -> None:
    """Write the page, which needs no network.

    Raises:
        OSError: it cannot be written.
    """
    figure = replay_figure(bands, recipe_score, best_score)
    figure.update_layout(
        title={"text": plain(f"Replays of {run}: medians, with quartiles"), "x": 0.01, "y": 0.97},
        margin={"t": 90},
    )
    content = figure.to_html(include_plotlyjs=True, config={"displaylogo": False})
    write_whole(path, content.encode())


def replay_figure(bands: Sequence[Band], recipe_score: float, best_score: float) -> go.Figure:
    """Medians as lines and quartiles as areas."""
    figure = go.Figure()
    for index, band in enumerate(bands):
        colour = _COLOURS[index % len(_COLOURS)]
        name = plain(band.name)
        x = band.trainings
        low, middle, high = band.quartiles.T
        around = {"legendgroup": name, "showlegend": False, "hoverinfo": "skip"}
        figure.add_scatter(x=x, y=low, mode="lines", line={"width": 0, "shape": "hv"}, **around)
        figure.add_scatter(
            x=x,
            y=high,
            mode="lines",
            line={"width": 0, "shape": "hv"},
            fill="tonexty",
            fillcolor=_faint(colour),
            **around,
        )
        dash = _DASHES[index // len(_COLOURS) % len(_DASHES)]
        figure.add_scatter(
            x=x,
            y=middle,
            mode="lines",
            name=name,
            line={"color": colour, "dash": dash, "shape": "hv"},
            legendgroup=name,
        )
    for score, text in ((recipe_score, "the recipe"), (best_score, "the best recorded trial")):
        figure.add_hline(y=score, line={"color": GREY, "dash": "dot"}, annotation_text=text)
    laid_out(figure, 560)
    figure.update_xaxes(title="trainings spent, each one trial trained to its end")
    figure.update_yaxes(title="dev score of what the search would hand over")
    return figure


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.12)"
