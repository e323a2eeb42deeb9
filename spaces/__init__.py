"""Search spaces, one a file.

A space is a function ``space(trial: optuna.Trial) -> dict[str, Any]`` that returns fields of
``minbert.config.TrainConfig``; the recipe gives the other fields. The module docstring is the
space's description. A module with ``EXPERIMENTS`` in place of the function is a fixed list.

Where parameters have other names than the fields that they become, a file may also offer:

``at(config: TrainConfig) -> dict[str, Any] | None``
    the inverse of ``space``: the values of these parameters that make ``space`` return the fields
    of ``config``, or None if ``config`` lies outside of the space.
``SHOWN: dict[str, tuple[str, str]]``
    for a parameter, the name and the range that people are shown in its place.
"""

from typing import Any, NamedTuple


class Experiment(NamedTuple):
    """One row of a fixed list.

    Attributes:
        name: what a person calls it.
        changes: TrainConfig fields that differ from the recipe.
        finding: what the course report says of this step; empty where it says nothing.
    """

    name: str
    changes: dict[str, Any]
    finding: str = ""
