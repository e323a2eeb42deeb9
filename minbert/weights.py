"""Weights over the three tasks, the weighted score, and which checkpoint a rule keeps."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from .tasks import TASK_NAMES, Task

SelectionRule = Literal["any_task", "weighted", "objective", "last"]
Scores = Mapping[Task, float]


class Weights(NamedTuple):
    """Three non-negative numbers (α, β, γ) for sst, para, sts, of any scale; not all zero."""

    sst: float
    para: float
    sts: float

    def of(self, task: Task) -> float:
        return self[TASK_NAMES.index(task)]

    def normalised(self, total: float, tasks: Sequence[Task] = TASK_NAMES) -> dict[Task, float]:
        """The weights of ``tasks``, scaled to add up to ``total``.

        Raises:
            ValueError: the weights of all ``tasks`` are 0.
        """
        in_all = sum(self.of(task) for task in tasks)
        if in_all <= 0:
            raise ValueError(f"weights {self} give no weight to any of: {', '.join(tasks)}")
        return {task: total * self.of(task) / in_all for task in tasks}

    def __str__(self) -> str:
        return ",".join(f"{weight:g}" for weight in self)


EQUAL_WEIGHTS = Weights(1.0, 1.0, 1.0)


def weighted_score(scores: Scores, weights: Weights) -> float:
    """α·sst + β·para + γ·sts over the tasks in ``scores``, with weights normalised to sum 1."""
    shares = weights.normalised(1.0, list(scores))
    return sum(shares[task] * score for task, score in scores.items())


def selected_index(
    history: Sequence[Scores],
    rule: SelectionRule,
    *,
    selection_weights: Weights,
    objective: Weights,
) -> int:
    """Index of the report whose checkpoint ``rule`` keeps, given the dev scores of all reports.

    - ``any_task``: the paper's rule (section 4.1): a checkpoint replaces the kept one when at
      least one task scores higher than it does there.
    - ``weighted``: the highest score under ``selection_weights`` (section 4.5).
    - ``objective``: the highest score under ``objective``.
    - ``last``: the last.

    The first of equal checkpoints is kept.
    """
    if not history:
        raise ValueError("no report to keep")
    if rule == "last":
        return len(history) - 1
    if rule == "any_task":
        kept = 0
        for index, scores in enumerate(history):
            if any(score > history[kept][task] for task, score in scores.items()):
                kept = index
        return kept
    weights = selection_weights if rule == "weighted" else objective
    ranked = [weighted_score(scores, weights) for scores in history]
    return ranked.index(max(ranked))
