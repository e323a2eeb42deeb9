"""A confirmation from a finished search to its conclusion."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from minbert.config import TrainConfig
from minbert.data import LabelledTest
from minbert.errors import InputError
from minbert.examples import Split
from minbert.output import counted
from search.driver import Driver
from search.inputs import Fold, LoadedInputs, load_inputs
from search.record import TrialRecord
from search.review.reading import Run, read_run
from search.running import place_to_run, run_there
from search.settings import StudySettings
from search.setup import check_setup, setup_of_inputs
from search.storage.addresses import is_server
from search.storage.checkpoints import CheckpointStore
from search.storage.folder import RunFolder
from search.storage.lease import lease
from search.storage.patience import Patience, StorageLostError, as_input_errors
from search.storage.provenance import begin_run, end_run
from search.storage.study import Study
from search.trainer import MinbertTrainer, TrialTrainer
from search.watchers import Watcher

from .conclusion import Conclusion, conclude
from .cost import cost_in_words, examples_of_a_fold
from .earlier import EarlierTrainings
from .files import note_conclusion
from .ledger import Ledger
from .source import Trainings
from .trainings import (
    FOLDS,
    RULE,
    ConfirmationPlan,
    file_of,
    finalists_of,
    is_judged,
    seeds_for,
)
from .words import lines_of

if TYPE_CHECKING:
    from minbert.folds import Folds


class Confirmation:
    """Confirms the winner of a finished search, or continues that.

    Args:
        folder: of the search's run.
        options: fields of ``StudySettings`` that were given: how many finalists and seeds, and
            what the trainings run on.
        console: where to print; nothing is printed without one.
        trainer: trains.

    Attributes:
        is_left: trainings are left, as it was interrupted.
    """

    def __init__(
        self,
        folder: RunFolder,
        options: Mapping[str, Any],
        console: Console | None = None,
        trainer: type[TrialTrainer] = MinbertTrainer,
    ):
        self.folder, self._given, self._trainer = folder, options, trainer
        # No training is ended early, and nothing is proposed.
        self._settings = StudySettings.check(
            {**options, "scheduler": "none", "pruner": "none", "pareto_models": 1},
            as_options=True,
        )
        self._console = console or Console(quiet=True)
        self._tell = partial(self._console.print, markup=False, highlight=False, soft_wrap=True)
        self.is_left = False
        self._run: Run
        self._search: Study
        self._give_up_if_lost: Callable[[Driver], None] = lambda _: None

    @cached_property
    def _loaded(self) -> LoadedInputs:
        loaded = load_inputs(self._run.inputs)
        check_setup(self._search, setup_of_inputs(loaded))
        return loaded

    @cached_property
    def _test(self) -> LabelledTest:
        return self._loaded.labelled_test()

    def run(self) -> Conclusion | None:
        """Confirm the winner, and write the conclusion into the run's files.

        Returns:
            None if the winner is the recipe itself, or if the confirmation was interrupted.

        Raises:
            InputError: the search is not finished, its data have changed, or storage was lost; what
                is recorded is kept.
        """
        with as_input_errors(), contextlib.ExitStack() as stack:
            if not self.folder.exists:
                raise InputError(f"{self.folder} holds no run to confirm")
            stack.enter_context(self.folder.locked())
            self._search = self.folder.load_study()
            stack.callback(self._search.close)
            self._run = read_run(self.folder, self._search, is_running=False)
            self._check_finished()
            guard = self._held(stack)
            try:
                return self._confirm(stack, guard)
            except StorageLostError as error:
                raise InputError(
                    f"{error}; nothing recorded is lost: give the same command again"
                ) from None

    def _check_finished(self) -> None:
        record = self._run.record
        if self._run.left_because is not None and self._run.ended_because is None:
            raise InputError(f"{self._run.standing} Finish it first: {self._run.resume_command}")
        if record.winner is None or record.trials[0].kept is None:
            raise InputError(f"{self.folder}: the search has no winner and recipe to compare")

    def _held(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        """For the study of the confirmation: the lease of a database, and patience."""
        driver: dict[str, Any] = {"patience": Patience(self._settings.storage_patience, self._tell)}
        if is_server(self.folder.storage_address()):
            held = stack.enter_context(lease(self._search))
            driver["guard"] = held.check
            self._give_up_if_lost = lambda driver: held.when_lost(driver.give_up)
        return driver

    def _confirm(self, stack: contextlib.ExitStack, held: dict[str, Any]) -> Conclusion | None:
        winner = self._run.record.winner
        assert winner is not None
        if winner.number == 0 and not self._has_begun():
            self._tell("The winner is the recipe itself, so there is nothing to confirm.")
            return None
        study = self.folder.open_confirmation(self._search.setup, **held)
        stack.callback(study.close)
        ledger = Ledger(study)
        if (given := ledger.content("verdict")) is not None:
            self._check_given(ConfirmationPlan.model_validate(ledger.content("plan")))
            conclusion = Conclusion.model_validate(given)
            self._tell("This search was confirmed before, and a second time would not count:")
        else:
            found = self._train(study, ledger)
            if found is None:
                return None
            conclusion = found
            ledger.add("verdict", conclusion.model_dump(mode="json"))
            # The models of judged trainings are of no further use.
            self.folder.confirmation_checkpoints.remove()
        for line in lines_of(conclusion, self._run.record):
            self._tell(line)
        study.patience("the results cannot be written", partial(self._write, conclusion, study))
        return conclusion

    def _has_begun(self) -> bool:
        with contextlib.suppress(InputError), contextlib.closing(self.folder.load_confirmation()):
            return True
        return False

    def _plan(self, ledger: Ledger) -> ConfirmationPlan:
        """The plan in the ledger, or a new one, which is written there."""
        if (noted := ledger.content("plan")) is not None:
            plan = ConfirmationPlan.model_validate(noted)
            if plan.rule != RULE:
                raise InputError(
                    "the confirmation was begun by another version of the program; finish it with "
                    "that"
                )
            self._check_given(plan)
            return plan
        record, settings = self._run.record, self._settings
        finalists = finalists_of(record, settings.finalists)
        search_seed = record.trials[0].config.seed
        race_seed, judge_seeds = seeds_for(search_seed, len(finalists) - 1, settings.confirm_seeds)
        by_folds = settings.judge == "folds"
        folds = self._folds() if by_folds else None
        plan = ConfirmationPlan(
            rule=RULE,
            finalists=tuple(trial.number for trial in finalists),
            asked_finalists=settings.finalists,
            configs=tuple(_sha256_of(trial.config) for trial in finalists),
            race_seed=race_seed,
            judge_seeds=judge_seeds,
            judge=settings.judge,
            folds=folds.count if folds else 0,
            folds_sha256=folds.sha256 if folds else "",
            data=self._loaded.dataset.files,
            test={} if by_folds else self._test.files,
        )
        ledger.add("plan", plan.model_dump(mode="json"))
        return plan

    def _folds(self) -> "Folds":
        """The folds of these data; InputError if there are too few examples for them."""
        folds = self._loaded.folds(FOLDS)
        for task, of in folds.of.items():
            if len(np.unique(of)) < FOLDS:
                raise InputError(
                    f"{self._loaded.dataset.name}: {task} has too few training examples to divide "
                    f"them into {FOLDS} folds; add examples, or judge by test files: --judge test"
                )
        return folds

    def _check_given(self, plan: ConfirmationPlan) -> None:
        """Refuse options that differ from a plan that is written."""
        fixed = {
            "confirm_seeds": len(plan.judge_seeds),
            "finalists": plan.asked_finalists,
            "judge": plan.judge,
        }
        for name, value in fixed.items():
            if name in self._given and getattr(self._settings, name) != value:
                raise InputError(
                    f"--{name.replace('_', '-')} {self._given[name]}: the confirmation was begun "
                    f"with {value}, and that cannot change any more; leave it out"
                )

    def _train(self, study: Study, ledger: Ledger) -> Conclusion | None:
        """Run what the plan lacks; returns the conclusion, None if something is left."""
        plan = self._plan(ledger)
        configs = {number: self._search.trials[number].config for number in plan.finalists}
        predictions = self.folder.confirmation_predictions
        if _sha256s(configs) != plan.configs:
            raise InputError("the configurations of the finalists have changed since the plan")
        self._check_judge(study, plan)
        earlier = EarlierTrainings(self.folder, plan, self._search.setup)
        driver = Driver(
            study,
            _Planned(plan.trainings, max(map(_reports_of, configs.values()))),
            self._settings,
            CheckpointStore(self.folder.confirmation_checkpoints),
            predictions,
            tell=self._tell,
            source=partial(Trainings, study, plan, configs, predictions, earlier, self._tell),
        )
        self._give_up_if_lost(driver)
        driver.open()
        self._run_on_cluster(study, driver, plan)
        self.is_left = driver.record.left > 0
        if self.is_left:
            self._tell(
                f"The confirmation is not done: {driver.record.left} of "
                f"{counted(plan.trainings, 'training')} left. The same command continues it."
            )
            return None
        if plan.judge == "test" and is_judged(plan, study.trials):
            self._open_test(study, plan, ledger)
        return conclude(plan, study.trials, predictions)

    def _check_judge(self, study: Study, plan: ConfirmationPlan) -> None:
        """Check that what judges is what was planned, and write the labels of folds."""
        if plan.judge == "test":
            if self._test.files != plan.test:
                raise InputError("the labelled test files have changed since the plan was made")
            for note in self._test.notes:
                self._tell(f"note: {note}")
            return
        folds = self._loaded.folds(plan.folds)
        if folds.sha256 != plan.folds_sha256:
            raise InputError("the folds of the training data have changed since the plan was made")
        splits = {task: given["train"] for task, given in self._loaded.dataset.splits.items()}

        def write() -> None:
            predictions = self.folder.confirmation_predictions
            predictions.write_labels(self._loaded.dataset)
            for fold in range(folds.count):
                rows = {task: of == fold for task, of in folds.of.items()}
                labels = {task: _labels(splits[task])[rows[task]] for task in splits}
                predictions.write_judge(file_of(Fold(fold, folds.count)), labels)

        study.patience("the labels of the folds cannot be written", write)

    def _open_test(self, study: Study, plan: ConfirmationPlan, ledger: Ledger) -> None:
        """Note that the labelled test files are opened, before anything is scored by them."""
        labels = {task: _labels(split) for task, split in self._test.splits.items()}
        if ledger.content("opened") is None:
            rows = {task: len(given) for task, given in labels.items()}
            ledger.add("opened", {"files": plan.test, "examples": rows})
        write = partial(self.folder.confirmation_predictions.write_judge, file_of("test"), labels)
        study.patience("the labels of the test files cannot be written", write)

    def _run_on_cluster(self, study: Study, driver: Driver, plan: ConfirmationPlan) -> None:
        if not driver.backlog and not driver.record.count("paused"):
            return
        settings = self._settings
        metadata = {"job_name": f"{self.folder.name}, confirmation", "study": self.folder.name}
        with place_to_run(settings, metadata, self._console) as place:
            driver.record.slots = place.slots
            begin_run(study, self._loaded.dataset, place.machines, place.slots)
            left = plan.trainings - sum(trial.is_over for trial in study.trials)
            self._tell(self._cost(plan, left, place.slots))
            driver.watchers += [
                Lines(self._tell, plan.trainings),
                self._log(study),
                *self.folder.copies(),
            ]
            run_there(
                place,
                driver,
                self._inputs_of(plan),
                settings,
                f"{self.folder.name}, confirmation",
                self.folder.confirmation_checkpoints,
                self._trainer,
            )
        end_run(study)

    def _cost(self, plan: ConfirmationPlan, left: int, slots: int) -> str:
        judge = examples_of_a_fold(self._run)
        if plan.judge == "test":
            judge = {task: len(split) for task, split in self._test.splits.items()}
        return cost_in_words(
            self._run, left, len(plan.judge_seeds), slots, judge, same=plan.judge == "test"
        )

    def _inputs_of(self, plan: ConfirmationPlan) -> LoadedInputs:
        """What workers get: of labelled test files without the labels."""
        return self._loaded.with_labelled_test(self._test) if plan.judge == "test" else self._loaded

    def _log(self, study: Study) -> Watcher:
        """TensorBoard's log of the trainings, with those that are recorded."""
        # TensorBoard takes a while to import.
        from search.review.tensorboard.confirmation_log import ConfirmationLog

        return ConfirmationLog(self.folder.tensorboard, study.trials)

    def _write(self, conclusion: Conclusion, study: Study) -> None:
        """Write the conclusion into summary.json, the model card and the page."""
        # Plotly takes a while to import.
        from search.review.page.report import write_page

        # Once more, for trainings that were taken from earlier confirmations.
        self._log(study)
        note_conclusion(self.folder.directory, conclusion, self._run.record)
        write_page(read_run(self.folder, self._search, is_running=False))
        self.folder.publish()


def _labels(split: Split) -> np.ndarray:
    assert split.labels is not None
    return split.labels


class _Planned:
    """What the driver must know of a plan."""

    def __init__(self, trials: int, most_reports: int):
        self.trials, self.most_reports = trials, most_reports


class Lines(Watcher):
    """A line for each training that begins or ends."""

    def __init__(self, tell: Any, trainings: int):
        self._tell, self._trainings = tell, trainings

    def started(self, trial: TrialRecord) -> None:
        self._tell(f"  training {trial.number + 1} of {self._trainings} begins: {trial.name}")

    def ended(self, trial: TrialRecord) -> None:
        score = "" if trial.score is None else f", dev score {trial.score:.3f}"
        why = f": {trial.error}" if trial.error else ""
        self._tell(f"  training {trial.number + 1} {trial.state}{score}{why}")


def _reports_of(config: TrainConfig) -> int:
    return config.epochs * config.reports_per_epoch


def _sha256s(configs: Mapping[int, TrainConfig]) -> tuple[str, ...]:
    return tuple(map(_sha256_of, configs.values()))


def _sha256_of(config: TrainConfig) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()
