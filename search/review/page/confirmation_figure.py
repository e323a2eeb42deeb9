"""The figure of a confirmation: each pair's difference, and the interval of their mean."""

import plotly.graph_objects as go

from search.confirmation.conclusion import Conclusion

from .figures import BLUE, GREY, INK, laid_out


def differences(conclusion: Conclusion) -> go.Figure:
    """Rows from top to bottom: a dot for each judged pair, then the mean with its interval."""
    interval, pairs = conclusion.interval, conclusion.pairs
    assert interval is not None
    names = [
        f"seed {pair.seed}" + ("" if pair.fold is None else f", fold {pair.fold + 1}")
        for pair in pairs
    ]
    values = [100 * pair.difference for pair in pairs]
    mean = 100 * interval.mean
    figure = go.Figure()
    figure.add_scatter(
        x=values,
        y=names,
        mode="markers",
        marker={"size": 11, "color": GREY},
        hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
    )
    figure.add_scatter(
        x=[mean],
        y=["mean"],
        mode="markers",
        marker={"size": 13, "color": BLUE, "symbol": "diamond"},
        error_x={"type": "constant", "value": 100 * interval.half_width, "thickness": 3},
        hovertemplate="mean: %{x:+.2f} points<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": INK, "width": 1, "dash": "dot"})
    ends = (0.0, mean - 100 * interval.half_width, mean + 100 * interval.half_width, *values)
    room = 0.08 * (max(ends) - min(ends)) or 0.1
    figure.add_annotation(
        x=0,
        y=1,
        yref="paper",
        yanchor="bottom",
        showarrow=False,
        text="the recipe",
        font={"size": 12},
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="points above the recipe", range=[min(ends) - room, max(ends) + room])
    return laid_out(figure, 120 + 34 * (len(pairs) + 1), showlegend=False)
