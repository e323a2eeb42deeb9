"""The three ends that Ray Tune calls: a Searcher, a TrialScheduler and a Callback.

Stock scheduling under thin adapters: Optuna proposes, Ray's ASHA stops. The order of Ray's calls
after a report (ray/tune/execution/tune_controller.py): the scheduler's verdict, the callback, the
checkpoint if one is asked for, and, when the trial is over, scheduler, searcher and callback.
"""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from minbert.data import Dataset
from minbert.errors import InputError
from minbert.hub import Pretrained
from minbert.report import Report

from .plan import Plan
from .results import SearchRecord, State, TrialRecord, field_texts
from .trial import MinbertTrial

REDUCTION_FACTOR = 3


class Watcher(Protocol):
    """Someone who is told how a search goes."""

    def started(self, trial: TrialRecord) -> None: ...

    def reported(self, trial: TrialRecord, report: Report) -> None: ...

    def ended(self, trial: TrialRecord) -> None: ...


class StudySearcher(Searcher):
    """Hands out the fixed trials, then what Optuna proposes, and tells Optuna how they end."""

    def __init__(self, plan: Plan, record: SearchRecord, seed: int):
        super().__init__(metric="score", mode="max")
        self._plan = plan
        self._record = record
        self._study = optuna.create_study(direction="maximize", sampler=_sampler(plan, seed))
        self._asked: dict[int, optuna.Trial] = {}
        self._by_id: dict[str, TrialRecord] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        while len(self._record.trials) < self._plan.trials:
            trial = self._next_trial()
            self._record.trials.append(trial)
            if trial.state == "waiting":
                self._by_id[trial_id] = trial
                return {"number": trial.number, "config": trial.config.model_dump(mode="json")}
        finished: str = Searcher.FINISHED
        return finished

    def _next_trial(self) -> TrialRecord:
        number = len(self._record.trials)
        if number < len(self._plan.fixed):
            fixed = self._plan.fixed[number]
            return TrialRecord(number, fixed.name, fixed.fields, fixed.config, fixed=True)
        asked = self._study.ask()
        try:
            fields = self._plan.space.propose(asked)
            config = self._plan.space.configure(fields, self._plan.base)
        except InputError as error:
            self._study.tell(asked, state=TrialState.FAIL)
            base = self._plan.base
            return TrialRecord(number, "refused", {}, base, state="failed", error=str(error))
        self._asked[number] = asked
        return TrialRecord(number, " ".join(field_texts(fields)), fields, config)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,  # noqa: ARG002
        error: bool = False,
    ) -> None:
        trial = self._by_id[trial_id]
        asked = self._asked.pop(trial.number, None)
        if asked is None:
            return
        for report in trial.reports:
            asked.report(report.score, report.step)
        if error or trial.score is None:
            self._study.tell(asked, state=TrialState.FAIL)
        elif trial.is_trained:
            self._study.tell(asked, trial.score)
        else:
            # Optuna takes the last reported score of a pruned trial, and refuses another.
            self._study.tell(asked, state=TrialState.PRUNED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        """Ray's own record of the experiment is thrown away at the end."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError


def _sampler(plan: Plan, seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            # Parameters that only some configurations have are modelled where they appear.
            group=True,
            # Trials that run at the same time spread out.
            constant_liar=True,
            # A small search would otherwise end within TPE's random start.
            n_startup_trials=min(10, max(3, plan.trials // 3)),
        )


class SparingHalving(ASHAScheduler):
    """Ray's ASHA, which lets fixed trials through; their scores count for the others."""

    def __init__(self, record: SearchRecord, most_reports: int):
        super().__init__(
            metric="score",
            mode="max",
            # A report beyond the last, so that only a rung ends a trial.
            max_t=most_reports + 1,
            reduction_factor=REDUCTION_FACTOR,
        )
        self._record = record

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        verdict: str = super().on_trial_result(tune_controller, trial, result)
        if self._record.trials[trial.config["number"]].fixed:
            return str(TrialScheduler.CONTINUE)
        return verdict


class Recorder(tune.Callback):
    """Keeps the record, tells the watchers, and removes the checkpoints of losers."""

    def __init__(self, record: SearchRecord, watchers: Sequence[Watcher]):
        self._record = record
        self._watchers = watchers

    def _of(self, trial: Any) -> TrialRecord:
        number: int = trial.config["number"]
        return self._record.trials[number]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        started = self._of(trial)
        started.state = "running"
        for watcher in self._watchers:
            watcher.started(started)

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        running = self._of(trial)
        report = Report.model_validate(result["report"])
        running.reports.append(report)
        running.seconds += report.train_seconds + report.dev_seconds
        for watcher in self._watchers:
            watcher.reported(running, report)

    def on_checkpoint(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        checkpoint: tune.Checkpoint,
        **info: Any,  # noqa: ARG002
    ) -> None:
        saved = self._of(trial)
        saved.checkpoint = checkpoint
        # The trial goes on only after this, so that its last kept report is the one saved.
        saved.saved = saved.kept

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        ended = self._of(trial)
        self._end(ended, "finished" if ended.is_trained else "stopped")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        ended = self._of(trial)
        ended.error = _error_in(Path(trial.error_file))
        self._end(ended, "failed")

    def _end(self, ended: TrialRecord, state: State) -> None:
        ended.state = state
        best = self._record.best("finished", "stopped")
        for trial in self._record.trials:
            # A running trial may still need its checkpoint; of the others only the best one does.
            is_over = trial.state in ("finished", "stopped", "failed")
            if is_over and trial is not best and trial.checkpoint is not None:
                with contextlib.suppress(FileNotFoundError):
                    trial.checkpoint.filesystem.delete_dir(trial.checkpoint.path)
                trial.checkpoint = None
        for watcher in self._watchers:
            watcher.ended(ended)


def _error_in(file: Path) -> str:
    """The error itself, from Ray's file of tracebacks: its last line that is not indented."""
    lines = file.read_text().splitlines() if file.is_file() else []
    said = [line for line in lines if line.strip() and not line.startswith((" ", "\t"))]
    return said[-1] if said else "the worker ended without saying why"


def run_trials(
    plan: Plan,
    dataset: Dataset,
    pretrained: Pretrained,
    record: SearchRecord,
    watchers: Sequence[Watcher],
    *,
    folder: Path,
    seed: int,
    cpus_per_trial: int,
    gpus_per_trial: float,
    time_budget: float | None,
) -> None:
    """Run the trials of a plan on the cluster that Ray is connected to.

    Ends when all are done, when the time is up, or at SIGINT; trials that still run then are
    marked as cut short.

    Args:
        plan: what to run.
        dataset: put into the object store, from which each node reads it once.
        pretrained: as ``dataset``.
        record: is filled in.
        watchers: are told how it goes.
        folder: for the checkpoints that trials keep.
        seed: of the sampler.
        cpus_per_trial: CPU cores, and threads, of each trial.
        gpus_per_trial: may be a fraction.
        time_budget: seconds.
    """
    trainable = tune.with_resources(
        tune.with_parameters(
            MinbertTrial, dataset=dataset, pretrained=pretrained, threads=cpus_per_trial
        ),
        {"cpu": cpus_per_trial, "gpu": gpus_per_trial},
    )
    # Not the Tuner class: it would pickle all of this into the folder, for a restore that is
    # not used.
    tune.run(
        trainable,
        name=folder.name,
        storage_path=str(folder.parent.resolve()),
        search_alg=StudySearcher(plan, record, seed),
        scheduler=SparingHalving(record, plan.most_reports),
        callbacks=[Recorder(record, watchers)],
        num_samples=-1,
        reuse_actors=True,
        time_budget_s=time_budget,
        checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        max_failures=0,
        raise_on_failed_trial=False,
        verbose=0,
    )
    for trial in record.trials:
        if trial.state in ("waiting", "running"):
            trial.state = "cut short"
            for watcher in watchers:
                watcher.ended(trial)
