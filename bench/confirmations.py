"""What confirmations would say about real trainings, and what is true of them.

    python -m bench.confirmations [--replays 1000] [--finalists 1] [--pairs 7]

The trainings are those of ``bench.repeats``: configurations near the recipe and the recipe itself,
each with the same seeds, with 800 training examples of each task. Searches over them and their
confirmations are replayed by the product's own functions:

    folds      the examples that choose, and five folds that judge, are drawn anew from the held-out
               examples, with replacement
    test       likewise, with as many labelled test examples as dev has, which judge all pairs
    half       half of dev chooses, and the other half judges all pairs
    as it was  dev and the folds are those of the recorded trainings, whose training sets overlap

A seed of a replay is one of those recorded, drawn with replacement (without, where the recorded
folds judge), and the same for a pair. The truth is a configuration's mean score on all held-out
examples, over all of its seeds, minus the recipe's.
"""

import argparse
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.repeats import Bank, Place, load_bank
from bench.truth import FINALISTS, PAIRS, Examples, World, trial_of
from minbert.settings import run_command
from minbert.tasks import TASK_NAMES, Task
from search.confirmation.trainings import FOLDS, file_of
from search.inputs import Fold
from search.record import SearchRecord
from search.storage.predictions import TaskArrays

KINDS = ("folds", "test", "half", "as it was")


class BankExamples(Examples):
    """Examples of a place, or a sample of them.

    Args:
        bank: the trainings.
        place: of the examples.
        rows: which of them, by task; None for all.
        fold: number of the fold, for that place.
    """

    def __init__(
        self,
        bank: Bank,
        place: Place,
        rows: Mapping[Task, np.ndarray] | None = None,
        fold: int | None = None,
    ):
        labels = bank.labels_for(place, 0 if fold is None else fold)
        self.rows = rows or {task: np.arange(len(labels[task])) for task in TASK_NAMES}
        super().__init__({task: labels[task][self.rows[task]] for task in TASK_NAMES})
        self.place, self.fold = place, fold


class BankWorld(World[BankExamples]):
    """A search over the recorded configurations.

    Args:
        kind: what judges, see above.
        seed: of all that is drawn.
    """

    def __init__(self, kind: str, seed: int):
        self._bank = bank = load_bank()
        self.draw = np.random.default_rng([seed, KINDS.index(kind)])
        self._drawn: dict[tuple[int, int | None], int] = {}
        sizes = {task: len(each) for task, each in bank.labels["dev"].items()}
        if kind == "as it was":
            self.dev = BankExamples(bank, "dev")
            self.judges = {
                file_of(Fold(fold, FOLDS)): BankExamples(bank, "fold", fold=fold)
                for fold in range(FOLDS)
            }
        elif kind == "half":
            self.dev = self._sample({task: size // 2 for task, size in sizes.items()})
            self.judges = {"test": self._sample({task: size // 2 for task, size in sizes.items()})}
        else:
            self.dev = self._sample(sizes)
            train = {task: len(each) // FOLDS for task, each in bank.labels["fold"].items()}
            self.judges = (
                {"test": self._sample(sizes)}
                if kind == "test"
                else {file_of(Fold(fold, FOLDS)): self._sample(train) for fold in range(FOLDS)}
            )

    def _sample(self, sizes: Mapping[Task, int]) -> BankExamples:
        held = self._bank.labels["held"]
        rows = {task: self.draw.integers(len(held[task]), size=n) for task, n in sizes.items()}
        return BankExamples(self._bank, "held", rows)

    def search(self) -> SearchRecord:
        """All configurations with the search's seed, scored on dev."""
        trials = [
            trial_of(number, self.dev.scores(self.answers(number, 0, self.dev)))
            for number in range(len(self._bank.configurations))
        ]
        return SearchRecord(len(trials), trials)

    def answers(self, number: int, seed: int, examples: BankExamples) -> TaskArrays:
        key = seed, examples.fold
        if key not in self._drawn:
            able = set(range(self._bank.seeds))
            if examples.fold is not None:
                # Each that left the fold out counts once: a second time would tell nothing new.
                taken = {drawn for (_, fold), drawn in self._drawn.items() if fold == examples.fold}
                able = {seed for seed in able - taken if seed % FOLDS == examples.fold}
            self._drawn[key] = int(self.draw.choice(sorted(able)))
        predictions = self._bank.predictions[examples.place]
        return {
            task: predictions[task][number][self._drawn[key]][examples.rows[task]]
            for task in TASK_NAMES
        }


def replayed(finalists: int, pairs: int, task: tuple[str, int]) -> dict[str, Any]:
    """One search and its confirmation: what it says, and what is true."""
    kind, seed = task
    world = BankWorld(kind, seed)
    conclusion, trainings = world.confirm(
        world.search(),
        judge="test" if kind in ("test", "half") else "folds",
        finalists=finalists,
        pairs=pairs,
    )
    row: dict[str, Any] = {"kind": kind, "ending": "nothing", "trainings": trainings}
    if conclusion is None:
        return row
    row["ending"] = conclusion.ending
    if conclusion.rival is not None and (interval := conclusion.interval) is not None:
        row["true"] = true = float(load_bank().truths[conclusion.rival])
        row["holds"] = interval.low <= true <= interval.high
        # What "better" would be if all configurations were as good as the recipe.
        row["above"] = true < interval.low
        row["half width"] = interval.half_width
    return row


def table_of(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Replayed searches and confirmations")
    table.add_column("judged by")
    headings = ("replays", "trainings", "nothing to confirm", "better", "better is false")
    powers = ("0.5 to 1 points", "1 to 2 points", "2 points or more")
    for heading in (*headings, "intervals hold", "too high", "half width", *powers):
        table.add_column(heading, justify="right")
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        judged = [row for row in own if "true" in row]
        claims = [row for row in judged if row["ending"] == "better"]
        false = sum(row["true"] <= 0 for row in claims)
        found = [
            [row["ending"] == "better" for row in judged if low <= 100 * row["true"] < high]
            for low, high in ((0.5, 1), (1, 2), (2, np.inf))
        ]
        table.add_row(
            kind,
            str(len(own)),
            f"{np.mean([row['trainings'] for row in own if row['trainings']] or [0]):.1f}",
            f"{np.mean([row['ending'] == 'nothing' for row in own]):.1%}",
            f"{len(claims) / len(own):.1%}",
            f"{false} of {len(claims)}",
            f"{np.mean([row['holds'] for row in judged]):.1%} of {len(judged)}",
            f"{np.mean([row['above'] for row in judged]):.1%}",
            f"{100 * np.mean([row['half width'] for row in judged]):.2f}",
            *(f"{np.mean(each):.0%} of {len(each)}" if each else "" for each in found),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replays", type=int, default=1000, help="of each kind")
    parser.add_argument("--finalists", type=int, default=FINALISTS, help="of a confirmation")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="that judge")
    arguments = parser.parse_args()
    console = Console(width=170)
    tasks = [(kind, seed) for kind in KINDS for seed in range(arguments.replays)]
    run = partial(replayed, arguments.finalists, arguments.pairs)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        console.print(table_of(list(pool.imap_unordered(run, tasks, chunksize=20))))


if __name__ == "__main__":
    run_command(main)
