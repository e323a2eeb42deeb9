"""python -m search.run: many configurations under Ray Tune, and what came of them."""

import contextlib
import datetime
import shlex
import shutil
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

import cluster
from minbert.config import InputSettings
from minbert.data import Dataset, load_dataset
from minbert.errors import InputError
from minbert.hub import Pretrained, load_pretrained
from minbert.positions import check_positions
from minbert.settings import add_options, given, make_parser, run_command

from .addresses import is_server
from .branches import describe
from .directory import join
from .driver import Driver
from .folder import RunFolder
from .lease import lease
from .messages import INTERRUPTED, finish, introduction
from .patience import STORAGE_ERRORS, Patience, StorageLostError, told
from .plan import Plan, make_plan
from .proposals import trials_to_learn_from
from .provenance import begin_run, end_run, runs_of, sizes
from .results import save_trial, write_summary, write_table
from .review.live import LivePage
from .review.mistakes import DevTexts
from .review.reading import Run, read_run
from .review.server import tensorboard_server
from .review.terminal import LiveTable, PlainLines
from .settings import StudySettings
from .setup import check_setup, extend, find_run, make_setup, settle
from .spaces import built_in_spaces, load_space
from .study import Study

if TYPE_CHECKING:
    from cluster.local import Cluster

_DESCRIPTION = """\
Train many configurations, stop the hopeless ones early, and keep the model that scores highest.

  python -m search.run --space weights                        a first search, on generated data
  python -m search.run --space lr --data DIR --trials 24      on your own files
  python -m search.run --space my_space.py --time-budget 1h   over your own space
"""


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
    # A script starts what it puts in the background deaf to SIGINT, which is what a search is asked
    # by to save its trials and to write its results.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # What `timeout` and `kill` end a program with is taken for a Ctrl-C, by whichever handler there
    # is for that: Ray Tune has one of its own while trials run.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with told():
            settings, inputs = settle(
                given(arguments, StudySettings), given(arguments, InputSettings)
            )
            return run_search(settings, inputs, console)
    except KeyboardInterrupt:
        print("interrupted; --resume goes on with what was recorded, if any", file=sys.stderr)
        return INTERRUPTED


def list_spaces(console: Console) -> None:
    spaces = [load_space(name) for name in built_in_spaces()]
    width = max(len(parameter) for space in spaces for parameter, _ in describe(space))
    for space in spaces:
        console.print(f"[bold]{space.name}[/bold]  {space.description}", highlight=False)
        for parameter, text in describe(space):
            line = f"    {parameter:<{width}}  {text}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def run_search(settings: StudySettings, inputs: InputSettings, console: Console) -> int:
    """Run one search from its settings to its results, or go on with one.

    Returns:
        Exit status: 0; 1 where no trial came to a report; 130 after an interruption.

    Raises:
        InputError: something asked for cannot be had; nothing has run then.
    """
    plan = make_plan(settings, inputs, load_space(settings.space))
    if settings.start_from is not None:
        earlier = _earlier_study(settings.start_from, settings.storage)
        learnt = trials_to_learn_from(earlier, plan.space, settings.objective, inputs.tasks)
        if not learnt:
            raise InputError(
                f"--start-from {settings.start_from}: none of its trials lies in the space "
                f"{plan.space.name}"
            )
        plan = replace(plan, earlier=tuple(learnt))
    tell = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    # Made first, so that a folder that cannot be written is refused before data are read.
    new = None if settings.resume else _new_folder(settings, plan)
    study: Study | None = None
    try:
        pretrained = load_pretrained(inputs.encoder, inputs.encoder_layers)
        dataset = load_dataset(inputs, pretrained.tokenizer())
        check_positions(dataset, pretrained.config, plan.configs)
        setup = make_setup(settings, inputs, plan, dataset, pretrained)
        folder = new or find_run(settings, plan, setup)
        with contextlib.ExitStack() as stack:
            stack.enter_context(folder.locked())
            study = folder.create_study(setup) if new else folder.open_study(setup, tell)
            check_setup(study, setup)
            if settings.resume:
                plan = extend(plan, settings, study)
            held = (
                stack.enter_context(lease(study)) if is_server(folder.storage_address()) else None
            )
            # Read again what another driver may have written up to now.
            study = folder.load_study()
            study.patience = Patience(settings.storage_patience, tell)
            if held is not None:
                study.guard = held.check
            driver = Driver(
                study, plan, settings, folder.checkpoint_store(), folder.answers, tell=tell
            )
            if held is not None:
                held.on_lost = driver.give_up
            return _run(settings, inputs, plan, driver, dataset, pretrained, folder, console)
    except BaseException as error:
        # Of a search that never came to a report nothing stays, so that the command can be mended.
        # But where storage was lost, by which another driver may have taken over.
        if new is not None and not isinstance(error, StorageLostError):
            with contextlib.suppress(*STORAGE_ERRORS):
                if not new.answers.any:
                    if study is not None:
                        study.delete()
                    new.delete()
        if isinstance(error, StorageLostError):
            raise _lost(str(error), new.name if new else settings.name) from None
        raise


def _lost(reason: str, name: str | None) -> InputError:
    named = "" if name is None else f"--name {shlex.quote(name)} and "
    return InputError(
        f"{reason}; nothing recorded is lost: give the same command with {named}--resume"
    )


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
    record, study = driver.record, driver.study
    study.note("planned", record.planned)
    study.patience("the dev labels cannot be written", lambda: folder.answers.write_labels(dataset))
    about = _train(settings, inputs, plan, driver, dataset, pretrained, folder, console)
    for text in driver.damaged:
        console.print(f"Not used: {text}.", markup=False, highlight=False, soft_wrap=True)
    study.note("ended_because", driver.ended_because)
    # Plotly takes a while to import.
    from .review.report import write_page

    def write_results() -> Run:
        run = read_run(folder, study, is_running=False)
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
        write_page(run)
        folder.publish()
        return run

    run = study.patience("the results cannot be written", write_results)
    return finish(inputs, plan, run, console, about["seconds"])


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
    if not settings.quiet and settings.address is None:
        console.print("Starting Ray on this machine: some seconds.", highlight=False)
    address = settings.address and cluster.prepare_to_join(settings.address)
    # Not before: Ray takes seconds to import, and reads its environment then.
    from cluster.local import ray_cluster, temporary_folder

    from .review.tensorboard import TensorBoardLog
    from .tuner import run_trials

    start = time.monotonic()
    # Not in the run's folder, whose disk may be full.
    scratch = temporary_folder()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
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
        gpus_per_trial = _gpus_per_trial(settings, machines)
        machines.check_room(settings.cpus_per_trial, gpus_per_trial)
        driver.record.slots = machines.slots(settings.cpus_per_trial, gpus_per_trial)
        begin_run(driver.study, dataset, machines, driver.record.slots)
        # Of an earlier run, by which this one would be judged if it were killed.
        driver.study.note("ended_because", None)
        if not settings.quiet:
            for line in introduction(
                settings,
                plan,
                driver.record,
                dataset,
                pretrained,
                machines,
                folder,
                tensorboard,
            ):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            view: LiveTable | PlainLines = PlainLines(console, driver.record)
            if console.is_terminal:
                view = LiveTable(console, driver.record, settings.time_budget)
            stack.enter_context(view)
            driver.watchers.append(view)
        page = stack.enter_context(LivePage(folder))
        driver.watchers += [log, page, *folder.copies()]
        began = time.monotonic()
        run_trials(
            driver,
            dataset,
            pretrained,
            study=folder.name,
            directory=folder.checkpoints,
            scratch=scratch,
            machines=machines,
            cpus_per_trial=settings.cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            state_every=settings.state_every,
            report_timeout=settings.report_timeout,
            time_budget=settings.time_budget,
        )
        searched = time.monotonic() - began
    if driver.lost:
        raise StorageLostError(driver.ended_because)
    seconds = time.monotonic() - start
    budget = settings.time_budget
    end_run(driver.study, out_of_time=budget is not None and searched >= budget)
    return {
        "name": folder.name,
        "space": str(plan.space.path) if settings.space.endswith(".py") else plan.space.name,
        "recipe": plan.recipe,
        "objective": settings.objective.normalised(1.0, dataset.tasks),
        "settings": settings.model_dump(mode="json", exclude={"storage"}),
        "data": {"files": dataset.files, "sizes": sizes(dataset), "notes": dataset.notes},
        "encoder": pretrained.name,
        "layers": pretrained.config.layers,
        "hardware": runs_of(driver.study)[-1].hardware.model_dump(),
        "seconds": round(seconds, 1),
        "front": [
            {"trial": trial, "report": step}
            for trial, step in sorted(driver.front.keys)
            if driver.model(trial, step) is not None
        ],
        "dropped_from_front": [
            {"trial": trial, "report": step} for trial, step in driver.front.dropped
        ],
    }


def _earlier_study(where: str, storage: str | None) -> Study:
    """The study of an earlier run, which may be in the database of this one."""
    try:
        return RunFolder(where).load_study()
    except InputError:
        # What the folder itself says of a database is not followed.
        if storage is None or not is_server(storage):
            raise
        return RunFolder(where, storage).load_study()


def _gpus_per_trial(settings: StudySettings, machines: "Cluster") -> float:
    """What is asked for, and where nothing is, a share of a GPU if there are any."""
    if settings.gpus_per_trial is not None:
        return settings.gpus_per_trial
    there = machines.machines()
    if not there:
        raise InputError(
            "the cluster has no machine for trials yet, so say whether they are to have GPUs: "
            "--gpus-per-trial 0.25, or 0"
        )
    return 0.25 if any(machine.gpus for machine in there) else 0.0


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
    folder = RunFolder(join(settings.out, name), settings.storage)
    folder.create()
    return folder


if __name__ == "__main__":
    run_command(main)
