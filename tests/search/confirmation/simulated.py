"""Confirmations whose trainings are simulated, and kills of them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.local import Machine
from minbert.config import TrainConfig
from minbert.examples import Split
from minbert.tasks import Task
from search.confirmation.conclusion import Conclusion
from search.confirmation.session import Confirmation
from search.confirmation.trainings import ConfirmationPlan
from search.driver import Driver, Job
from search.storage.checkpoints import save_checkpoint
from search.storage.folder import RunFolder
from search.storage.predictions import pack_predictions
from search.storage.provenance import begin_run
from search.storage.study import Study
from testkit.trainer import ScoredTrainer

OPTIONS = {"confirm_seeds": 3, "finalists": 2, "dashboard": False}


class Saved(ScoredTrainer):
    """Scores rise with the learning rate; saves nothing for users."""

    def score(self, config: TrainConfig, step: int) -> float:
        return min(0.9, 0.3 + 400 * config.lr) + 0.01 * step

    @classmethod
    def save(cls, *_: Any) -> None:
        pass


class Simulated(Confirmation):
    """A confirmation whose trainings are simulated, one after the other."""

    def _run_on_cluster(self, study: Study, driver: Driver, plan: ConfirmationPlan) -> None:
        driver.record.slots = 1
        machines: Any = SimpleNamespace(machines=lambda: [Machine(1, 0.0)])
        begin_run(study, self._loaded.dataset, machines, slots=1)
        while isinstance(job := driver.next_job(busy=False), Job):
            self._train_all(driver, job, plan)
        driver.leave()

    def _train_all(self, driver: Driver, job: Job, plan: ConfirmationPlan) -> None:
        trial, inputs = job.trial, self._inputs_of(plan)
        judging: dict[Task, Split] = {}
        if job.judge is not None:
            inputs, judging = inputs.judged_by(job.judge)
        trainer = Saved.make(trial.config, inputs)
        for step in range(1, trial.total_reports + 1):
            report = trainer.next_report()
            if step <= len(trial.reports):
                continue
            attempt = job.attempt.number
            directory = self.folder.confirmation_checkpoints
            key = trial.number, step
            save_checkpoint(directory, key, attempt, trainer.state_dict(), with_state=True)
            is_last = bool(judging) and step == trial.total_reports
            judged = pack_predictions(trainer.judge({}, judging)) if is_last else b""
            driver.reported(trial.number, attempt, report, b"", "", judged)


def confirm(path: Path, **options: Any) -> Conclusion | None:
    return Simulated(RunFolder(path), {**OPTIONS, **options}).run()


class KilledError(BaseException):
    """The process is killed."""


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool) -> Callable[[], None]:
    """Kill at a write to the study, before or after it; returns what ends that."""
    writes = iter(range(10_000))
    write = Study._write

    def killing(self: Study, action: Callable[[], Any]) -> Any:
        is_now = next(writes) == number
        if is_now and not after:
            raise KilledError
        result = write(self, action)
        if is_now:
            raise KilledError
        return result

    monkeypatch.setattr(Study, "_write", killing)
    return lambda: monkeypatch.setattr(Study, "_write", write)
