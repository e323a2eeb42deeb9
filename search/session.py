"""A search from its settings to its results; also the way in from Python."""

import contextlib
import datetime
import shlex
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from minbert.config import InputSettings
from minbert.errors import InputError
from minbert.positions import check_positions
from search.analysis.pareto import Point
from search.confirmation.files import note_conclusion
from search.review.page.live import LivePage
from search.review.reading import Run, read_run
from search.review.tensorboard.mistakes import DevTexts
from search.review.tensorboard.server import tensorboard_server
from search.review.terminal.messages import introduction
from search.review.terminal.tables import LiveTable, PlainLines
from search.storage.addresses import is_server
from search.storage.directory import LocalDirectory, join
from search.storage.folder import RunFolder
from search.storage.lease import lease
from search.storage.patience import STORAGE_ERRORS, Patience, StorageLostError, as_input_errors
from search.storage.provenance import begin_run, end_run, runs_of, sizes
from search.storage.study import NoStudyError, Study

from .driver import Driver
from .inputs import LoadedInputs, load_inputs
from .plan import Plan
from .record import SearchRecord, TrialRecord
from .results import table_of, write_summary, write_table
from .running import place_to_run, run_there
from .setup import check_setup, extend, find_run, make_setup, plan_search, settle
from .trainer import MinbertTrainer, TrialTrainer
from .watchers import Watcher

if TYPE_CHECKING:
    from cluster.local import Cluster


class Session:
    """One search.

    ::

        session = Session(space="weights", trials=8)
        session.run()
        print(session.winner.config, session.folder)

    Args:
        console: where to print; nothing is printed without one.
        trainer: trains a trial.
        options: the options of ``python -m search.run`` by their names in Python, such as
            ``data="DIR"`` or ``reports_per_epoch=2``.

    Attributes:
        settings: of the search.
        inputs: the data and the encoder.
        plan: what is run; known once ``run`` has begun, as all that follow.
        folder: of the run.
        driver: decides.
        result: the run as it is read for its page; known once ``run`` has ended.
        seconds: that ``run`` took, with the start of Ray.

    Raises:
        InputError: an option is unknown or has a wrong value.
    """

    plan: Plan
    folder: RunFolder
    driver: Driver
    result: Run
    seconds: float

    def __init__(
        self,
        *,
        console: Console | None = None,
        trainer: type[TrialTrainer] = MinbertTrainer,
        **options: Any,
    ):
        for_inputs = {
            name: options.pop(name) for name in InputSettings.model_fields & options.keys()
        }
        with as_input_errors():
            self.settings, self.inputs, self._own_recipe = settle(options, for_inputs)
        self._console = console or Console(quiet=True)
        self._tell = partial(self._console.print, markup=False, highlight=False, soft_wrap=True)
        self._trainer = trainer
        self._loaded: LoadedInputs

    # What came of it

    @property
    def record(self) -> SearchRecord:
        """All trials with their reports and decisions."""
        return self.driver.record

    @property
    def winner(self) -> TrialRecord | None:
        """The trial that scored highest; None if no trial came to a report."""
        return self.record.winner

    @property
    def pareto_front(self) -> list[Point]:
        """The checkpoints that no other checkpoint beats on all tasks, by trial and step."""
        return sorted(self.driver.pareto_front.points, key=lambda point: point.key)

    def table(self) -> list[dict[str, Any]]:
        """One row a trial, best first, for ``pandas.DataFrame(session.table())``."""
        return table_of(self.record)

    # Running it

    def run(self) -> SearchRecord:
        """Run the search, or continue it, and write its results.

        Raises:
            InputError: something asked for cannot be had, and nothing has run; or storage was lost,
                and nothing recorded is.
        """
        with as_input_errors():
            self.plan = plan_search(self.settings, self.inputs, self._own_recipe)
            # Made first, so that a folder that cannot be written is refused before data are read.
            new = None if self.settings.resume else self._new_folder()
            study: Study | None = None
            try:
                self._loaded = load_inputs(self.inputs)
                check_positions(
                    self._loaded.dataset, self._loaded.pretrained.config, self.plan.configs
                )
                setup = make_setup(self.settings, self.plan, self._loaded)
                self.folder = new or find_run(self.settings, self.plan, setup)
                with contextlib.ExitStack() as stack:
                    stack.enter_context(self.folder.locked())
                    study = (
                        self.folder.create_study(setup)
                        if new
                        else self.folder.open_study(setup, self._tell)
                    )
                    stack.callback(study.close)
                    self._open_driver(stack, study, setup)
                    about = self._search()
                    self._write_results(about)
            except BaseException as error:
                # Where storage was lost, another driver may have taken over.
                if new is not None and not isinstance(error, StorageLostError):
                    _remove_if_unused(new, study)
                if isinstance(error, StorageLostError):
                    raise _lost(str(error), new.name if new else self.settings.name) from None
                raise
        return self.record

    def _new_folder(self) -> RunFolder:
        now = datetime.datetime.now().astimezone()
        name = self.settings.name or f"{self.plan.space.name}-{now:%Y%m%d-%H%M%S}"
        folder = RunFolder(join(self.settings.out, name), self.settings.storage)
        folder.create()
        return folder

    def _open_driver(
        self, stack: contextlib.ExitStack, study: Study, setup: dict[str, Any]
    ) -> None:
        check_setup(study, setup)
        if self.settings.resume:
            self.plan = extend(self.plan, self.settings, study)
        for_driver: dict[str, Any] = {
            "patience": Patience(self.settings.storage_patience, self._tell)
        }
        held = (
            stack.enter_context(lease(study)) if is_server(self.folder.storage_address()) else None
        )
        if held is not None:
            for_driver["guard"] = held.check
        # Read again what another driver may have written up to now.
        study = self.folder.load_study(**for_driver)
        stack.callback(study.close)
        self.driver = Driver(
            study,
            self.plan,
            self.settings,
            self.folder.checkpoint_store(),
            self.folder.predictions,
            tell=self._tell,
        )
        if held is not None:
            held.when_lost(self.driver.give_up)
        self.driver.open()

    def _search(self) -> dict[str, Any]:
        """Run the trials; returns what there is to know of the run."""
        settings, driver, study = self.settings, self.driver, self.driver.study
        study.note("planned", driver.record.planned)
        study.patience(
            "the dev labels cannot be written",
            lambda: self.folder.predictions.write_labels(self._loaded.dataset),
        )
        start = time.monotonic()
        with contextlib.ExitStack() as stack:
            log, tensorboard = self._tensorboard(stack)
            place = stack.enter_context(place_to_run(settings, self._metadata(), self._console))
            driver.record.slots = place.slots
            begin_run(study, self._loaded.dataset, place.machines, place.slots)
            # Of an earlier run, by which this one would be judged if it were killed.
            study.note("ended_because", None)
            if not settings.quiet:
                self._introduce(stack, place.machines, tensorboard)
            page = stack.enter_context(LivePage(self.folder))
            driver.watchers += [log, page, *self.folder.copies()]
            searched = run_there(
                place,
                driver,
                self._loaded,
                settings,
                self.folder.name,
                self.folder.checkpoints,
                self._trainer,
            )
        self.seconds = time.monotonic() - start
        budget = settings.time_budget
        end_run(study, out_of_time=budget is not None and searched >= budget)
        return self._about()

    def _tensorboard(self, stack: contextlib.ExitStack) -> tuple[Watcher, str | None]:
        """The watcher that writes TensorBoard's log, and the address of its server if wanted."""
        # TensorBoard takes a while to import.
        from search.review.tensorboard.log import TensorBoardLog

        folder = self.folder
        texts = DevTexts(self._loaded.dataset, self._loaded.pretrained.tokenizer())
        log = TensorBoardLog(
            folder.tensorboard,
            self.driver.record,
            self.plan,
            self.driver.pareto_front,
            texts,
            folder.predictions,
        )
        stack.enter_context(log)
        if self.settings.resume:
            self._keep_confirmation_curves()
        if not self.settings.tensorboard:
            return log, None
        server = tensorboard_server(folder.tensorboard, folder.path / "tensorboard.log")
        return log, stack.enter_context(server)

    def _keep_confirmation_curves(self) -> None:
        from search.review.tensorboard.confirmation_log import ConfirmationLog

        folder = self.folder
        with (
            contextlib.suppress(NoStudyError),
            contextlib.closing(folder.load_confirmation()) as study,
        ):
            ConfirmationLog(folder.tensorboard, study.trials)

    def _introduce(
        self, stack: contextlib.ExitStack, machines: "Cluster", tensorboard: str | None
    ) -> None:
        """Say what the search will do, and show how it goes from now on."""
        record, settings = self.driver.record, self.settings
        lines = introduction(
            settings, self.plan, record, self._loaded, machines, self.folder, tensorboard
        )
        for line in lines:
            self._tell(line)
        view: LiveTable | PlainLines = PlainLines(self._console, record)
        if self._console.is_terminal:
            view = LiveTable(self._console, record, settings.time_budget)
        stack.enter_context(view)
        self.driver.watchers.append(view)

    def _about(self) -> dict[str, Any]:
        """What there is to know of the run beside its trials."""
        settings, plan, front = self.settings, self.plan, self.driver.pareto_front
        dataset, pretrained = self._loaded.dataset, self._loaded.pretrained
        return {
            "name": self.folder.name,
            "space": str(plan.space.path) if settings.space.endswith(".py") else plan.space.name,
            "recipe": plan.recipe,
            "objective": settings.objective.normalised(1.0, dataset.tasks),
            "settings": settings.model_dump(mode="json", exclude={"storage"}),
            "data": {"files": dataset.files, "sizes": sizes(dataset), "notes": dataset.notes},
            "encoder": pretrained.name,
            "layers": pretrained.config.layers,
            "hardware": runs_of(self.driver.study)[-1].hardware.model_dump(),
            "seconds": round(self.seconds, 1),
            "pareto_front": [
                {"trial": trial, "report": step}
                for trial, step in sorted(front.keys)
                if self.driver.model(trial, step) is not None
            ],
            "dropped_from_pareto_front": [
                {"trial": trial, "report": step} for trial, step in front.dropped
            ],
        }

    def _metadata(self) -> dict[str, str]:
        """What the Ray dashboard tells of the job."""
        return {
            "job_name": self.folder.name,
            "study": self.folder.name,
            "space": self.plan.space.name,
            "recipe": self.plan.recipe,
            "objective": str(self.settings.objective),
            "trials": str(self.plan.trials),
            "data": self.inputs.data,
            "encoder": self.inputs.encoder,
        }

    def _write_results(self, about: dict[str, Any]) -> None:
        study = self.driver.study
        for text in self.driver.damaged:
            self._tell(f"Not used: {text}.")
        study.note("ended_because", self.driver.ended_because)
        # Plotly takes a while to import.
        from search.review.page.report import write_page

        def write() -> Run:
            run = read_run(self.folder, study, is_running=False)
            write_table(self.folder.path / "trials.csv", self.record)
            write_summary(self.folder.path / "summary.json", self.record, about)
            self._save_winner()
            if run.confirmation is not None:
                note_conclusion(LocalDirectory(self.folder.path), run.confirmation, self.record)
            write_page(run)
            self.folder.publish()
            return run

        self.result = study.patience("the results cannot be written", write)

    def _save_winner(self) -> None:
        winner = self.winner
        if winner is None or winner.kept is None:
            return
        shutil.rmtree(self.folder.best, ignore_errors=True)
        checkpoint = self.driver.model(winner.number, winner.kept.step)
        if checkpoint is None:
            raise InputError(f"the checkpoint of the winner, trial {winner.number}, is gone")
        # With many test examples this takes minutes, also after an interruption.
        if not self.settings.quiet:
            self._tell(f"Saving the model of trial {winner.number}, and its predictions.")
        self._trainer.save(
            self.folder.best,
            checkpoint,
            winner.config,
            winner.kept,
            self._loaded,
            self.plan.recipe,
        )


def _remove_if_unused(folder: RunFolder, study: Study | None) -> None:
    """Remove a new run without any report, so that the command can be corrected and repeated."""
    with contextlib.suppress(*STORAGE_ERRORS):
        if not folder.predictions.any:
            if study is not None:
                study.delete()
                study.close()
            folder.delete()


def _lost(reason: str, name: str | None) -> InputError:
    named = "" if name is None else f"--name {shlex.quote(name)} and "
    return InputError(
        f"{reason}; nothing recorded is lost: give the same command with {named}--resume"
    )
