"""The figure of a timeline: which attempt ran on which slot, and when."""

import plotly.graph_objects as go

from .figures import BLUE, GREY, INK, as_numbers, laid_out
from .timeline import Timeline

_OUTCOME_COLOURS = {
    "finished": BLUE,
    "promoted": "#16a34a",
    "paused": "#a78bfa",
    "stopped": GREY,
    "failed": "#dc2626",
    "interrupted": "#c0a060",
    "running": "#86efac",
}


def timeline_bars(timeline: Timeline, *, are_listed: bool = True) -> go.Figure:
    """Which attempt ran on which slot, and when; gaps are idle time.

    Args:
        timeline: to draw.
        are_listed: whether the page's table has the trials, and so their names. If not, they are
            numbered from 1, as the terminal does with the trainings of a confirmation.
    """
    figure = go.Figure()
    first = 0 if are_listed else 1
    for outcome, colour in _OUTCOME_COLOURS.items():
        stays = [stay for stay in timeline.stays if stay.outcome == outcome]
        if stays:
            figure.add_bar(
                base=as_numbers([stay.start / 60 for stay in stays]),
                x=as_numbers([(stay.end - stay.start) / 60 for stay in stays]),
                y=[stay.slot + 1 for stay in stays],
                text=[str(first + stay.trial.number) for stay in stays],
                textposition="inside",
                insidetextanchor="middle",
                customdata=[stay.trial.number for stay in stays] if are_listed else None,
                hovertext=[
                    ("" if are_listed else f"{stay.trial.name}<br>")
                    + f"attempt {stay.attempt}, {stay.end - stay.start:.0f} s: {outcome}"
                    for stay in stays
                ],
                hoverinfo="text",
                orientation="h",
                name=outcome,
                marker={"color": colour, "line": {"color": "white", "width": 0.5}},
            )
    for moment in timeline.resumed:
        figure.add_vline(x=moment / 60, line={"color": INK, "dash": "dot"})
    figure.update_yaxes(title_text="slot", dtick=1, autorange="reversed")
    height = 130 + 26 * max(timeline.slots, 2)
    return laid_out(figure, height, barmode="overlay", xaxis_title="minutes")
