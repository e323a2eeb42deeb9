"""python -m search.export: save a model that a search kept; nothing is trained."""

import argparse
import shlex
from pathlib import Path

from minbert.errors import InputError, plain, reason_of
from minbert.evaluate import evaluate_command
from minbert.report import Report
from minbert.settings import make_parser, path_option, run_command
from minbert.weights import Weights
from search.analysis.weighting import rank
from search.review.reading import Run, add_run_options, parse_weights, read_run, trial_of
from search.storage.folder import RunFolder
from search.storage.patience import as_input_errors

from .inputs import load_inputs
from .record import TrialRecord
from .rerun import train_command, train_options
from .trainer import MinbertTrainer

_DESCRIPTION = """\
Save a model that a search kept, with its predictions and a model card. Nothing is trained.

  python -m search.export runs/NAME --to DIR                      the winner
  python -m search.export runs/NAME --weights 1.5,1,1.5 --to DIR  the best by other score weights
  python -m search.export runs/NAME --trial 7 --to DIR            the model that trial 7 keeps

If the model is no longer kept, this prints the command that trains it again.
"""


def main() -> int:
    parser = make_parser("python -m search.export", _DESCRIPTION)
    add_run_options(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--weights",
        help="save the best model by these weights of the sst, para and sts scores, such as "
        "1.5,1,1.5 (default: the winner)",
    )
    which.add_argument("--trial", type=int, metavar="N", help="save the model that trial N keeps")
    parser.add_argument(
        "--to",
        type=path_option,
        required=True,
        metavar="DIR",
        help="new or empty folder for the model",
    )
    arguments = parser.parse_args()
    with as_input_errors():
        return _export(arguments)


def _export(arguments: argparse.Namespace) -> int:
    run = read_run(RunFolder(arguments.run, arguments.storage))
    weights = None if arguments.weights is None else parse_weights(arguments.weights, run)
    trial, report = _choose(run, weights, arguments.trial)
    checkpoint = run.store.model(trial.number, report.step)
    inputs, recipe = run.inputs, str(run.setup["recipe"])
    what = f"report {report.step} of trial {trial.number} ({trial.name})"
    if checkpoint is None:
        print(plain(f"The model of {what} is no longer kept. To train it again:"))
        config = trial.config
        if weights is not None:
            config = config.replace(select="weighted", selection_weights=weights)
        command = train_command(inputs, recipe)
        options = f"{train_options(config, recipe)} --out {shlex.quote(arguments.to)}"
        print(plain(f"  {command} {options}"))
        return 1
    to = Path(arguments.to)
    _check_empty(to)
    loaded = load_inputs(inputs)
    if loaded.dataset.files != run.setup["data files"]:
        raise InputError(f"the data in {inputs.data} are no longer those of the search")
    try:
        MinbertTrainer.save(to, checkpoint, trial.config, report, loaded, recipe)
    except OSError as error:
        raise InputError(f"the model cannot be saved: {reason_of(error)}") from None
    scores = "  ".join(f"{task} {score:.3f}" for task, score in report.scores.items())
    print(plain(f"Saved {what} in {to}: {scores}"))
    print(plain(f"  {evaluate_command(to, inputs)}"))
    winner = run.record.winner
    has_test = any("test" in splits for splits in loaded.dataset.splits.values())
    if has_test and winner is not None and (trial, report) != (winner, winner.kept):
        print(
            f"note: test was already predicted for trial {winner.number}. Choose one of the two "
            "models before you see a test score: the higher of two is optimistic"
        )
    return 0


def _check_empty(folder: Path) -> None:
    """Raise InputError if the folder is not empty, or cannot be a folder."""
    try:
        there = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise InputError(f"--to {folder}: {reason_of(error)}") from None
    if there:
        raise InputError(f"{folder} is there already and not empty; give another folder")


def _choose(run: Run, weights: Weights | None, number: int | None) -> tuple[TrialRecord, Report]:
    """The trial and report to save; InputError if there is none."""
    winner = run.record.winner
    if number is not None:
        trial = trial_of(run, number, "--trial")
        if trial.kept is None:
            raise InputError(f"--trial {number}: it has no report, so there is no model of it")
        return trial, trial.kept
    if weights is not None:
        ranked = rank(run.record.trials, weights)
        if ranked:
            return ranked[0].trial, ranked[0].report
    elif winner is not None and winner.kept is not None:
        return winner, winner.kept
    raise InputError("no trial came to a report, so there is no model to save")


if __name__ == "__main__":
    run_command(main)
