"""Train one configuration, evaluate a saved model, or predict with it.

python -m minbert train    --data DIR --out DIR
python -m minbert evaluate --model DIR --data DIR
python -m minbert predict  --model DIR --data DIR --split dev --out DIR
python -m minbert predict  --model DIR --text "one sentence" --text2 "another"
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Table

from . import training_run
from .checkpoint import SavedModel, load_model
from .config import InputSettings, TrainConfig
from .data import load_dataset, tokenize_texts
from .errors import InputError
from .evaluate import TaskResult, evaluate, predict, write_predictions
from .examples import Dataset
from .positions import check_positions
from .settings import (
    FolderPath,
    PathText,
    Placeholder,
    Settings,
    add_options,
    from_options,
    make_parser,
    option_of,
    path_option,
    run_command,
)
from .tasks import TASKS, SplitName, Task
from .tokenizer import frame_ids

_GRADES = ("negative", "somewhat negative", "neutral", "somewhat positive", "positive")


class ModelSettings(Settings):
    """The saved model."""

    model: FolderPath
    """folder of the saved model (required)"""
    device: str | None = None
    """cpu or cuda (default: cuda if available)"""


class DataSettings(Settings):
    """The data."""

    data: PathText | None = None
    """'toy', 'glue' or a folder in the course layout (default: the data of the model's training)"""
    dev_limit: Annotated[str, Placeholder("N")] | None = None
    """use a random sample of N dev examples per task, the same one as in training (default: all)"""
    strict: bool = False
    """refuse data with any bad row or a gap in the classes (default: drop up to 1 % of bad rows)"""


# Old options of the command line, and what is to be given now.
_RENAMED = {option_of(old): option_of(new) for old, new in TrainConfig.renamed.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status, raises InputError for bad input."""
    parser = make_parser("python -m minbert", __doc__ or "", _RENAMED)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="train one configuration",
        description="Train one configuration and keep the checkpoint that --select chooses. Ctrl-C "
        "saves the run, and --resume continues it.",
    )
    training_run.add_train_options(train)
    evaluating = commands.add_parser(
        "evaluate",
        help="score a saved model on dev data",
        description="Score a saved model on dev data.",
    )
    add_options(evaluating, ModelSettings, DataSettings)
    evaluating.add_argument(
        "--json", action="store_true", help="print one JSON object, for programs"
    )
    predicting = commands.add_parser(
        "predict",
        help="write a saved model's predictions",
        description="Write predictions for the dev or test examples to --out, or print those for "
        "--text.",
    )
    add_options(predicting, ModelSettings, DataSettings)
    group = predicting.add_argument_group("Predictions")
    group.add_argument(
        "--split",
        choices=("dev", "test"),
        default="dev",
        help="which examples to predict (default: dev)",
    )
    group.add_argument(
        "--out", type=path_option, help="folder for the prediction files", metavar="DIR"
    )
    group.add_argument("--text", help="predict for this sentence instead of --data")
    group.add_argument(
        "--text2", help="second sentence: also predict for the pair of --text and this one"
    )
    arguments = parser.parse_args(argv)
    if arguments.command == "train":
        return training_run.train(arguments)
    if arguments.command == "evaluate":
        return _evaluate(arguments)
    return _predict(arguments)


def _load(arguments: argparse.Namespace) -> tuple[SavedModel, InputSettings]:
    """The model on its device, and the settings to read its data with."""
    settings = from_options(arguments, ModelSettings)
    saved = load_model(settings.model)
    saved.model.to(training_run.pick_device(settings.device))
    asked = from_options(arguments, DataSettings)
    changes = {
        "data": asked.data or saved.info.inputs.data,
        "tasks": saved.info.tasks,
        "dev_limit": asked.dev_limit,
        "strict": asked.strict,
    }
    recorded = saved.info.inputs.model_dump()
    return saved, InputSettings.check({**recorded, **changes}, as_options=True)


def _evaluate(arguments: argparse.Namespace) -> int:
    saved, inputs = _load(arguments)
    dataset = load_dataset(inputs, saved.tokenizer, splits=("dev",))
    _check_positions(saved, dataset)
    _print_notes(dataset)
    results = evaluate(saved.model, dataset)
    overall = _overall(results)
    if arguments.json:
        scores = {task: result.score for task, result in results.items()}
        examples = {task: len(dataset.splits[task]["dev"]) for task in results}
        metrics = {task: result.metrics for task, result in results.items()}
        print(json.dumps({**scores, **overall, "examples": examples, "metrics": metrics}))
        return 0
    table = Table("task", "metric", "score", "examples", "also", box=None, header_style="bold")
    for task, result in results.items():
        also = ", ".join(
            f"{name} {value:.3f}" for name, value in result.metrics.items() if type(value) is float
        )
        if result.metrics["constant"]:
            also += "; all predictions are the same"
        count = len(dataset.splits[task]["dev"])
        table.add_row(
            TASKS[task].title, TASKS[task].metric, f"{result.score:.3f}", str(count), also
        )
    for name, value in overall.items():
        table.add_row(name.replace("_", " "), "", f"{value:.3f}", "", "")
    Console().print(table)
    return 0


def _check_positions(saved: SavedModel, dataset: Dataset) -> None:
    remedy = "shorten it, or train the model with a lower --max-length"
    check_positions(dataset, saved.model.encoder.config, [saved.info.config], remedy=remedy)


def _overall(results: dict[Task, TaskResult]) -> dict[str, float]:
    """The course's overall scores: the mean (2023), and with (sts + 1) / 2 for sts (2024)."""
    if len(results) < len(TASKS):
        return {}
    sst, para, sts = (results[task].score for task in TASKS)
    return {"mean": (sst + para + sts) / 3, "mean_2024": (sst + para + (sts + 1) / 2) / 3}


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.text is None and arguments.text2 is not None:
        raise InputError("--text2 needs --text")
    if arguments.text is None and arguments.out is None:
        raise InputError("give --out DIR for the predictions, or --text for one sentence")
    saved, inputs = _load(arguments)
    if arguments.text is not None:
        texts = (arguments.text,) if arguments.text2 is None else (arguments.text, arguments.text2)
        _predict_texts(saved, texts, inputs.max_length)
        return 0
    split: SplitName = arguments.split
    dataset = load_dataset(inputs, saved.tokenizer, splits=(split,))
    _check_positions(saved, dataset)
    _print_notes(dataset)
    predictions = predict(saved.model, dataset, split)
    if not predictions:
        raise InputError(f"{inputs.data} has no {split} files")
    try:
        paths = write_predictions(Path(arguments.out), dataset, split, predictions)
    except OSError as error:
        raise InputError(f"cannot write to {arguments.out}: {error.strerror}") from None
    for path in paths:
        print(path)
    return 0


def _predict_texts(saved: SavedModel, texts: tuple[str, ...], max_length: int) -> None:
    """Print the model's predictions for one sentence, or for two and their pair."""
    tokenizer = saved.tokenizer
    cls_id, sep_id = frame_ids(tokenizer)
    for task in saved.info.tasks:
        if TASKS[task].is_pair and len(texts) < 2:
            continue
        rows = [texts] if TASKS[task].is_pair else [(text,) for text in texts]
        split = tokenize_texts(task, rows, tokenizer, max_length)
        dataset = Dataset("text", {task: {"test": split}}, 0, cls_id, sep_id, {}, ())
        _check_positions(saved, dataset)
        for row, value in zip(rows, predict(saved.model, dataset, "test")[task], strict=True):
            if task == "sst":
                grade = f" ({_GRADES[int(value)]})" if saved.info.classes == len(_GRADES) else ""
                print(f"sentiment   {int(value)}{grade}  {row[0]}")
            elif task == "para":
                verdict = "a paraphrase" if value > 0.5 else "no paraphrase"
                print(f"paraphrase  {value:.2f} ({verdict})")
            else:
                print(f"similarity  {value:.2f} of 5")


def _print_notes(dataset: Dataset) -> None:
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
