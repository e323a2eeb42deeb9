"""A training run in a folder: started, interrupted, resumed, finished.

The folder holds the saved model that the run keeps (see checkpoint.py) and

    run.json       RunSettings: the settings of the run
    reports.jsonl  one Report per line
    state.pt       the trainer's state, until the run is finished
"""

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .card import ModelInfo
from .checkpoint import load_state, save_model, save_state
from .config import InputSettings, TrainConfig
from .data import load_dataset
from .errors import InputError
from .evaluate import evaluate_command
from .examples import Dataset
from .files import write_whole
from .hub import Pretrained, load_pretrained
from .output import counted
from .positions import check_positions
from .recipes import find_recipe
from .report import Report
from .settings import (
    FolderPath,
    PathText,
    Settings,
    add_options,
    as_text,
    command_of,
    from_options,
    given,
    option_of,
)
from .train import DivergedError, Trainer

_SECONDS_BETWEEN_LINES = 30
_RUN, _REPORTS, _STATE = "run.json", "reports.jsonl", "state.pt"


class RunSettings(Settings):
    """The settings of a run."""

    recipe: str
    inputs: InputSettings
    config: TrainConfig


class TrainOptions(Settings):
    """The run."""

    out: FolderPath
    """folder for the run and its model (required)"""
    recipe: PathText = "strong"
    """configuration to start from: strong, paper, paper-weighted, a JSON file of your own or the
    folder of a saved model. Defaults in this help are those of strong"""
    resume: bool = False
    """resume the interrupted run in --out; options that are not given are those of the run"""
    device: str | None = None
    """cpu or cuda (default: cuda if available)"""


class _InterruptedError(Exception):
    """Ctrl-C was pressed; the trainer is between two steps."""


def add_train_options(parser: argparse.ArgumentParser) -> None:
    add_options(parser, TrainOptions, InputSettings, TrainConfig)


def pick_device(name: str | None) -> torch.device:
    """The device called ``name``; by default CUDA if available.

    Raises:
        InputError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"--device: must be cpu or cuda (got {name!r})")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("--device: torch finds no CUDA here; give cpu")
    return torch.device(name)


def train(arguments: argparse.Namespace) -> int:
    """``python -m minbert train``; returns the exit status."""
    options = from_options(arguments, TrainOptions)
    run = _settle(options, arguments)
    device = pick_device(options.device)
    console = Console(markup=False)
    pretrained = load_pretrained(run.inputs.encoder, run.inputs.encoder_layers)
    dataset = load_dataset(run.inputs, pretrained.tokenizer())
    check_positions(dataset, pretrained.config, [run.config])
    trainer = Trainer(run.config, dataset, pretrained, device)
    folder = _RunFolder(options.out, run, dataset, pretrained)
    if options.resume:
        folder.restore(trainer)
    else:
        folder.start()
    _announce(console, run, dataset, trainer)
    try:
        _train_all(console, trainer, folder)
    except _InterruptedError:
        folder.save(trainer)
        console.print(
            f"Stopped at step {trainer.step} of {trainer.steps}. To resume:\n"
            f"  {command_of('minbert')} train --resume --out {shlex.quote(str(options.out))}",
            highlight=False,
            soft_wrap=True,
        )
        return 130
    except DivergedError as error:
        print(f"error: training diverged: {error}", file=sys.stderr)
        return 1
    folder.finish()
    _conclude(console, trainer, options.out, run.inputs)
    return 0


def _settle(options: TrainOptions, arguments: argparse.Namespace) -> RunSettings:
    """The settings of the run: as given, or with ``--resume`` as recorded and not contradicted."""
    asked_inputs, asked_config = given(arguments, InputSettings), given(arguments, TrainConfig)
    path = options.out / _RUN
    if not options.resume:
        if path.exists():
            raise InputError(f"{options.out} holds a run; add --resume or give another --out")
        inputs = InputSettings.check(asked_inputs, as_options=True)
        start = find_recipe(options.recipe)
        base = start.config
        trained = tuple(task for task in base.train_tasks if task in inputs.tasks)
        changed = {**base.model_dump(), "train_tasks": trained, **base.implied(asked_config)}
        config = TrainConfig.check(changed, as_options=True)
        return RunSettings(recipe=start.name, inputs=inputs, config=config)
    if not path.is_file():
        raise InputError(f"{options.out} holds no run to resume (there is no {_RUN} in it)")
    if (options.out / _REPORTS).is_file() and not (options.out / _STATE).exists():
        raise InputError(
            f"the training in {options.out} is finished, so there is nothing to resume; use the "
            "model, or train again with another --out and the --epochs that you want"
        )
    try:
        run = RunSettings.model_validate_json(path.read_bytes())
    except ValueError:
        raise InputError(f"{path} is damaged; train again in another folder") from None
    for recorded, asked in ((run.inputs, asked_inputs), (run.config, asked_config)):
        now = type(recorded).check({**recorded.model_dump(), **asked}, as_options=True)
        for name, value in now:
            before = getattr(recorded, name)
            if value != before:
                raise InputError(
                    f"{option_of(name)}: the run in {options.out} has {as_text(before)}, not "
                    f"{as_text(value)}; leave the option out, or train again with another --out"
                )
    return run


class _RunFolder:
    """The folder that a run is saved in."""

    def __init__(self, path: Path, run: RunSettings, dataset: Dataset, pretrained: Pretrained):
        self.path = path
        self.run = run
        self.dataset = dataset
        self.tokenizer = pretrained.tokenizer()

    def start(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / _RUN, self.run.model_dump_json(indent=2).encode())
        except OSError as error:
            raise InputError(f"cannot write to {self.path}: {error.strerror}") from None

    def restore(self, trainer: Trainer) -> None:
        trainer.load_state_dict(load_state(self.path / _STATE))
        # The state is saved before the model: a run interrupted in between lacks the model.
        if trainer.at_report and trainer.reports[-1].kept:
            self._save_model(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save the state and the reports."""
        save_state(self.path / _STATE, trainer.state_dict())
        lines = "".join(report.model_dump_json() + "\n" for report in trainer.reports)
        write_whole(self.path / _REPORTS, lines.encode())

    def save_report(self, trainer: Trainer, report: Report) -> None:
        """Save the state after a report, and the model if the run keeps it."""
        self.save(trainer)
        if report.kept:
            self._save_model(trainer)

    def finish(self) -> None:
        (self.path / _STATE).unlink()

    def _save_model(self, trainer: Trainer) -> None:
        info = ModelInfo(
            inputs=self.run.inputs,
            config=self.run.config,
            recipe=self.run.recipe,
            tasks=self.dataset.tasks,
            classes=self.dataset.classes,
            files=self.dataset.files,
            report=trainer.reports[-1],
        )
        save_model(self.path, trainer.model, self.tokenizer, info)


@contextmanager
def _interruptible() -> Iterator[list[bool]]:
    """Note Ctrl-C for the end of the running step; a second one ends the program at once."""
    asked: list[bool] = []

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(True)
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train_all(console: Console, trainer: Trainer, folder: _RunFolder) -> None:
    """Train to the end, saving after each report.

    Raises:
        _InterruptedError: after the step in which Ctrl-C was pressed.
    """
    columns = (
        TextColumn("epoch {task.fields[epoch]:.2f}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[rate]:,.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    with (
        _interruptible() as asked,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task(
            "", total=trainer.steps, completed=trainer.step, epoch=0.0, rate=0.0
        )

        said = time.monotonic()

        def on_step(trainer: Trainer) -> None:
            nonlocal said
            if not console.is_terminal and time.monotonic() - said > _SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                console.print(_as_progress(trainer), highlight=False, soft_wrap=True)
            progress.update(
                bar,
                completed=trainer.step,
                epoch=trainer.step / trainer.steps_per_epoch,
                rate=trainer.tokens_per_second,
            )
            if asked:
                raise _InterruptedError

        while not trainer.finished:
            report = trainer.next_report(on_step)
            folder.save_report(trainer, report)
            progress.console.print(_as_line(report), highlight=False, soft_wrap=True)


def _as_progress(trainer: Trainer) -> str:
    """What the progress bar shows, for logs and pipes."""
    return (
        f"step {trainer.step:,} of {trainer.steps:,}  epoch "
        f"{trainer.step / trainer.steps_per_epoch:.2f}  {trainer.tokens_per_second:,.0f} tokens/s"
    )


def _announce(console: Console, run: RunSettings, dataset: Dataset, trainer: Trainer) -> None:
    for note in dataset.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    sizes = ", ".join(
        f"{task} {len(splits['train']):,}/{len(splits['dev']):,}"
        for task, splits in dataset.splits.items()
    )
    about = f"data {run.inputs.data}: train/dev examples {sizes}"
    console.print(about, highlight=False, soft_wrap=True)
    layers = counted(trainer.model.encoder.config.layers, "layer")
    console.print(
        f"{run.recipe} on {run.inputs.encoder}, {layers}, {trainer.device}: "
        f"{counted(trainer.steps, 'step')} in {counted(run.config.epochs, 'epoch')}",
        highlight=False,
    )


def _as_line(report: Report) -> str:
    scores = "  ".join(f"{task} {score:.3f}" for task, score in report.scores.items())
    losses = "  ".join(f"{task} {loss:.3f}" for task, loss in report.losses.items())
    kept = "  kept" if report.kept else ""
    return (
        f"epoch {report.epoch:<5.4g} {scores}  score {report.score:.3f}{kept}  | loss {losses}  | "
        f"{report.tokens_per_second:,.0f} tokens/s, dev {report.dev_seconds:.0f} s"
    )


def _conclude(console: Console, trainer: Trainer, out: Path, inputs: InputSettings) -> None:
    kept = trainer.kept
    assert kept is not None
    table = Table("epoch", *kept.scores, "score", "", box=None, header_style="bold")
    for report in trainer.reports:
        scores = (f"{score:.3f}" for score in report.scores.values())
        mark = "kept" if report is kept else ""
        table.add_row(f"{report.epoch:.4g}", *scores, f"{report.score:.3f}", mark)
    console.print(table)
    folder, predictions = shlex.quote(str(out)), shlex.quote(str(out / "predictions"))
    console.print(
        f"The model of epoch {kept.epoch:.4g} is in {out}; it was chosen on these dev data, so its "
        f"scores are optimistic.\nNext:\n"
        f"  {evaluate_command(out, inputs)}\n"
        f"  {command_of('minbert')} predict --model {folder} --split test --out {predictions}",
        highlight=False,
        soft_wrap=True,
    )
