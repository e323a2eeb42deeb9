"""The bank of real learning curves: record it, collect it, and show what it says.

    python -m bench.bank record --data DIR [--runs DIR] [NAME ...]   record the runs, by search.run
    python -m bench.bank collect [--runs DIR]                        write bench/bank/NAME.json.gz
    python -m bench.bank show                                        what the bank holds

A run is recorded with one layer of MiniLM, 800 training and dev examples of each task, three epochs
and six reports; every trial is trained to its end. Recording continues where it was interrupted.
A file of the bank holds configurations, scores and seconds, and no sentence.
"""

import argparse
import gzip
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from minbert.config import TrainConfig, recipe
from minbert.report import Report
from search.propose.points import nearest
from search.propose.proposals import groups_of
from search.propose.recipe import Mixture, RecipeSampler
from search.propose.spaces import Fields, checked_fields, load_space
from search.record import OVER
from search.storage.folder import RunFolder
from testkit.simulation import made_up_report

FOLDER = Path(__file__).parent / "bank"
DEFAULT_RUNS = Path("runs/bank")
COMMON = (
    "--encoder minilm --layers 1 --train-limit 800 --dev-limit 800 --epochs 3 --scheduler none "
    "--pruner none --no-dashboard --keep-models 1 --pareto-models 1"
)
# Only neighbours of the recipe: few choices changed, or every choice redrawn around it (PriorBand's
# density, Mallik et al. 2023).
FEW = Mixture({"recipe": 1.0}, (), number_changes=0.2, category_changes=0.12, step=0.15)
REDRAWN = Mixture({"recipe": 1.0}, (), number_changes=1.0, category_changes=0.4, step=0.25)
NEIGHBOURS = 24
REPEATED = 11


@dataclass(frozen=True)
class BankTrial:
    """A trial of the bank: its fields, its configuration, and all of its reports."""

    fields: Fields
    config: TrainConfig
    reports: tuple[Report, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        return tuple(report.score for report in self.reports)


@dataclass(frozen=True)
class BankRun:
    """A run of the bank; the first trial is the recipe."""

    space: str
    recipe: str
    base: TrainConfig
    trials: tuple[BankTrial, ...]


def options_of(name: str, runs: Path) -> str:
    """The options of ``search.run`` that record a run, beside the common ones."""
    match name.split("-"):
        case "weights", _:
            return "--space weights --sampler random --trials 41"
        case "full", given, "evolved":
            trials = 61 if given == "strong" else 31
            return f"--space full --recipe {given} --sampler recipe --trials {trials}"
        case "full", given, "uniform":
            return f"--space full --recipe {given} --sampler random --trials 25"
        case "full", given, "neighbours":
            return _as_tries(given, proposed(given, FEW))
        case "full", given, "redrawn":
            return _as_tries(given, proposed(given, REDRAWN))
        case "full", given, seed:
            # Each part of the range of scores, the recipe among them.
            record = RunFolder(runs / f"full-{given}-evolved").load_study()
            ended = [t for t in record.trials[1:] if t.state == "finished" and t.score is not None]
            ended.sort(key=lambda trial: -(trial.score or 0.0))
            places = [round(i * (len(ended) - 1) / (REPEATED - 1)) for i in range(REPEATED)]
            fields = [ended[place].fields for place in places]
            return f"{_as_tries(given, fields)} --seed {seed.removeprefix('seed')}"
    raise SystemExit(f"error: the bank has no run {name}; it has {', '.join(RUNS)}")


RUNS = (
    *("full-strong-evolved", "full-strong-uniform", "full-strong-neighbours"),
    *("full-paper-evolved", "full-strong-redrawn"),
    *("full-strong-seed1", "full-strong-seed2", "full-strong-seed3"),
    "weights-uniform",
)


def proposed(recipe_name: str, mixture: Mixture) -> list[Fields]:
    """Neighbours of a recipe in space ``full`` that all train differently."""
    space, base = load_space("full"), recipe(recipe_name)
    found: dict[TrainConfig, Fields] = {}
    for seed in range(10 * NEIGHBOURS):
        sampler = RecipeSampler(
            seed, nearest(space, base), groups_of(space), start=10, noise=0.0, mixture=mixture
        )
        fields = space.propose(optuna.create_study(sampler=sampler).ask())
        config = space.configure(fields, base)
        if config.effective() != base.effective():
            found.setdefault(config.effective(), checked_fields(fields, config))
    return list(found.values())[:NEIGHBOURS]


def _as_tries(recipe_name: str, configurations: list[Fields]) -> str:
    tries = []
    for fields in configurations:
        text = ",".join(f"{name}={_as_value(value)}" for name, value in fields.items())
        tries.append(f"--try {shlex.quote(text)}")
    trials = 1 + len(configurations)
    return f"--space full --recipe {recipe_name} --trials {trials} {' '.join(tries)}"


def _as_value(value: Any) -> str:
    return "/".join(map(repr, value)) if isinstance(value, (list, tuple)) else str(value)


def record(names: list[str], data: str, runs: Path) -> None:
    """Record the runs that are not complete, one after the other."""
    for name in names:
        there = (runs / name / "run.json").exists()
        if there and is_complete(runs / name):
            continue
        options = options_of(name, runs) + " --resume" * there
        command = f"--data {shlex.quote(data)} {COMMON} --out {runs} --name {name} {options}"
        print(f"python -m search.run {command}", flush=True)
        subprocess.run([sys.executable, "-m", "search.run", *shlex.split(command)], check=True)


def is_complete(folder: Path) -> bool:
    study = RunFolder(folder).load_study()
    planned = study.noted("planned") or 0
    return len(study.trials) >= planned and all(trial.state in OVER for trial in study.trials)


def collect(runs: Path) -> None:
    """Write the complete runs into the bank, one compressed file each."""
    FOLDER.mkdir(exist_ok=True)
    for name in RUNS:
        if not (runs / name / "run.json").exists() or not is_complete(runs / name):
            continue
        study = RunFolder(runs / name).load_study()
        trials = [
            {
                "fields": trial.fields,
                "scores": [
                    {task: round(score, 6) for task, score in report.scores.items()}
                    for report in trial.reports
                ],
                "kept": [report.kept for report in trial.reports],
                "seconds": [
                    round(report.train_seconds + report.dev_seconds, 2) for report in trial.reports
                ],
            }
            for trial in study.trials
            if trial.state == "finished"
        ]
        content = {
            "space": study.setup["space"],
            "recipe": study.setup["recipe"],
            "base": study.trials[0].config.model_dump(mode="json"),
            "trials": trials,
        }
        # Without a time, so that the same run gives the same bytes.
        packed = gzip.compress(json.dumps(content).encode(), mtime=0)
        (FOLDER / f"{name}.json.gz").write_bytes(packed)
        print(f"{name}: {len(trials)} trials, {len(packed):,} bytes")


@cache
def load_run(name: str) -> BankRun:
    """A run of the bank, by the name of its file without the suffix."""
    content = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    base = TrainConfig.check(content["base"])
    return BankRun(
        content["space"],
        content["recipe"],
        base,
        tuple(_trial(entry, base) for entry in content["trials"]),
    )


def _trial(entry: dict[str, Any], base: TrainConfig) -> BankTrial:
    config = base.replace(**entry["fields"])
    reports = tuple(
        made_up_report(config, step, scores, kept=kept, seconds=seconds)
        for step, (scores, kept, seconds) in enumerate(
            zip(entry["scores"], entry["kept"], entry["seconds"], strict=True), start=1
        )
    )
    return BankTrial(entry["fields"], config, reports)


def show() -> list[Table]:
    """How large the runs are, and how well each report predicts the final ranks."""
    files = Table(title="The bank")
    headings = ("run", "trials", "bytes", "recipe", "best", "median", "at or above the recipe")
    for heading in headings:
        files.add_column(heading, justify="left" if heading == "run" else "right", no_wrap=True)
    for path in sorted(FOLDER.glob("*.json.gz")):
        name = path.name.removesuffix(".json.gz")
        # The recipe itself is the first trial.
        recipe_score, *scores = (max(trial.scores) for trial in load_run(name).trials)
        as_good = sum(score >= recipe_score for score in scores)
        shown = (f"{value:.3f}" for value in (recipe_score, max(scores), np.median(scores)))
        counts = str(1 + len(scores)), f"{path.stat().st_size:,}"
        files.add_row(name, *counts, *shown, f"{as_good} of {len(scores)}")
    ranks = Table(title="Prediction of the best score by each report's score")
    for heading in ("run", "trials", "report", "Spearman", "regret of the top third"):
        ranks.add_column(heading, justify="left" if heading == "run" else "right")
    named = {
        recipe: [name for name in RUNS if name.startswith(f"full-{recipe}") and "seed" not in name]
        for recipe in ("strong", "paper")
    }
    for recipe_name, names in named.items():
        trials = [t for name in names if is_there(name) for t in load_run(name).trials]
        _add_ranks(ranks, f"full, {recipe_name}", trials)
        lowest = max(load_run(names[0]).trials[0].scores) - 0.02
        _add_ranks(
            ranks, "  near the recipe or above", [t for t in trials if max(t.scores) > lowest]
        )
    return [files, ranks]


def is_there(name: str) -> bool:
    return (FOLDER / f"{name}.json.gz").exists()


def _add_ranks(table: Table, name: str, trials: Sequence[BankTrial]) -> None:
    scores = np.array([trial.scores for trial in trials])
    best = scores.max(axis=1)
    for step in range(scores.shape[1]):
        third = np.argsort(-scores[:, step], kind="stable")[: len(trials) // 3]
        table.add_row(
            *((name, str(len(trials))) if step == 0 else ("", "")),
            str(step + 1),
            f"{spearmanr(scores[:, step], best).statistic:.2f}",
            f"{best.max() - best[third].max():.4f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["record", "collect", "show"])
    parser.add_argument("names", nargs="*", default=list(RUNS), help="runs to record")
    parser.add_argument("--data", default="glue", help="as for search.run")
    parser.add_argument("--runs", type=Path, default=DEFAULT_RUNS, help="folder of the runs")
    arguments = parser.parse_args()
    if arguments.action == "record":
        record(arguments.names, arguments.data, arguments.runs)
    elif arguments.action == "collect":
        collect(arguments.runs)
    else:
        for table in show():
            Console(width=110).print(table)


if __name__ == "__main__":
    main()
