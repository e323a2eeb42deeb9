"""What a confirmation trains: a race of the finalists, then pairs that are judged on folds.

Everything here is a function of the plan and of the trials so far. The race only chooses, on dev,
with a seed of its own. The judged pairs only judge: their seeds, their number and the examples that
judge them are fixed before the first training starts. So one comparison is made, whatever the
number of finalists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from minbert.settings import Settings
from search.inputs import Fold
from search.record import SearchRecord, TrialRecord

# All confirmations on the same data have the same folds.
FOLDS = 5
# Seeds of confirmations begin here, far from those that people choose for a search. They are the
# same in all confirmations on the same data.
_FIRST_SEED = 1_000_003
# The rule of these trainings and of their conclusion. A change of either changes it.
RULE = 1

Kind = Literal["race", "judge"]


class ConfirmationPlan(Settings):
    """What a confirmation is going to do, fixed before it starts."""

    rule: int
    """version of the rule"""
    finalists: Annotated[tuple[int, ...], Field(min_length=2)]
    """numbers of trials of the search: the recipe's, then its rivals, best first"""
    asked_finalists: int
    """how many rivals were to race; there may be fewer"""
    configs: tuple[str, ...]
    """sha256 of the configuration of each finalist"""
    race_seed: int
    judge_seeds: tuple[int, ...]
    folds: int
    """number of folds"""
    folds_sha256: str
    """of the division into folds"""
    data: dict[str, str]
    """sha256 of each data file, by name"""

    @property
    def trainings(self) -> int:
        """The most trainings that the confirmation takes."""
        return len(self.finalists) + 2 * len(self.judge_seeds)


@dataclass(frozen=True)
class Training:
    """One training of a confirmation.

    Attributes:
        kind: race, on all training examples; or judge, which leaves out a fold.
        of: number of the search's trial whose configuration it trains.
        seed: of the training.
        fold: the examples that it leaves out and is judged by; None in the race.
    """

    kind: Kind
    of: int
    seed: int
    fold: Fold | None = None

    @property
    def name(self) -> str:
        """For people."""
        what = "recipe" if self.of == 0 else f"trial {self.of}"
        where = "" if self.fold is None else f", fold {self.fold.number + 1} of {self.fold.of}"
        return f"{what}, seed {self.seed}{where}"


@dataclass(frozen=True)
class Race:
    """What the race decided.

    Attributes:
        rival: number of the search's trial that goes on; None if the recipe leads.
        failed: number of its trainings that failed.
        is_void: nothing can be chosen, as the recipe's training failed, or all of its rivals'.
    """

    rival: int | None
    failed: int
    is_void: bool = False


def seeds_for(search_seed: int, count: int) -> tuple[int, ...]:
    """Seeds for a race and its judged pairs, none of them the search's own."""
    seeds = (_FIRST_SEED + number for number in range(count + 1))
    return tuple(seed for seed in seeds if seed != search_seed)[:count]


def finalists_of(record: SearchRecord, count: int) -> list[TrialRecord]:
    """The recipe and the best ``count`` other trials that ended without failing."""
    rivals = [
        trial
        for trial in record.ranked
        if trial.number != 0 and trial.kept is not None and trial.state != "failed"
    ]
    return [record.trials[0], *rivals[:count]]


def race_of(plan: ConfirmationPlan, trials: Sequence[TrialRecord]) -> Race | None:
    """The outcome of the race; None while it is not over."""
    raced = trials[: len(plan.finalists)]
    if len(raced) < len(plan.finalists) or not all(trial.is_over for trial in raced):
        return None
    failed = sum(trial.state == "failed" for trial in raced)
    scores = {
        of: trial.score
        for of, trial in zip(plan.finalists, raced, strict=True)
        if trial.state == "finished" and trial.score is not None
    }
    recipe, *_ = plan.finalists
    if recipe not in scores or len(scores) < 2:
        return Race(None, failed, is_void=True)
    # Of equal ones the first, which is the recipe.
    best = max(scores, key=lambda of: scores[of] or 0.0)
    return Race(None if best == recipe else best, failed)


def next_confirmation(
    plan: ConfirmationPlan, trials: Sequence[TrialRecord]
) -> Training | Literal["wait", "done"]:
    """What a confirmation trains next.

    Args:
        plan: of the confirmation.
        trials: of the confirmation so far, in the order of their numbers.
    """
    number = len(trials)
    if number < len(plan.finalists):
        return training_of(plan, number, None)
    race = race_of(plan, trials)
    if race is None:
        return "wait"
    failed = any(trial.state == "failed" for trial in trials[len(plan.finalists) :])
    if race.rival is None or failed or number == plan.trainings:
        return "done"
    return training_of(plan, number, race.rival)


def training_of(plan: ConfirmationPlan, number: int, rival: int | None) -> Training:
    """The training with a number.

    Args:
        plan: of the confirmation.
        number: from 0, over race and judged pairs.
        rival: the trial of the search that won the race; None in the race.
    """
    in_race = len(plan.finalists)
    if number < in_race:
        return Training("race", plan.finalists[number], plan.race_seed)
    assert rival is not None
    pair, second = divmod(number - in_race, 2)
    fold = Fold(pair % plan.folds, plan.folds)
    of = rival if second else plan.finalists[0]
    return Training("judge", of, plan.judge_seeds[pair], fold)
