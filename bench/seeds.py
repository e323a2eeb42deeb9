"""Dev scores over seeds, now and by an earlier commit: python -m bench.seeds --data DIR.

Trains the recipe strong with each seed and each --precision, and with the code of an earlier
commit (--before). Scores are those of the checkpoints that the runs keep. If the scores of a faster
trainer differ from the earlier ones by no more than chance, these seeds show no loss.

Runs take long, so each is added to a file (--save) as it ends. The same command continues from that
file; runs of other code, data or settings in it are left as they are.
"""

import argparse
import contextlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from minbert.config import InputSettings, recipe
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.hub import load_pretrained
from minbert.settings import run_command
from minbert.train import Trainer

from .runs import Runs, sha256_of
from .served import ROOT, Process, code_of, count

TASKS = ("sst", "para", "sts")

# By name: the root of a trainer's checkout, and its settings.
Trainers = dict[str, tuple[Path, dict[str, Any]]]


# What runs in each process.


def serve(options: dict[str, Any]) -> None:
    """Answer each seed on stdin with the scores of the checkpoint that its run keeps."""
    torch.set_num_threads(options["threads"])
    pretrained = load_pretrained(options["encoder"], options["layers"])
    inputs = InputSettings(
        data=options["data"],
        train_limit=options["train_limit"],
        dev_limit=options["dev_limit"],
    )
    dataset = load_dataset(inputs, pretrained.tokenizer())
    changes = {} if options["epochs"] is None else {"epochs": options["epochs"]}
    config = recipe("strong").replace(precision=options["precision"], **changes)
    print(json.dumps({"data": dataset.files}), flush=True)
    for line in sys.stdin:
        trainer = Trainer(config.replace(seed=int(line)), dataset, pretrained)
        while not trainer.finished:
            trainer.next_report()
        assert trainer.kept is not None
        answer = {"scores": trainer.kept.scores, "linear": trainer.linear}
        print(json.dumps(answer), flush=True)


# What runs in the command's own process.


def _rows(scores: dict[str, float]) -> list[float]:
    """The three task scores and their mean."""
    each = [scores[task] for task in TASKS]
    return [*each, sum(each) / len(each)]


def show(scores: dict[str, list[list[float]]], seeds: list[int]) -> list[Table]:
    """The tables of the scores (seeds, 4) of each trainer."""
    columns = ("sst", "para", "sts", "mean")
    each = Table("seed", "trainer", *columns)
    for number, seed in enumerate(seeds):
        for name, rows in scores.items():
            each.add_row(str(seed), name, *(f"{value:.3f}" for value in rows[number]))
    means = Table("mean ± standard deviation", *columns)
    for name, rows in scores.items():
        deviations = np.std(rows, axis=0, ddof=1)
        values = zip(np.mean(rows, axis=0), deviations, strict=True)
        means.add_row(name, *(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in values))
    differences = Table("difference ± standard error", *columns)
    for (before, old), (name, new) in itertools.combinations(scores.items(), 2):
        by_seed = np.subtract(new, old)
        errors = np.std(by_seed, axis=0, ddof=1) / np.sqrt(len(seeds))
        values = zip(by_seed.mean(axis=0), errors, strict=True)
        cells = (f"{difference:+.4f} ± {error:.4f}" for difference, error in values)
        differences.add_row(f"{name} − {before}", *cells)
    return [each, means, differences] if len(scores) > 1 else [each, means]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="toy", help="a folder in the course layout")
    parser.add_argument("--before", help="a commit of this repository to compare with")
    parser.add_argument("--seeds", type=count, default=5, help="how many, from 0; at least 2")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["fp32", "bf16"],
        default=["fp32"],
        help="of the trainer now; the earlier commit trains in fp32",
    )
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--layers", type=count, help="(default: all)")
    parser.add_argument("--epochs", type=count, help="(default: the recipe's)")
    parser.add_argument("--train-limit", type=count, help="train examples a task (default: all)")
    parser.add_argument("--dev-limit", type=count, help="dev examples a task (default: all)")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    parser.add_argument(
        "--save", type=Path, default=Path("seeds.jsonl"), help="(default: %(default)s)"
    )
    options = parser.parse_args()
    if options.seeds < 2:
        raise InputError("--seeds: one seed shows no spread; give at least 2")
    return options


def train(trainers: Trainers, seeds: list[int], runs: Runs) -> dict[str, list[list[float]]]:
    """The scores (seeds, 4) of each trainer; only runs that are not in the file are trained."""
    scores: dict[str, list[list[float]]] = {name: [] for name in trainers}
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, (code, served) in trainers.items():
            processes[name] = Process("seeds", served, code)
            stack.callback(processes[name].end)
        # Seed by seed, so that an interrupted comparison has the same seeds of all trainers.
        for seed, (name, (code, served)) in itertools.product(seeds, trainers.items()):
            about = {
                "code": sha256_of(code, ["minbert"]),
                **served,
                **processes[name].about,
                "seed": seed,
            }
            found = runs.find(about)
            if found is None:
                found = processes[name].ask(seed)
                runs.add(about, found)
                mean = _rows(found["scores"])[-1]
                print(f"seed {seed}, {name}: mean {mean:.3f}", file=sys.stderr)
            scores[name].append(_rows(found["scores"]))
    return scores


def main() -> None:
    options = parse_options()
    runs = Runs(options.save, "--save", needs=["scores"])
    data = options.data if options.data == "toy" else str(Path(options.data).resolve())
    settings = {
        "data": data,
        "threads": options.threads,
        **{name: getattr(options, name) for name in ("encoder", "layers", "epochs")},
        **{name: getattr(options, name) for name in ("train_limit", "dev_limit")},
    }
    print(
        f"Recipe strong, {options.encoder}, on {data}; {options.seeds} seeds, "
        f"threads: {options.threads}, torch {torch.__version__}; dev scores of the checkpoints "
        f"that the runs keep, saved in {options.save}"
    )
    seeds = list(range(options.seeds))
    with contextlib.ExitStack() as stack:
        trainers: Trainers = {}
        if options.before:
            code = stack.enter_context(code_of(options.before))
            trainers["before"] = code, {**settings, "precision": "fp32"}
        for precision in options.precision:
            trainers[f"now, {precision}"] = ROOT, {**settings, "precision": precision}
        scores = train(trainers, seeds, runs)
    console = Console(width=120)
    for table in show(scores, seeds):
        console.print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(json.loads(sys.argv[2]))
    else:
        run_command(main)
