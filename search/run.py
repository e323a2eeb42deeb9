"""python -m search.run: many configurations under Ray Tune, and what came of them."""

import contextlib
import datetime
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import cluster
from minbert.card import caveat_of
from minbert.config import InputSettings
from minbert.data import Dataset, load_dataset
from minbert.errors import InputError
from minbert.hub import Pretrained, load_pretrained
from minbert.settings import add_options, given, make_parser, run_command, this_python

from .driver import Driver
from .folder import RunFolder, lease
from .plan import Plan, make_plan
from .proposals import trials_to_learn_from
from .provenance import begin_run, end_run, sizes
from .results import save_trial, write_summary, write_table
from .review.experiments import experiment_rows, experiments_table
from .review.live import LivePage
from .review.mistakes import DevTexts
from .review.reading import Run, read_run
from .review.server import tensorboard_server
from .review.terminal import LiveTable, PlainLines, outcome, trials_table
from .settings import StudySettings
from .setup import check_setup, extend, find_run, make_setup
from .spaces import built_in_spaces, describe, load_space
from .study import Study

if TYPE_CHECKING:
    from cluster.local import Cluster

_DESCRIPTION = """\
Train many configurations, stop the hopeless ones early, and keep the model that scores highest.

  python -m search.run --space weights                        a first search, on generated data
  python -m search.run --space lr --data DIR --trials 24      on your own files
  python -m search.run --space my_space.py --time-budget 1h   over your own space
"""

# The shell's own number for a program that SIGINT ended.
_INTERRUPTED = 130


def main() -> int:
    parser = make_parser("python -m search.run", _DESCRIPTION)
    parser.add_argument(
        "--list-spaces", action="store_true", help="show what each space varies, and exit"
    )
    add_options(parser, StudySettings, InputSettings)
    arguments = parser.parse_args()
    # Piped output is not cut to a width; on a terminal rich knows the width itself.
    console = Console(width=None if sys.stdout.isatty() else 100)
    if arguments.list_spaces:
        list_spaces(console)
        return 0
    settings = StudySettings.check(given(arguments, StudySettings))
    inputs = InputSettings.check(given(arguments, InputSettings))
    try:
        return run_search(settings, inputs, console)
    except KeyboardInterrupt:
        print("interrupted; --resume goes on with what was recorded, if any", file=sys.stderr)
        return _INTERRUPTED


def list_spaces(console: Console) -> None:
    for name in built_in_spaces():
        space = load_space(name)
        console.print(f"[bold]{name}[/bold]  {space.description}", highlight=False)
        for parameter, text in describe(space):
            console.print(f"    {parameter:<22} {text}", markup=False, highlight=False)


def run_search(settings: StudySettings, inputs: InputSettings, console: Console) -> int:
    """Run one search from its settings to its results, or go on with one.

    Returns:
        Exit status: 0; 1 where no trial came to a report; 130 after an interruption.

    Raises:
        InputError: something asked for cannot be had; nothing has run then.
    """
    plan = make_plan(settings, inputs, load_space(settings.space))
    if settings.start_from is not None:
        earlier = RunFolder(Path(settings.start_from)).load_study()
        learnt = trials_to_learn_from(earlier, plan.space, settings.objective, inputs.tasks)
        if not learnt:
            raise InputError(
                f"--start-from {settings.start_from}: none of its trials lies in the space "
                f"{plan.space.name}"
            )
        plan = replace(plan, earlier=tuple(learnt))
    # Made first, so that a folder that cannot be written is refused before data are read.
    new = None if settings.resume else _new_folder(settings, plan)
    study: Study | None = None
    try:
        pretrained = load_pretrained(inputs.encoder, inputs.encoder_layers)
        dataset = load_dataset(inputs, pretrained.tokenizer())
        setup = make_setup(settings, inputs, plan, dataset, pretrained)
        folder = new or find_run(settings, plan, setup)
        with folder.locked():
            study = folder.create_study(setup) if new else folder.open_study(setup)
            check_setup(study, setup)
            if settings.resume:
                plan = extend(plan, settings, study)
            with lease(study, folder.storage()) as held:
                # Read again what another driver may have written up to now.
                study = folder.load_study()
                driver = Driver(study, plan, settings, folder.store(), folder.answers)
                held.on_lost = driver.give_up
                return _run(settings, inputs, plan, driver, dataset, pretrained, folder, console)
    except BaseException:
        # Of a search that never came to a report nothing stays, so that the command can be mended.
        if new is not None and not new.answers.any:
            if study is not None:
                study.delete()
            shutil.rmtree(new.path, ignore_errors=True)
        raise


def _run(
    settings: StudySettings,
    inputs: InputSettings,
    plan: Plan,
    driver: Driver,
    dataset: Dataset,
    pretrained: Pretrained,
    folder: RunFolder,
    console: Console,
) -> int:
    record = driver.record
    driver.study.note("planned", record.planned)
    folder.answers.write_labels(dataset)
    about = _train(settings, inputs, plan, driver, dataset, pretrained, folder, console)
    for text in driver.damaged:
        console.print(f"Not used: {text}.", markup=False, highlight=False, soft_wrap=True)
    write_table(folder.path / "trials.csv", record)
    write_summary(folder.path / "summary.json", record, about)
    winner = record.winner
    if winner is not None and winner.kept is not None:
        shutil.rmtree(folder.best, ignore_errors=True)
        checkpoint = driver.model(winner.number, winner.kept.step)
        if checkpoint is None:
            raise InputError(f"the checkpoint of the winner, trial {winner.number}, is gone")
        save_trial(
            folder.best,
            checkpoint,
            winner,
            winner.kept,
            dataset,
            pretrained,
            inputs,
            plan.recipe,
        )
    # Plotly takes a while to import.
    from .review.report import write_page

    if not driver.lost:
        driver.study.note("ended_because", driver.ended_because)
    run = read_run(folder, driver.study, is_running=False)
    status = _finish(settings, inputs, plan, driver, run, console, about["seconds"])
    try:
        write_page(run)
    except OSError as error:
        raise InputError(f"{folder.page} cannot be written: {error.strerror}") from None
    return status


def _train(
    settings: StudySettings,
    inputs: InputSettings,
    plan: Plan,
    driver: Driver,
    dataset: Dataset,
    pretrained: Pretrained,
    folder: RunFolder,
    console: Console,
) -> dict[str, Any]:
    """Run the trials; returns what there is to know of the run."""
    address = settings.address and cluster.prepare_to_join(settings.address)
    # Not before: Ray takes seconds to import, and reads its environment then.
    from cluster.local import ray_cluster

    from .review.tensorboard import TensorBoardLog
    from .tuner import run_trials

    start = time.monotonic()
    scratch = folder.path / "ray"
    with contextlib.ExitStack() as stack:
        texts = DevTexts(dataset, pretrained.tokenizer())
        log = stack.enter_context(
            TensorBoardLog(
                folder.tensorboard, driver.record, plan, driver.front, texts, folder.answers
            )
        )
        tensorboard = None
        if settings.tensorboard:
            server = tensorboard_server(folder.tensorboard, folder.path / "tensorboard.log")
            tensorboard = stack.enter_context(server)
        machines = stack.enter_context(
            ray_cluster(
                address,
                dashboard=settings.dashboard,
                metadata=_metadata(settings, inputs, plan, folder),
            )
        )
        gpus_per_trial = settings.gpus_per_trial
        if gpus_per_trial is None:
            gpus_per_trial = 0.25 if machines.gpus else 0.0
        slots = machines.slots(settings.cpus_per_trial, gpus_per_trial)
        begin_run(driver.study, dataset, machines, slots)
        if not settings.quiet:
            for line in _introduction(
                settings, plan, dataset, pretrained, machines, slots, folder, tensorboard
            ):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            view: LiveTable | PlainLines = PlainLines(console, driver.record)
            if console.is_terminal:
                view = LiveTable(console, driver.record, slots, settings.time_budget)
            stack.enter_context(view)
            driver.watchers.append(view)
        page = stack.enter_context(LivePage(folder))
        driver.watchers += [log, page]
        run_trials(
            driver,
            dataset,
            pretrained,
            study=folder.name,
            folder=folder.checkpoints,
            scratch=scratch,
            slots=slots,
            cpus_per_trial=settings.cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            report_timeout=settings.report_timeout,
            time_budget=settings.time_budget,
        )
    if not driver.lost:
        end_run(driver.study)
    shutil.rmtree(scratch, ignore_errors=True)
    return {
        "name": folder.name,
        "space": str(plan.space.path) if settings.space.endswith(".py") else plan.space.name,
        "recipe": plan.recipe,
        "objective": settings.objective.normalised(1.0, dataset.tasks),
        "settings": settings.model_dump(mode="json", exclude={"storage"}),
        "data": {"files": dataset.files, "sizes": sizes(dataset), "notes": dataset.notes},
        "encoder": pretrained.name,
        "layers": pretrained.config.layers,
        "hardware": {"machines": machines.nodes, "cpus": machines.cpus, "gpus": machines.gpus},
        "seconds": round(time.monotonic() - start, 1),
        "front": [
            {"trial": trial, "report": step}
            for trial, step in sorted(driver.front.keys)
            if driver.model(trial, step) is not None
        ],
        "dropped_from_front": [
            {"trial": trial, "report": step} for trial, step in driver.front.dropped
        ],
    }


def _metadata(
    settings: StudySettings, inputs: InputSettings, plan: Plan, folder: RunFolder
) -> dict[str, str]:
    """What the Ray dashboard tells of the job."""
    return {
        "job_name": folder.name,
        "study": folder.name,
        "space": plan.space.name,
        "recipe": plan.recipe,
        "objective": str(settings.objective),
        "trials": str(plan.trials),
        "data": inputs.data,
        "encoder": inputs.encoder,
    }


def _new_folder(settings: StudySettings, plan: Plan) -> RunFolder:
    now = datetime.datetime.now().astimezone()
    name = settings.name or f"{plan.space.name}-{now:%Y%m%d-%H%M%S}"
    folder = RunFolder(Path(settings.out) / name, settings.storage)
    folder.create()
    return folder


def _introduction(
    settings: StudySettings,
    plan: Plan,
    dataset: Dataset,
    pretrained: Pretrained,
    machines: "Cluster",
    slots: int,
    folder: RunFolder,
    tensorboard: str | None,
) -> Iterator[str]:
    """What the search will do, line by line."""
    yield f"Search    {plan.space.name}: {plan.space.description}"
    counts = ", ".join(
        f"{task} {'/'.join(str(size) for size in by_split.values())}"
        for task, by_split in sizes(dataset).items()
    )
    yield f"Data      {dataset.name}: {counts} (train/dev/test)"
    for note in dataset.notes:
        yield f"          {note}"
    yield f"Encoder   {pretrained.name}, {pretrained.config.layers} layers"
    score = " + ".join(
        f"{share:.2f}·{task}"
        for task, share in settings.objective.normalised(1.0, dataset.tasks).items()
    )
    yield f"Score     {score}, on dev"
    epochs, reports = plan.base.epochs, plan.base.reports_per_epoch
    ends = f"; ends after {settings.time_budget:g} s" if settings.time_budget else ""
    yield (
        f"Trials    {plan.trials}, recipe {plan.recipe} first "
        f"(epochs: {epochs}, dev evaluations an epoch: {reports}){ends}"
    )
    gpus = f", {machines.gpus:g} GPUs" if machines.gpus else ", no GPU"
    where = f" on {machines.nodes} machines" if machines.nodes > 1 else ""
    yield f"Hardware  {machines.cpus} CPUs{gpus}{where}: {slots} trials at once"
    if machines.dashboard:
        yield f"Dashboard {machines.dashboard}"
        if machines.tunnel:
            yield f"          from another machine: {machines.tunnel}"
        if machines.asks_for_token:
            yield f"          it asks for a token: {_ray_command()} get-auth-token"
    yield f"Curves    {tensorboard or _tensorboard(folder)}"
    yield f"Results   {folder.path}; the page to read is {folder.page.name} in it"


def _finish(
    settings: StudySettings,
    inputs: InputSettings,
    plan: Plan,
    driver: Driver,
    run: Run,
    console: Console,
    seconds: float,
) -> int:
    """Print what came of the search; returns the exit status."""
    record, folder = driver.record, run.folder
    if plan.space.experiments:
        rows = experiment_rows(plan.space.experiments, record.trials)
        console.print(experiments_table(rows))
    else:
        console.print(trials_table(record))
    for part in outcome(record, run.noise):
        console.print(part, highlight=False)
    if (caveat := caveat_of(inputs)) is not None:
        console.print(caveat, style="italic", highlight=False)
    out_of_time = settings.time_budget is not None and seconds >= settings.time_budget
    if driver.ended_because is not None:
        console.print(f"The search ended early: {driver.ended_because}.", highlight=False)
    elif record.left:
        why = "the time was up" if out_of_time else "it was interrupted"
        console.print(
            f"The search is not done: {why}, and {record.left} of {record.planned} trials are not "
            "over. To go on, give the same command with "
            f"--name {shlex.quote(folder.name)} --resume.",
            highlight=False,
            soft_wrap=True,
        )
    if record.planned < plan.trials:
        console.print(
            f"The grid has {record.planned} trials, so --trials {plan.trials} was more than there "
            "is.",
            highlight=False,
        )
    if record.winner is not None:
        console.print("\nWhat to do next:", highlight=False)
        best, data = shlex.quote(str(folder.best)), shlex.quote(inputs.data)
        python = this_python()
        limit = f" --dev-limit {inputs.dev_limit}" if inputs.dev_limit else ""
        for command in (
            f"{python} -m minbert evaluate --model {best} --data {data}{limit}",
            f"{python} -m minbert predict --model {best} --text 'A sentence of your own.'",
            f"{python} -m search.review {shlex.quote(str(folder.path))} --weights 1.5,1,1.5",
            _tensorboard(folder),
        ):
            console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"To read and to look at: {folder.page}", highlight=False, soft_wrap=True)
    console.print(f"Everything is in {folder.path} ({seconds:.0f} s).", highlight=False)
    if record.left and not out_of_time and driver.ended_because is None:
        return _INTERRUPTED
    return 0 if record.winner is not None else 1


def _ray_command() -> str:
    """How a person at this prompt calls Ray's own command, which lies beside the interpreter."""
    (python,) = shlex.split(this_python())
    return shlex.quote(str(Path(python).with_name("ray")))


def _tensorboard(folder: RunFolder) -> str:
    return f"{this_python()} -m tensorboard.main --logdir {shlex.quote(str(folder.tensorboard))}"


if __name__ == "__main__":
    run_command(main)
