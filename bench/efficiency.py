"""What ways of searching find, and what they spend: no training, known learning curves only.

    python -m bench.efficiency [--worlds synthetic,strong,paper,bad] [--seeds 50] [--methods …]

Worlds:

    synthetic  curves that are made up, without a recipe; the target is the best report of 64 random
               configurations that are trained to their end
    strong     the bank's surrogate; the recipe is strong, and the target is 1 point above it
    paper      the recipe is paper, and the target is strong's score
    bad        the recipe is the bank's median uniform trial, and the target is strong's score

In the synthetic world a method has found the target when a report of its own reaches it. In the
others its best report so far must have a true score, without noise, of that much. Trainings are in
units of one full training.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table

from bench.methods import METHODS, Seen
from bench.worlds import Bank, Synthetic, World

RANDOM_TRIALS = 64
AFTER = (4, 8, 16)
# Trainings, by world: twice what random search has in the synthetic one.
BUDGETS = {"synthetic": 2.0 * RANDOM_TRIALS, "strong": 32.0, "paper": 32.0, "bad": 32.0}


def world_of(name: str, seed: int) -> World:
    return Synthetic(seed, RANDOM_TRIALS) if name == "synthetic" else Bank(name, seed)


def until_found(world: World, seen: Sequence[Seen]) -> float:
    """Trainings until the target; infinite if it was not reached."""
    if not world.has_recipe:
        return next((s.trainings for s in seen if s.score >= world.target), math.inf)
    return next((s.trainings for s in best_so_far(seen) if s.true >= world.target), math.inf)


def best_so_far(seen: Sequence[Seen]) -> list[Seen]:
    """After each report, the one that would be handed over, at the trainings spent."""
    best = itertools.accumulate(seen, _better)
    return [Seen(now.trainings, b.score, b.true) for now, b in zip(seen, best, strict=True)]


def _better(one: Seen, other: Seen) -> Seen:
    return other if other.score > one.score else one


def run_one(task: tuple[str, str, int]) -> dict[str, Any]:
    """One method, in one world, with one seed."""
    world_name, method, seed = task
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    world = world_of(world_name, seed)
    seen = METHODS[method](world, seed, BUDGETS[world_name])
    handed_over = best_so_far(seen)
    after = [
        next((s.true for s in reversed(handed_over) if s.trainings <= spent + 1e-9), math.nan)
        for spent in AFTER
    ]
    return {
        "world": world_name,
        "method": method,
        "seed": seed,
        "found": until_found(world, seen),
        "after": after,
        "recipe": float(world.truth(world.base).max()),
        "target": world.target,
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Quartiles that are themselves values, as some may be infinite."""
    ordered = sorted(values)
    low, middle, high = (ordered[math.ceil(q * len(ordered)) - 1] for q in (0.25, 0.5, 0.75))
    return low, middle, high


def table_of(world: str, rows: Sequence[dict[str, Any]]) -> Table:
    recipes = [row["recipe"] for row in rows]
    goals = [row["target"] for row in rows]
    table = Table(
        title=f"{world}: trainings until {np.mean(goals):.3f} (the recipe: {np.mean(recipes):.3f})"
    )
    table.add_column("method", no_wrap=True)
    for heading in ("lower quartile", "median", "upper quartile", "found"):
        table.add_column(heading, justify="right")
    for spent in AFTER:
        table.add_column(f"true score after {spent}", justify="right")
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        found = [row["found"] for row in own]
        cells = [f"{v:.1f}" if math.isfinite(v) else "never" for v in quartiles(found)]
        share = f"{np.isfinite(found).sum()} of {len(found)}"
        after = np.array([row["after"] for row in own])
        scores = [
            "{1:.3f} ({0:.3f}–{2:.3f})".format(*np.quantile(column, [0.25, 0.5, 0.75]))
            for column in after.T
        ]
        table.add_row(method, *cells, share, *scores)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--worlds", default=",".join(BUDGETS))
    parser.add_argument("--methods", help="names, with ; between them (default: all)")
    parser.add_argument("--out", type=Path, help="save results here, and continue from them")
    arguments = parser.parse_args()
    worlds = arguments.worlds.split(",")
    methods = arguments.methods.split(";") if arguments.methods else list(METHODS)
    tasks = [(w, m, s) for w in worlds for s in range(arguments.seeds) for m in methods]
    done = _read(arguments.out)
    left = [task for task in tasks if task not in done]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for row in pool.imap_unordered(run_one, left):
            done[row["world"], row["method"], row["seed"]] = row
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    console = Console(width=150)
    for world in worlds:
        console.print(table_of(world, [done[task] for task in tasks if task[0] == world]))


def _read(path: Path | None) -> dict[tuple[str, str, int], dict[str, Any]]:
    if path is None or not path.exists():
        return {}
    rows = map(json.loads, path.read_text().splitlines())
    return {(row["world"], row["method"], row["seed"]): row for row in rows}


if __name__ == "__main__":
    main()
