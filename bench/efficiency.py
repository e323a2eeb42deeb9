"""What ways of searching find, and what they spend: no training, known learning curves only.

    python -m bench.efficiency [--worlds synthetic,strong,paper,bad] [--seeds 50] [--methods …]
                               [--others PYTHON]

Worlds:

    synthetic  curves that are made up, without a recipe; the target is the best report of 64 random
               configurations that are trained to their end
    strong     the bank's surrogate; the recipe is strong, and the target is 1 point above it
    paper      the recipe is paper, and the target is strong's score
    bad        the recipe is the bank's median uniform trial, and the target is strong's score

In the synthetic world a method has found the target when a report of its own reaches it. In the
others its best report so far must have a true score, without noise, of that much. Trainings are in
units of one full training.

"NePS PriorBand" and "Syne Tune ASHA" are compared too with the Python of an environment that has
these packages, which do not install beside ours; PriorBand only in worlds with a recipe:

    python -m venv others && others/bin/pip install syne-tune neural-pipeline-search
    python -m bench.efficiency --others others/bin/python
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table

from bench.methods import AROUND_A_RECIPE, METHODS, OF_OTHERS, OTHERS, Seen
from bench.worlds import Bank, Synthetic, World
from minbert.errors import InputError
from minbert.settings import choose, run_command

RANDOM_TRIALS = 64
AFTER = (4, 8, 16)
# Trainings, by world: twice what random search has in the synthetic one, otherwise what scores are
# reported for.
BUDGETS = {"synthetic": 2.0 * RANDOM_TRIALS, **dict.fromkeys(("strong", "paper", "bad"), 16.0)}
SET_UP = "python -m venv others && others/bin/pip install syne-tune neural-pipeline-search"


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
    parser.add_argument(
        "--others",
        metavar="PYTHON",
        help=f"compare {' and '.join(OF_OTHERS)} too, by a Python that has them: {SET_UP}",
    )
    arguments = parser.parse_args()
    worlds = arguments.worlds.split(",")
    for name in worlds:
        choose("world", name, BUDGETS)
    methods = methods_of(arguments.methods, arguments.others)
    tasks = [
        (world, method, seed)
        for world in worlds
        for seed in range(arguments.seeds)
        for method in methods
        if method not in AROUND_A_RECIPE or world != "synthetic"
    ]
    if not tasks:
        raise InputError(f"--methods {arguments.methods}: it needs a world with a recipe")
    done = _read(arguments.out)
    left = [task for task in tasks if task not in done]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for row in pool.imap_unordered(run_one, left):
            done[row["world"], row["method"], row["seed"]] = row
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    console = Console(width=150)
    for world in dict.fromkeys(world for world, _, _ in tasks):
        console.print(table_of(world, [done[task] for task in tasks if task[0] == world]))


def methods_of(names: str | None, others: str | None) -> list[str]:
    """Methods to compare; worker processes find the Python of others in their environment.

    Args:
        names: with ; between them; None for all that can run.
        others: a Python that has the packages of others; None for none.

    Raises:
        InputError: there is no such method, or it needs that Python, or that lacks the packages.
    """
    for name in names.split(";") if names else ():
        choose("method", name, METHODS)
    if others is None:
        named = names.split(";") if names else [name for name in METHODS if name not in OF_OTHERS]
        needed = [name for name in named if name in OF_OTHERS]
        if needed:
            raise InputError(f"--methods: {needed[0]} needs --others PYTHON; make one by {SET_UP}")
        return named
    has_them = "import importlib.util as i; assert i.find_spec('neps') and i.find_spec('syne_tune')"
    python = shutil.which(others)
    check = [python or "", "-I", "-c", has_them]
    if python is None or subprocess.run(check, stderr=subprocess.DEVNULL).returncode:
        raise InputError(f"--others {others}: no Python with the packages; make one by {SET_UP}")
    os.environ[OTHERS] = python
    return names.split(";") if names else list(METHODS)


def _read(path: Path | None) -> dict[tuple[str, str, int], dict[str, Any]]:
    if path is None or not path.exists():
        return {}
    rows = map(json.loads, path.read_text().splitlines())
    return {(row["world"], row["method"], row["seed"]): row for row in rows}


if __name__ == "__main__":
    run_command(main)
