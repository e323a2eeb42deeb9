"""What a search prints: at the start what it will do, at the end what it found."""

import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from minbert.card import caveat_of
from minbert.config import InputSettings
from minbert.errors import plain
from minbert.evaluate import evaluate_command
from minbert.output import counted
from minbert.settings import command_of, this_python
from search.analysis.weighting import other_weights
from search.confirmation.cost import cost_in_words, examples_of_a_fold
from search.confirmation.trainings import finalists_of, most_trainings
from search.inputs import LoadedInputs
from search.plan import Plan
from search.record import SearchRecord, at_once
from search.review.experiments import experiment_rows, experiments_table
from search.review.reading import Run
from search.settings import StudySettings
from search.storage.folder import RunFolder
from search.storage.provenance import hardware_of, sizes

from .tables import outcome, trials_table

if TYPE_CHECKING:
    from cluster.local import Cluster

# The exit status that shells use for a program ended by SIGINT.
INTERRUPTED = 130


def introduction(
    settings: StudySettings,
    plan: Plan,
    record: SearchRecord,
    inputs: LoadedInputs,
    machines: "Cluster",
    folder: RunFolder,
    tensorboard: str | None,
) -> Iterator[str]:
    """What the search will do, line by line."""
    dataset, pretrained = inputs.dataset, inputs.pretrained
    yield f"Search    {plan.space.name}: {plan.space.description}"
    counts = ", ".join(
        f"{task} {'/'.join(str(size) for size in by_split.values())}"
        for task, by_split in sizes(dataset).items()
    )
    yield f"Data      {dataset.name}: {counts} (train/dev/test)"
    for note in dataset.notes:
        yield f"          {note}"
    yield f"Encoder   {pretrained.name}, {counted(pretrained.config.layers, 'layer')}"
    score = " + ".join(
        f"{share:.2f}·{task}"
        for task, share in settings.objective.normalised(1.0, dataset.tasks).items()
    )
    yield f"Score     {score}, on dev"
    epochs, reports = plan.base.epochs, plan.base.reports_per_epoch
    ends = f"; ends after {settings.time_budget:g} s" if settings.time_budget else ""
    yield (
        # On --resume its name is from the study, which anyone may have made.
        f"Trials    {plan.trials}, recipe {plain(plan.recipe)} first "
        f"(epochs: {epochs}, dev evaluations an epoch: {reports}){ends}"
    )
    for number, experiment in enumerate(plan.space.experiments, start=1):
        if experiment.name == plan.fixed[0].name:
            yield f"          number {number} of the list is the recipe itself, so it is trial 0"
    if plan.points is not None and plan.points > (proposed := plan.trials - len(plan.fixed)):
        yield f"          the space has {plan.points} points; {proposed} of them are tried"
    there = hardware_of(machines)
    gpus = f", {counted(there['gpus'], 'GPU')}" if there["gpus"] else ", no GPU"
    where = f" on {there['machines']} machines" if there["machines"] > 1 else ""
    slots = record.slots
    yield f"Hardware  {counted(there['cpus'], 'CPU')}{gpus}{where}: {at_once(slots)}"
    if not slots:
        yield "          no machine has room for a trial: the search waits until one joins"
    if machines.dashboard:
        yield f"Dashboard {machines.dashboard}"
        if machines.tunnel:
            yield f"          from another machine: {machines.tunnel}"
        if machines.asks_for_token:
            yield f"          it asks for a token: {_ray_command()} get-auth-token"
    if tensorboard or not folder.is_remote:
        yield f"Curves    {tensorboard or _tensorboard(folder)}"
    yield f"Results   {folder}; the page to read is {folder.page.name} in it"


def finish(
    settings: StudySettings,
    inputs: InputSettings,
    plan: Plan,
    run: Run,
    console: Console,
    seconds: float,
) -> int:
    """Print the results of the search; returns the exit status."""
    record, folder = run.record, run.folder
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if plan.space.experiments:
        rows = experiment_rows(plan.space.experiments, record.trials)
        console.print(experiments_table(rows))
    else:
        console.print(trials_table(record))
    for part in outcome(record, run.noise, run.confirmation):
        console.print(part, highlight=False)
    if (caveat := caveat_of(inputs)) is not None:
        console.print(caveat, style="italic", highlight=False)
    if record.left:
        say(run.in_words)
    refused = [trial for trial in record.trials if trial.was_refused]
    if refused:
        say(
            f"The space refused {len(refused)} of {counted(len(record.trials), 'trial')}: "
            f"{refused[0].error}"
        )
    if record.planned < plan.trials:
        say(
            f"No configuration was found that these {counted(record.planned, 'trial')} did not "
            f"try, so the search ended before --trials {plan.trials}."
        )
    if record.winner is not None:
        console.print("\nWhat to do next:", highlight=False)
        for command in _next_commands(inputs, folder):
            say(f"  {command}")
        if (cost := _cost_of_confirming(run, settings)) is not None:
            say(f"To confirm it with new seeds: {cost}")
            say(f"  {command_of('search.confirm')} {folder.arguments}{_options_of(settings)}")
    if not folder.is_remote:
        say(f"The page to read: {folder.page}")
    say(f"Everything is in {folder} ({seconds:.0f} s).")
    if run.was_interrupted:
        return INTERRUPTED
    return 0 if record.winner is not None else 1


def _cost_of_confirming(run: Run, settings: StudySettings) -> str | None:
    """What a confirmation would cost; None if there is nothing to confirm, or it follows anyway."""
    winner = run.record.winner
    is_done = run.left_because is None or run.ended_because is not None
    if settings.confirm or not is_done or winner is None or winner.number == 0:
        return None
    if run.confirmation is not None or run.record.trials[0].kept is None:
        return None
    rivals = len(finalists_of(run.record, settings.finalists)) - 1
    trainings = most_trainings(rivals, settings.confirm_seeds)
    # Labelled test files are not read before a confirmation needs them.
    judge = examples_of_a_fold(run) if settings.judge == "folds" else None
    return cost_in_words(run, trainings, settings.confirm_seeds, run.driver_runs[-1].slots, judge)


def _options_of(settings: StudySettings) -> str:
    """Options of the confirmation that were given, as typed after its command."""
    return "".join(
        f" --{name.replace('_', '-')} {getattr(settings, name)}"
        for name in ("finalists", "confirm_seeds", "judge")
        if getattr(settings, name) != StudySettings.model_fields[name].default
    )


def _next_commands(inputs: InputSettings, folder: RunFolder) -> Iterator[str]:
    run = folder.arguments
    best = folder.name if folder.is_remote else str(folder.best)
    quoted = shlex.quote(best)
    if folder.is_remote:
        yield f"{command_of('search.export')} {run} --to {quoted}"
    yield evaluate_command(best, inputs)
    yield f"{command_of('minbert')} predict --model {quoted} --text 'A sentence of your own.'"
    if (weights := other_weights(inputs.tasks)) is not None:
        yield f"{command_of('search.review')} {run} --weights {weights}"
    if not folder.is_remote:
        yield _tensorboard(folder)


def _ray_command() -> str:
    """Ray's command as typed at this prompt; it is in the same folder as the interpreter."""
    (python,) = shlex.split(this_python())
    return shlex.quote(str(Path(python).with_name("ray")))


def _tensorboard(folder: RunFolder) -> str:
    return f"{command_of('tensorboard.main')} --logdir {shlex.quote(str(folder.tensorboard))}"
