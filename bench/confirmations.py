"""What confirmations would say about real trainings, and what is true of them.

    python -m bench.confirmations [--replays 1000] [--finalists 1] [--pairs 7]

The trainings are those of ``bench.repeats``: configurations near the recipe and the recipe itself,
each with the same seeds. What differs between them, and by how much, is printed first, for small
and full data. Then searches of those on small data and their confirmations are replayed by the
product's own functions:

    folds      the examples that choose, and five folds that judge, are drawn anew from the held-out
               examples, with replacement
    test       likewise, with as many labelled test examples as dev has, which judge all pairs
    half       half of dev chooses, and the other half judges all pairs
    as it was  dev and the folds are those of the recorded trainings, whose training sets overlap

A seed of a replay is one of those recorded, drawn with replacement, and the same for a pair. The
truth is a configuration's mean score on all held-out examples, over all of its seeds, minus the
recipe's.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.repeats import RECORDINGS, Place
from bench.truth import CLASSES, FINALISTS, PAIRS, Examples, World, trial_of
from minbert.config import TrainConfig
from minbert.evaluate import grade
from minbert.settings import run_command
from minbert.tasks import TASK_NAMES, Task
from search.confirmation.trainings import FOLDS, file_of, most_trainings
from search.inputs import Fold
from search.record import SearchRecord
from search.storage.predictions import TaskArrays

KINDS = ("folds", "test", "half", "as it was")


@dataclass(frozen=True)
class Bank:
    """Recorded trainings of some configurations, the recipe's first.

    Attributes:
        configurations: that are trained.
        labels: of dev, of the held-out examples if there are any, and of the training examples
            (``fold``).
        folds: the fold of each training example.
        predictions: (configurations, seeds) arrays of each task by place; those for a fold have
            the examples of the fold that the seed leaves out.
    """

    configurations: tuple[TrainConfig, ...]
    labels: Mapping[Place, TaskArrays]
    folds: TaskArrays
    predictions: Mapping[Place, Mapping[Task, list[list[np.ndarray]]]]

    @property
    def seeds(self) -> int:
        """Number of seeds of a configuration."""
        return len(self.predictions["dev"]["sst"][0])

    @property
    def unseen(self) -> Place:
        """The most examples that no training saw and that all trainings predict."""
        return "held" if "held" in self.labels else "dev"

    def labels_for(self, place: Place, seed: int) -> TaskArrays:
        """Labels of the examples that a seed's predictions are for."""
        labels = self.labels[place]
        if place != "fold":
            return labels
        return {task: labels[task][self.folds[task] == seed % FOLDS] for task in TASK_NAMES}

    def scores(self, place: Place) -> np.ndarray:
        """Scores of equal task weights, (configurations, seeds)."""
        found = np.zeros((len(self.configurations), self.seeds))
        for number in range(len(self.configurations)):
            for seed in range(self.seeds):
                labels = self.labels_for(place, seed)
                found[number, seed] = np.mean(
                    [
                        grade(
                            task, self.predictions[place][task][number][seed], given, CLASSES
                        ).score
                        for task, given in labels.items()
                    ]
                )
        return found

    @property
    def truths(self) -> np.ndarray:
        """True differences to the recipe, (configurations,)."""
        mean = self.scores(self.unseen).mean(axis=1)
        differences: np.ndarray = mean - mean[0]
        return differences


@cache
def load_bank(of: str = "small") -> Bank:
    """The trainings of a recording."""
    recording = RECORDINGS[of]
    with np.load(recording.file) as file:
        arrays = {name: file[name] for name in file}
    configs = json.loads(arrays["configurations"].tobytes())
    names = {place: "train" if place == "fold" else place for place in recording.places}
    return Bank(
        configurations=tuple(TrainConfig.model_validate(config) for config in configs),
        labels={
            place: {t: arrays[f"labels_{name}_{t}"].astype(np.float32) for t in TASK_NAMES}
            for place, name in names.items()
        },
        folds={task: arrays[f"folds_{task}"] for task in TASK_NAMES},
        predictions={
            place: {
                task: [
                    [
                        arrays[f"{number}_{seed}_{place}_{task}"].astype(np.float32)
                        for seed in range(recording.seeds)
                    ]
                    for number in range(len(configs))
                ]
                for task in TASK_NAMES
            }
            for place in names
        },
    )


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
            able = [s for s in range(self._bank.seeds) if examples.fold in (None, s % FOLDS)]
            self._drawn[key] = int(self.draw.choice(able))
        predictions = self._bank.predictions[examples.place]
        return {
            task: predictions[task][number][self._drawn[key]][examples.rows[task]]
            for task in TASK_NAMES
        }


def replayed(finalists: int, pairs: int, task: tuple[str, int]) -> dict[str, Any]:
    """One search and its confirmation: what it says, and what is true."""
    kind, seed = task
    world = BankWorld(kind, seed)
    conclusion = world.confirm(
        world.search(),
        judge="test" if kind in ("test", "half") else "folds",
        finalists=finalists,
        pairs=pairs,
    )
    row: dict[str, Any] = {"kind": kind, "ending": conclusion.ending}
    row["trainings"] = most_trainings(len(conclusion.finalists) - 1, len(conclusion.pairs))
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
    headings = ("replays", "trainings", "recipe", "better", "better is false", "intervals hold")
    powers = ("0.5 to 1 points", "1 to 2 points", "2 points or more")
    for heading in (*headings, "too high", "half width", *powers):
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
            f"{np.mean([row['trainings'] for row in own]):.1f}",
            f"{np.mean([row['ending'] == 'recipe' for row in own]):.1%}",
            f"{len(claims) / len(own):.1%}",
            f"{false} of {len(claims)}",
            f"{np.mean([row['holds'] for row in judged]):.1%} of {len(judged)}",
            f"{np.mean([row['above'] for row in judged]):.1%}",
            f"{100 * np.mean([row['half width'] for row in judged]):.2f}",
            *(f"{np.mean(each):.0%} of {len(each)}" if each else "" for each in found),
        )
    return table


def components(bank: Bank) -> Iterator[str]:
    """What trainings differ by, one line each; scores in points."""
    place = bank.unseen
    scores = 100 * bank.scores(place)
    count, seeds = scores.shape
    examples = sum(map(len, bank.labels[place].values()))
    yield (
        f"{count} configurations, {seeds} seeds each, scored on {examples:,} "
        f"{'held-out' if place == 'held' else place} examples. Mean differences to the recipe, in "
        "points: "
        + " ".join(f"{value:+.1f}" for value in sorted(100 * bank.truths[1:], reverse=True))
    )
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    of_seed = scores.mean(axis=0).var(ddof=1)
    own = (residual**2).sum() / ((count - 1) * (seeds - 1))
    yield (
        f"Standard deviation of a score: over seeds of one configuration "
        f"{np.sqrt(scores.var(axis=1, ddof=1).mean()):.2f}; what a seed does to all configurations "
        f"{np.sqrt(max(0.0, of_seed - own / count)):.2f}, to one of them {np.sqrt(own):.2f}"
    )
    yield (
        "Standard deviation of the difference to the recipe over seeds: "
        f"{_spread_of_pairs(scores):.2f} with the same seed, "
        f"{np.sqrt(scores[1:].var(axis=1, ddof=1).mean() + scores[0].var(ddof=1)):.2f} with any; "
        f"with the same seed, each on the fold that it left out, "
        f"{_spread_of_pairs(100 * bank.scores('fold')):.2f}"
    )
    for task in TASK_NAMES:
        shares = shares_of(bank, task)
        yield (
            f"{task}: of what decides an answer, the example is {shares[0]:.2f}, configuration × "
            f"example {shares[1]:.2f}, run × example {shares[2]:.2f}"
        )
    if place == "held":
        ratio, correlation = _overlap(bank)
        yield (
            f"Folds: squared error of the mean of five over its estimated variance {ratio:.2f} "
            f"(1: no correction is needed); correlation between folds {correlation:+.2f} (Nadeau "
            f"and Bengio would assume {1 / FOLDS:.2f})"
        )


def _spread_of_pairs(scores: np.ndarray) -> float:
    """Standard deviation over seeds of the difference to the recipe with the same seed."""
    return float(np.sqrt((scores[1:] - scores[0]).var(axis=1, ddof=1).mean()))


def shares_of(bank: Bank, task: Task) -> tuple[float, float, float]:
    """Parts of the variance of errors over unseen examples."""
    labels = bank.labels[bank.unseen][task]
    # (configurations, seeds, examples)
    given = np.array(bank.predictions[bank.unseen][task])
    if task == "sts":
        centred = given - given.mean(axis=2, keepdims=True)
        scaled = centred / centred.std(axis=2, keepdims=True)
        goal = (labels - labels.mean()) / labels.std()
        errors = scaled - (scaled * goal).mean(axis=2, keepdims=True) * goal
    else:
        errors = (given == labels).astype(float)
    errors = errors - errors.mean(axis=2, keepdims=True)
    configs, seeds = errors.shape[:2]
    total = (errors**2).mean()
    of_config = errors.mean(axis=1)  # (configurations, examples)
    # From means of products of two different seeds, and of two different configurations.
    same = ((seeds * of_config) ** 2 - (errors**2).sum(axis=1)).mean() / (seeds * (seeds - 1))
    every = of_config.sum(axis=0)
    other = (every**2 - (of_config**2).sum(axis=0)).mean() / (configs * (configs - 1))
    return float(other / total), float((same - other) / total), float(1 - same / total)


def _overlap(bank: Bank) -> tuple[float, float]:
    """How the differences of folds vary around the truth, over all pairs of configurations."""
    fold, held = bank.scores("fold"), bank.scores("held")
    chosen = list(range(FOLDS))
    rest = [seed for seed in range(bank.seeds) if seed not in chosen]
    squared, expected, within, between = [], [], [], []
    for one in range(len(fold)):
        for other in range(one):
            differences = (fold[one] - fold[other])[chosen]
            true = held[one] - held[other]
            error = differences - true[rest].mean()
            of_truth = true.var(ddof=1) / len(rest)
            squared.append(error.mean() ** 2)
            expected.append(differences.var(ddof=1) / FOLDS + of_truth)
            within.append((error**2).mean() - of_truth)
            products = error.sum() ** 2 - (error**2).sum()
            between.append(products / (FOLDS * (FOLDS - 1)) - of_truth)
    return float(np.sum(squared) / np.sum(expected)), float(np.sum(between) / np.sum(within))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replays", type=int, default=1000, help="of each kind")
    parser.add_argument("--finalists", type=int, default=FINALISTS, help="of a confirmation")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="that judge")
    arguments = parser.parse_args()
    console = Console(width=170)
    for of in RECORDINGS:
        console.print(f"[bold]{of} data[/bold]")
        for line in components(load_bank(of)):
            console.print(line, soft_wrap=True, highlight=False)
    tasks = [(kind, seed) for kind in KINDS for seed in range(arguments.replays)]
    run = partial(replayed, arguments.finalists, arguments.pairs)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        console.print(table_of(list(pool.imap_unordered(run, tasks, chunksize=20))))


if __name__ == "__main__":
    run_command(main)
