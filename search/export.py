"""python -m search.export: save a model of a search, for any weights; nothing is trained."""

import shlex
from pathlib import Path

from minbert.config import RECIPES, InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.hub import load_pretrained
from minbert.report import Report
from minbert.settings import make_parser, run_command, this_python
from minbert.weights import Weights

from .folder import RunFolder
from .record import SearchRecord, TrialRecord
from .results import save_trial
from .review.__main__ import add_run_options, parse_weights, read_run
from .study import Study
from .weighting import rank

_DESCRIPTION = """\
Save a model that a search kept, with predictions and a model card; nothing is trained.

  python -m search.export runs/NAME --to DIR                      the winner
  python -m search.export runs/NAME --weights 1.5,1,1.5 --to DIR  the best under other weights
  python -m search.export runs/NAME --trial 7 --to DIR            what trial 7 keeps
"""


def main() -> int:
    parser = make_parser("python -m search.export", _DESCRIPTION)
    add_run_options(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--weights", help="the best model under these weights of sst, para and sts")
    which.add_argument("--trial", type=int, metavar="N", help="the model that this trial keeps")
    parser.add_argument("--to", required=True, metavar="DIR", help="folder for the model")
    arguments = parser.parse_args()
    folder = RunFolder(Path(arguments.run), arguments.storage)
    weights = None if arguments.weights is None else parse_weights(arguments.weights)
    study, record, store = read_run(folder, weights)
    trial, report = _choose(record, weights, arguments.trial)
    checkpoint = store.model(trial.number, report.step)
    inputs = InputSettings.check(study.setup["inputs"])
    what = f"report {report.step} of trial {trial.number} ({trial.name})"
    if checkpoint is None:
        print(f"The model of {what} is no longer kept. To train it again:")
        print(f"  {retrain_command(study, trial, inputs, weights, arguments.to)}")
        return 1
    to = Path(arguments.to)
    if to.exists() and any(to.iterdir()):
        raise InputError(f"{to} is there already and not empty; give another folder")
    pretrained = load_pretrained(inputs.encoder, inputs.encoder_layers)
    dataset = load_dataset(inputs, pretrained.tokenizer())
    if dataset.files != study.setup["data files"]:
        raise InputError(f"the data in {inputs.data} are no longer those of the search")
    recipe = study.setup["recipe"]
    save_trial(to, checkpoint, trial, report, dataset, pretrained, inputs, recipe)
    scores = "  ".join(f"{task} {score:.3f}" for task, score in report.scores.items())
    print(f"Saved {what} in {to}: {scores}")
    print(f"  {this_python()} -m minbert evaluate --model {shlex.quote(str(to))}")
    return 0


def _choose(
    record: SearchRecord, weights: Weights | None, number: int | None
) -> tuple[TrialRecord, Report]:
    """The trial and report that are asked for; InputError where there is no such."""
    trials = record.trials
    if number is not None:
        if not 0 <= number < len(trials):
            raise InputError(f"--trial {number}: there are trials 0 to {len(trials) - 1}")
        kept = trials[number].kept
        if kept is None:
            raise InputError(f"--trial {number}: it has no report, so there is no model of it")
        return trials[number], kept
    if weights is not None:
        ranked = rank(trials, weights)
        if ranked:
            return ranked[0].trial, ranked[0].report
    elif record.winner is not None and record.winner.kept is not None:
        return record.winner, record.winner.kept
    raise InputError("no trial came to a report, so there is no model to save")


def retrain_command(
    study: Study, trial: TrialRecord, inputs: InputSettings, weights: Weights | None, to: str
) -> str:
    """The command that trains a trial again, and keeps what ``weights`` keep of it."""
    config = trial.config
    if weights is not None:
        config = config.replace(keep="weighted", keep_weights=weights)
    recipe = study.setup["recipe"]
    words = [this_python(), "-m", "minbert", "train", "--recipe", recipe]
    words += _options(inputs, InputSettings())
    words += _options(config, RECIPES[recipe])
    return " ".join([*words, "--out", shlex.quote(to)])


def _options(
    settings: InputSettings | TrainConfig, default: InputSettings | TrainConfig
) -> list[str]:
    """Command-line options for the fields that differ from the default."""
    words = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value == getattr(default, name):
            continue
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [option, shlex.quote(text)]
    return words


if __name__ == "__main__":
    run_command(main)
