"""How often the search of `make search` finds more than its recipe: python -m bench.first_run.

For each seed: data are generated with it, the search runs on them with it, and the models that the
winner and the recipe (trial 0) keep are scored on the test split. The search sees no label of it,
so no choice was made by these scores. Where the recipe itself wins, both are equal.

A search takes minutes, so each seed is added to rows.jsonl in --out as it ends. The same command
continues from that file. As many trials run at once as there are cores, and which weights are tried
depends on which trials end first, so another run of a seed may end differently.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from minbert.errors import InputError
from minbert.evaluate import grade, predict
from minbert.settings import run_command
from minbert.toy import hidden_labels, write_toy
from minbert.weights import weighted_score
from search import Session
from search.inputs import LoadedInputs, load_inputs
from search.record import TrialRecord
from search.review.reading import Run
from search.settings import DEFAULT_TRIALS
from search.trainer import load_model

from .runs import Runs, sha256_of
from .served import ROOT, count

# The options of `make search`, apart from the data.
SEARCH: dict[str, Any] = {"space": "weights", "layers": 2}
SPLITS = ("dev", "test")


def search_and_score(seed: int, trials: int, encoder: str) -> dict[str, Any]:
    """Search on the data of a seed; the scores of the winner and of the recipe, and the seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        data.mkdir()
        write_toy(data, seed)
        session = Session(
            **SEARCH,
            data=str(data),
            encoder=encoder,
            trials=trials,
            seed=seed,
            out=temporary,
            name="search",
            # The recipe's among them, however low it ranks.
            keep_models=trials,
        )
        session.run()
        run = session.result
        winner, recipe = run.record.winner, run.record.baseline
        if run.left_because is not None or winner is None or recipe is None:
            raise InputError(f"seed {seed}: {run.standing} Give the same command to continue")
        loaded = load_inputs(run.inputs)
        return {
            "winner": _scores_of(winner, run, loaded, seed),
            "recipe": _scores_of(recipe, run, loaded, seed),
            "seconds": round(session.seconds, 1),
        }


def _scores_of(trial: TrialRecord, run: Run, loaded: LoadedInputs, seed: int) -> dict[str, Any]:
    """Dev and test scores, by task and in all, of the model that a trial keeps."""
    assert trial.kept is not None
    checkpoint = run.store.model(trial.number, trial.kept.step)
    assert checkpoint is not None
    model = load_model(checkpoint, trial.config, loaded)
    predictions = predict(model, loaded.dataset, "test")
    test = {
        task: grade(task, predictions[task], np.array(labels), loaded.dataset.classes).score
        for task, labels in hidden_labels(seed).items()
    }
    return {
        "trial": trial.number,
        "loss_weights": trial.weights,
        "dev": {**trial.kept.scores, "score": trial.kept.score},
        "test": {**test, "score": weighted_score(test, run.objective)},
    }


def show(rows: dict[int, dict[str, Any]]) -> Table:
    """A row for each seed: scores on dev and test data, of the winner and of the recipe."""
    columns = [f"{split}: {name}" for split in SPLITS for name in ("winner", "recipe", "lead")]
    table = Table("seed", "trial", *columns, "seconds")
    for seed, row in rows.items():
        cells = []
        for split in SPLITS:
            winner, recipe = (row[name][split]["score"] for name in ("winner", "recipe"))
            cells += [f"{winner:.3f}", f"{recipe:.3f}", f"{winner - recipe:+.3f}"]
        table.add_row(str(seed), str(row["winner"]["trial"]), *cells, f"{row['seconds']:.0f}")
    return table


def conclusion(rows: dict[int, dict[str, Any]]) -> str:
    """How often the winner is above the recipe on test data, and by how much on average."""
    leads = {split: np.array([_lead(row, split) for row in rows.values()]) for split in SPLITS}
    test = leads["test"]
    counts = {"above": test > 0, "equal": test == 0, "below": test < 0}
    counted = ", ".join(f"{found.sum()} {name}" for name, found in counts.items())
    means = ", ".join(f"{lead.mean():+.4f} on {split} data" for split, lead in leads.items())
    error = test.std(ddof=1) / np.sqrt(len(test)) if len(test) > 1 else np.nan
    return (
        f"Test score of the winner beside the recipe's, seeds: {counted}. Mean lead: {means} "
        f"(standard error {error:.4f})"
    )


def _lead(row: dict[str, Any], split: str) -> float:
    winner, recipe = (row[name][split]["score"] for name in ("winner", "recipe"))
    return float(winner - recipe)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=count, default=10, help="how many, from 0")
    parser.add_argument("--trials", type=count, default=DEFAULT_TRIALS, help="of each search")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("first_run"),
        help="folder for rows.jsonl (default: %(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {options.out}: {error.strerror}; give a folder") from None
    runs = Runs(options.out / "rows.jsonl", "--out", needs=["winner", "recipe", "seconds"])
    code = sha256_of(ROOT, ["minbert", "search", "spaces"])
    rows = {}
    for seed in range(options.seeds):
        about = {"code": code, "encoder": options.encoder, "trials": options.trials, "seed": seed}
        found = runs.find(about)
        if found is None:
            found = search_and_score(seed, options.trials, options.encoder)
            runs.add(about, found)
            print(f"seed {seed}: lead {_lead(found, 'test'):+.3f} on test data", file=sys.stderr)
        rows[seed] = found
    print(
        f"The search of `make search`, {options.encoder}, {options.trials} trials, on data of each "
        f"seed; {os.cpu_count()} CPUs"
    )
    Console(width=120).print(show(rows))
    print(conclusion(rows))


if __name__ == "__main__":
    run_command(main)
