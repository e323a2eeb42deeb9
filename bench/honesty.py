"""Whether the words about a winner are true, over many searches in which the truth is known.

    python -m bench.honesty [--searches 1000] [--only equals,mix,power,sentence,pairs] [--out FILE]

Each search has 20 trials and the recipe. A trial's answers depend on

    the example           hard for all models, or easy
    configuration × example   a smooth function of the configuration, so that a sampler can exploit
                          what the dev sample happens to prefer
    seed × example        all configurations with a seed have it in common
    run × example         differs between all trainings
    run                   one training is better than another on all examples
    configuration         its true quality

as much as ``bench.components`` found in real trainings (``SETTINGS``). Then the product's own
functions confirm the winner: ``finalists_of``, ``next_confirmation``, ``conclude``. One training in
50 crashes and is retried; one in 1,000 stays failed.

    equals    all configurations are as good as the recipe: how often a confirmation says "better",
              for full and small data, and a random and a TPE sampler; and how often "better" would
              be said on dev alone with as many new seeds
    mix       true differences to the recipe are N(−2, 1.5) points: how often "better" is false, and
              how many intervals hold the true difference
    power     one rival is 1 point better: how often that is found
    sentence  equals, with the stored dev predictions of each report: how often the reality check
              calls the lead larger than chance
    pairs     95 % intervals of ``search.review --compare`` that hold the true difference
"""

import argparse
import json
import math
import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table

from bench.truth import FINALISTS, PAIRS, SETTINGS, TRIALS, DrawnExamples, DrawnWorld
from minbert.errors import InputError
from minbert.settings import run_command
from minbert.tasks import TASK_NAMES
from minbert.weights import EQUAL_WEIGHTS
from search.analysis.noise import noise_of, paired_difference
from search.analysis.verdict import interval_of
from search.record import SearchRecord
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions, TaskArrays, pack_predictions
from testkit.synthetic import SIMILARITY_NOISE, draw_labels, draw_predictions


def equal(_: int) -> float:
    return 0.0


def one_is_better(number: int) -> float:
    return 0.01 if number == 1 else 0.0 if number == 0 else -0.02


def mixed(seed: int) -> Callable[[int], float]:
    """True differences of N(−2, 1.5) points to the recipe."""
    gains = [0.0, *np.random.default_rng([seed, 3]).normal(-0.02, 0.015, TRIALS)]
    return gains.__getitem__


def confirmed(task: tuple[str, str, str, int, int, int]) -> dict[str, Any]:
    """One search and its confirmation: what it says, and what is true."""
    kind, size, sampler, finalists, pairs, seed = task
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    gains = {"equals": equal, "power": one_is_better, "mix": mixed(seed)}[kind]
    world = DrawnWorld(SETTINGS[size], seed, gains)
    record = world.search(sampler)
    conclusion, trainings = world.confirm(record, finalists=finalists, pairs=pairs)
    result: dict[str, Any] = {"task": task, "trainings": trainings, "ending": "nothing"}
    if conclusion is not None:
        result["ending"] = conclusion.ending
        if conclusion.rival is not None and (interval := conclusion.interval) is not None:
            true = gains(conclusion.rival)
            result |= {"true": true, "holds": bool(interval.low <= true <= interval.high)}
    if kind == "equals":
        result["on dev"] = _on_dev(world, record, pairs)
    return result


def _on_dev(world: DrawnWorld, record: SearchRecord, pairs: int) -> bool:
    """Whether as many new seeds on the dev data would call the winner better."""
    winner = record.winner
    if winner is None or winner.number == 0:
        return False
    differences = [
        _score_on_dev(world, winner.number, seed) - _score_on_dev(world, 0, seed)
        for seed in range(1, 1 + pairs)
    ]
    return interval_of(differences).finding == "better"


def _score_on_dev(world: DrawnWorld, number: int, seed: int) -> float:
    scores = world.dev.scores(world.answers(number, seed, world.dev))
    return sum(scores.values()) / len(scores)


class _Remembering(DrawnWorld):
    """Keeps the predictions of its trainings, in their order."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.given: list[TaskArrays] = []

    def answers(self, number: int, seed: int, examples: DrawnExamples) -> TaskArrays:
        self.given.append(super().answers(number, seed, examples))
        return self.given[-1]


def called_larger_than_chance(task: tuple[str, int]) -> bool:
    """Whether the reality check calls the lead of a search among equals larger than chance."""
    size, seed = task
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    world = _Remembering(SETTINGS[size], seed, equal)
    with tempfile.TemporaryDirectory() as folder:
        predictions = DevPredictions(LocalDirectory(Path(folder)))
        record = world.search("random")
        predictions.write_labels_of(world.dev.labels)
        for number, each in enumerate(world.given):
            predictions.write(number, 1, pack_predictions(each))
        noise = noise_of(record, predictions)
    return noise is not None and record.winner is not record.trials[0] and noise.beyond_chance


def intervals_that_hold(pairs: int, examples: int = 400) -> dict[str, float]:
    """Shares of the intervals of ``--compare`` that hold the true difference."""
    held = dict.fromkeys([*TASK_NAMES, "score"], 0)
    for seed in range(pairs):
        draw = np.random.default_rng([seed, 1])
        skills = draw.uniform(0.5, 0.9, size=2)
        labels = draw_labels(examples, draw)
        first, second = (draw_predictions(labels, skill, draw) for skill in skills)
        truth = {"sst": skills[1] - skills[0], "para": skills[1] - skills[0]}
        truth["sts"] = _correlation(skills[1]) - _correlation(skills[0])
        truth["score"] = sum(truth.values()) / 3
        for name, found in paired_difference(labels, first, second, EQUAL_WEIGHTS).items():
            held[name] += bool(found.low <= truth[name] <= found.high)
    return {name: count / pairs for name, count in held.items()}


def _correlation(skill: float) -> float:
    # Labels are uniform over 0 to 5.
    variance = 25 / 12
    return math.sqrt(variance / (variance + (SIMILARITY_NOISE * (1 - skill)) ** 2))


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="Confirmations of searches whose truth is known")
    for heading in ("searches", "data", "sampler", "rivals", "pairs", "number"):
        table.add_column(heading)
    endings = {
        "nothing": "nothing to confirm",
        "recipe": "recipe leads race",
        **{ending: ending for ending in ("not shown", "better", "worse", "failed")},
    }
    for heading in (
        *endings.values(),
        *("better, of judged", "better is false", "intervals hold"),
        *("trainings", "better on dev alone"),
    ):
        table.add_column(heading, justify="right")
    kinds = dict.fromkeys(tuple(row["task"][:-1]) for row in rows)
    for kind in kinds:
        own = [row for row in rows if tuple(row["task"][:-1]) == kind]
        ended = [row["ending"] for row in own]
        shares = [f"{ended.count(ending) / len(own):.1%}" for ending in endings]
        claims = [row for row in own if row["ending"] == "better"]
        false = sum(row["true"] <= 0 for row in claims)
        held = [row["holds"] for row in own if "holds" in row]
        on_dev = [row["on dev"] for row in own if "on dev" in row]
        table.add_row(
            *map(str, kind),
            str(len(own)),
            *shares,
            f"{len(claims) / len(held):.1%}" if held else "",
            f"{false} of {len(claims)}",
            f"{np.mean(held):.1%} of {len(held)}" if held else "",
            f"{np.mean([row['trainings'] for row in own if row['trainings']] or [0]):.1f}",
            f"{np.mean(on_dev):.1%}" if on_dev else "",
        )
    return table


PARTS = ("equals", "mix", "power", "sentence", "pairs")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--searches", type=int, default=1000, help="of each kind")
    parser.add_argument("--finalists", type=int, default=FINALISTS, help="of a confirmation")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="that judge")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--out", type=Path, help="save results here, and continue from them")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if unknown := set(only) - set(PARTS):
        raise InputError(f"--only {sorted(unknown)[0]}: there are {', '.join(PARTS)}")
    console = Console(width=200)
    seeds = range(arguments.searches)
    kinds = [("equals", size, sampler) for size in SETTINGS for sampler in ("random", "tpe")]
    kinds += [("mix", "full", "tpe"), ("mix", "small", "tpe"), ("power", "full", "tpe")]
    sizes = (arguments.finalists, arguments.pairs)
    tasks = [(*kind, *sizes, seed) for seed in seeds for kind in kinds if kind[0] in only]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        if tasks:
            console.print(table_of(_saved(arguments.out, tasks, partial(pool.imap, confirmed))))
        if "sentence" in only:
            for size in SETTINGS:
                said = pool.map(called_larger_than_chance, [(size, seed) for seed in seeds])
                console.print(
                    f"{len(said)} searches among equals, {size} data: in {np.mean(said):.1%} the "
                    "reality check calls the lead larger than chance"
                )
    if "pairs" in only:
        for name, share in intervals_that_hold(min(200, arguments.searches)).items():
            console.print(f"--compare, {name}: {share:.1%} of the intervals hold")


def _saved(
    path: Path | None, tasks: Sequence[tuple[Any, ...]], run: Callable[[list[Any]], Any]
) -> list[dict[str, Any]]:
    """The results of all tasks; those in the file are taken from there, others are added to it."""
    there = path is not None and path.exists()
    lines = path.read_text().splitlines() if path is not None and there else []
    done = {tuple(row["task"]): row for row in map(json.loads, lines)}
    for row in run([task for task in tasks if task not in done]):
        done[tuple(row["task"])] = row
        if path is not None:
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return [done[task] for task in tasks]


if __name__ == "__main__":
    run_command(main)
