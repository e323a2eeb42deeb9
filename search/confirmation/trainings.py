"""What a confirmation trains: a race if there are several rivals, then pairs that are judged.

Everything here is a function of the plan and of the trials so far. A race only chooses, on dev,
with a seed of its own. The judged pairs only judge: their seeds, their number and the examples that
judge them are fixed before the first training starts. So one comparison is made, whatever the
number of rivals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from minbert.settings import Settings
from search.inputs import Fold, Judge
from search.record import SearchRecord, TrialRecord

# All confirmations on the same data have the same folds.
FOLDS = 5
# Seeds of confirmations begin here, far from those that people choose for a search. They are the
# same in all confirmations on the same data.
_FIRST_SEED = 1_000_003
# The version of the rules by which a plan is carried out and concluded from.
RULE = 2

Kind = Literal["race", "judge"]
JudgedOn = Literal["folds", "test"]


class ConfirmationPlan(Settings):
    """What a confirmation is going to do, fixed before it starts."""

    rule: int
    """version of the rule"""
    finalists: Annotated[tuple[int, ...], Field(min_length=2)]
    """numbers of trials of the search: the recipe's, then its rivals, best first"""
    asked_finalists: int
    """how many rivals were asked for; there may be fewer"""
    configs: tuple[str, ...]
    """sha256 of the configuration of each finalist"""
    race_seed: int | None
    """of the race; None if there is no race, as there is one rival"""
    judge_seeds: tuple[int, ...]
    judge: JudgedOn = "folds"
    """whether folds of the training examples judge, or labelled test files"""
    folds: int
    """number of folds; 0 with test files"""
    folds_sha256: str
    """of the division into folds; empty with test files"""
    data: dict[str, str]
    """sha256 of each data file, by name"""
    test: dict[str, str] = Field(default_factory=dict)
    """sha256 of each labelled test file, by name"""

    @property
    def race_trainings(self) -> int:
        """Number of trainings of the race."""
        return 0 if self.race_seed is None else len(self.finalists)

    @property
    def trainings(self) -> int:
        """The most trainings that the confirmation takes."""
        return self.race_trainings + 2 * len(self.judge_seeds)


@dataclass(frozen=True)
class Training:
    """One training of a confirmation.

    Attributes:
        kind: race, scored on dev; or judge, on examples that were never scored before.
        of: number of the search's trial whose configuration it trains.
        seed: of the training.
        judge: those examples; None in the race.
    """

    kind: Kind
    of: int
    seed: int
    judge: Judge | None = None

    @property
    def name(self) -> str:
        """For people."""
        what = "recipe" if self.of == 0 else f"trial {self.of}"
        return ", ".join([what, f"seed {self.seed}", *([named(self.judge)] if self.judge else [])])


def named(judge: Judge) -> str:
    """The examples that judge, for people."""
    return "test" if judge == "test" else f"fold {judge.number + 1} of {judge.of}"


def file_of(judge: Judge) -> str:
    """What the file of their labels is called."""
    return "test" if judge == "test" else f"fold-{judge.number}"


@dataclass(frozen=True)
class Race:
    """What the race decided.

    Attributes:
        rival: number of the search's trial that goes on; None if the recipe leads.
        is_void: nothing can be chosen, as the recipe's training failed, or all of its rivals'.
    """

    rival: int | None
    is_void: bool = False


def seeds_for(search_seed: int, rivals: int, pairs: int) -> tuple[int | None, tuple[int, ...]]:
    """The seed of a race, None with one rival, and those of the pairs; none is the search's own."""
    seeds = (_FIRST_SEED + number for number in range(pairs + 2))
    race, *judge = [seed for seed in seeds if seed != search_seed][: pairs + 1]
    return (race if rivals > 1 else None), tuple(judge)


def most_trainings(rivals: int, pairs: int) -> int:
    """The most trainings of a confirmation: a race of several rivals and the recipe, and pairs."""
    return (1 + rivals if rivals > 1 else 0) + 2 * pairs


def finalists_of(record: SearchRecord, count: int) -> list[TrialRecord]:
    """The recipe and the best ``count`` other trials that ended without failing."""
    rivals = [
        trial
        for trial in record.ranked
        if trial.number != 0 and trial.kept is not None and trial.state != "failed"
    ]
    return [record.trials[0], *rivals[:count]]


def race_of(plan: ConfirmationPlan, trials: Sequence[TrialRecord]) -> Race | None:
    """The outcome of the race; None while it is not over. A single rival goes on without one."""
    if plan.race_seed is None:
        return Race(plan.finalists[1])
    raced = trials[: plan.race_trainings]
    if len(raced) < plan.race_trainings or not all(trial.is_over for trial in raced):
        return None
    scores = {
        of: trial.score
        for of, trial in zip(plan.finalists, raced, strict=True)
        if trial.state == "finished" and trial.score is not None
    }
    recipe, *_ = plan.finalists
    if recipe not in scores or len(scores) < 2:
        return Race(None, is_void=True)
    # Of equal ones the first, which is the recipe.
    best = max(scores, key=scores.__getitem__)
    return Race(None if best == recipe else best)


def is_judged(plan: ConfirmationPlan, trials: Sequence[TrialRecord]) -> bool:
    """Whether all pairs are trained, so that only their scores are missing."""
    judged = trials[plan.race_trainings :]
    is_complete = len(trials) == plan.trainings
    return is_complete and all(trial.state == "finished" for trial in judged)


def next_confirmation(
    plan: ConfirmationPlan, trials: Sequence[TrialRecord]
) -> Training | Literal["wait", "done"]:
    """What a confirmation trains next.

    Args:
        plan: of the confirmation.
        trials: of the confirmation so far, in the order of their numbers.
    """
    number = len(trials)
    if number < plan.race_trainings:
        return training_of(plan, number, None)
    race = race_of(plan, trials)
    if race is None:
        return "wait"
    failed = any(trial.state == "failed" for trial in trials[plan.race_trainings :])
    if race.rival is None or failed or number == plan.trainings:
        return "done"
    return training_of(plan, number, race.rival)


def training_of(plan: ConfirmationPlan, number: int, rival: int | None) -> Training:
    """The training with a number.

    Args:
        plan: of the confirmation.
        number: from 0, over race and judged pairs.
        rival: the trial of the search that is judged; None in the race.
    """
    if number < plan.race_trainings:
        assert plan.race_seed is not None
        return Training("race", plan.finalists[number], plan.race_seed)
    assert rival is not None
    pair, second = divmod(number - plan.race_trainings, 2)
    judge: Judge = "test" if plan.judge == "test" else Fold(pair % plan.folds, plan.folds)
    of = rival if second else plan.finalists[0]
    return Training("judge", of, plan.judge_seeds[pair], judge)
