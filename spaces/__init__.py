"""Search spaces, one per file.

A space is a function ``space(trial: optuna.Trial) -> dict[str, Any]`` that returns fields of
``minbert.config.TrainConfig``; the recipe gives the other fields. The module docstring is the
description of the space. A module with ``EXPERIMENTS`` instead of the function is a fixed list.

If parameters have other names than the fields that they set, a file may also offer:

``at(config: TrainConfig) -> dict[str, Any] | None``
    the inverse of ``space``: the values of these parameters that make ``space`` return the fields
    of ``config``, or None if ``config`` is outside of the space.
``SHOWN: dict[str, tuple[str, str]]``
    for a parameter, the name and the range to show to people in its place.
"""

from typing import Any, NamedTuple


class Experiment(NamedTuple):
    """One row of a fixed list.

    Attributes:
        name: shown to people.
        changes: TrainConfig fields that differ from the recipe.
        finding: what the paper says about this step; empty if it says nothing.
    """

    name: str
    changes: dict[str, Any]
    finding: str = ""
