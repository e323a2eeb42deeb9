"""The interfaces that Ray Tune calls: a Searcher, a TrialScheduler and a Callback.

All three only translate; the driver decides what to run and what happens after a report. One
attempt is one Ray Tune trial, so a pause ends the Ray Tune trial, as a stop does. A promotion, a
retry and a resumed trial are all new attempts that continue from a checkpoint. Ray Tune's own
pauses, retries and restores are not used: each of them loses something (see docs/design.md).

After a report, Ray calls the scheduler first and then the callback. When an attempt ends, it calls
the scheduler, the searcher and the callback (ray/tune/execution/tune_controller.py).
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from cluster.local import Cluster
from search.driver import Driver
from search.failures import FailureKind
from search.inputs import LoadedInputs
from search.storage.directory import Directory
from search.trainer import MinbertTrainer, TrialTrainer

from .metrics import SearchMetrics
from .slots import Running, Slots
from .trial import MinbertTrial
from .wire import Assignment, Reply

# Ray's record of the experiment is deleted afterwards, so it need not be written at all.
_SECONDS_BETWEEN_RAYS_OWN_CHECKPOINTS = "1000000"
# A worker that is asked to stop finishes its report first; it is killed after this time.
_SECONDS_TO_STOP = "2"
_SECONDS_BETWEEN_LOOKS = 1.0
# Suppress Ray's warning that trials wait for machines; the search prints its own.
_SECONDS_TO_RAYS_WARNING = "1000000"
# By default Ray starts workers one after the other if the searcher is not one of its own.
_MOST_WORKERS_TO_START_AT_ONCE = "1000"
# Parts of Ray's errors about actors and objects on a lost node.
_MACHINE_LOST = ("node has died", "NodeDiedError", "ObjectLostError", "OwnerDiedError")


class _NotPickled:
    """Pickles as nothing: Ray pickles these objects into its own record, which nobody reads."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JobSearcher(_NotPickled, Searcher):
    """Hands Ray the attempts to run, one for each free slot."""

    def __init__(self, driver: Driver, slots: Slots, study: str):
        super().__init__()
        self._driver, self._slots, self._study = driver, slots, study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        if self._slots.is_full:
            return None
        job = self._driver.next_job(busy=bool(self._slots.running))
        if job == "wait":
            return None
        if job == "done":
            finished: str = Searcher.FINISHED
            return finished
        self._slots.running[job.trial.number] = Running(job)
        assignment = Assignment(
            study=self._study,
            trial=job.trial.number,
            name=job.trial.name,
            attempt=job.attempt.number,
            config=job.trial.config,
            state=None if job.state is None else job.state.address,
            pauses=job.rungs,
            micro_batch=job.attempt.micro_batch,
            judge=job.judge,
            history=tuple(report.scores for report in job.trial.reports),
            selected=None if job.selected is None else job.selected.address,
        )
        return {"assignment": assignment}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        # Required of a Searcher; searches resume from their study instead.
        raise NotImplementedError


class VerdictScheduler(_NotPickled, FIFOScheduler):
    """Asks the driver about each report: CONTINUE, or STOP for anything that ends an attempt."""

    def __init__(self, driver: Driver, slots: Slots, metrics: SearchMetrics):
        super().__init__()
        self._driver, self._slots, self._metrics = driver, slots, metrics

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Return None, so that no trial comes before others; all that are handed out may run.

        A trial returned here would take over a free worker while its own worker is starting. The
        new worker would be killed, and with short trials it would never get to run one.
        """

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        reply: Reply = result["reply"]
        running = self._slots.running[reply.trial]
        running.last_sign = time.monotonic()
        if self._continues(reply):
            return str(TrialScheduler.CONTINUE)
        del self._slots.running[reply.trial]
        return str(TrialScheduler.STOP)

    def _continues(self, reply: Reply) -> bool:
        number, attempt = reply.trial, reply.attempt
        if reply.waited is not None:
            return self._driver.waits(number, attempt, reply.reason, reply.waited)
        if reply.failure is not None:
            self._driver.failed(number, attempt, reply.failure, reply.reason)
            return False
        assert reply.report is not None
        self._metrics.used(number, reply.resident_memory, reply.cuda_memory)
        return self._driver.reported(
            number, attempt, reply.report, reply.predictions, reply.machine, reply.judged
        )


class WorkerMonitor(_NotPickled, tune.Callback):
    """Tells the driver about workers that start and that die, and kills those that hang."""

    def __init__(
        self, driver: Driver, slots: Slots, metrics: SearchMetrics, report_timeout: float | None
    ):
        self._driver, self._slots, self._metrics = driver, slots, metrics
        self._report_timeout = report_timeout
        self._last_look = self._last_step = time.monotonic()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        number = trial.config["assignment"].trial
        running = self._slots.running[number]
        running.last_sign, running.ray_trial = time.monotonic(), trial
        self._driver.started(number)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        assignment: Assignment = trial.config["assignment"]
        running = self._slots.running.pop(assignment.trial)
        kind: FailureKind = "hung" if running.hung else "crashed"
        reason = _error_in(Path(trial.error_file))
        if running.hung:
            reason = f"no report within {self._report_timeout:g} s"
        elif "OutOfMemoryError" in reason:
            kind = "out of memory"
        elif any(words in reason for words in _MACHINE_LOST):
            kind, reason = "machine lost", "Ray found its node dead"
        self._driver.failed(assignment.trial, assignment.attempt, kind, reason)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002
        self._metrics.refresh()
        self._slots.refresh()
        now = time.monotonic()
        # Reports could not be received while the driver waited for storage.
        deaf = now - self._last_step
        self._last_step = now
        if deaf > _SECONDS_BETWEEN_LOOKS:
            for running in self._slots.running.values():
                if running.last_sign is not None:
                    running.last_sign += deaf
        if self._report_timeout is None or now - self._last_look < _SECONDS_BETWEEN_LOOKS:
            return
        self._last_look = now
        for running in self._slots.running.values():
            last = running.last_sign
            if last is not None and now - last > self._report_timeout and not running.hung:
                running.hung = True
                # A request to stop would wait for the hanging step.
                ray.kill(running.ray_trial.temporary_state.ray_actor)


class _StopWithDriver(_NotPickled, tune.Stopper):
    """Ends the experiment when the driver ends the search, even if attempts are running."""

    def __init__(self, driver: Driver):
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        return self._driver.ended_because is not None


def _error_in(file: Path) -> str:
    """The error message in Ray's file of tracebacks: the last line that is not indented."""
    text = file.read_text("utf-8", errors="replace") if file.is_file() else ""
    lines = text.splitlines()
    said = [line for line in lines if line.strip() and not line.startswith((" ", "\t"))]
    return said[-1] if said else "the worker ended without an error message"


@dataclass(frozen=True)
class WorkerOptions:
    """How workers run.

    Attributes:
        study: name of the study, for the workers' logs and the metrics.
        checkpoints: where checkpoints are saved.
        scratch: folder for Ray's own files, not needed afterwards.
        cpus: CPU cores, and threads, for each attempt.
        gpus: GPUs for each attempt; may be a fraction.
        state_every: seconds between saved states; a state is saved with a report.
        report_timeout: an attempt is killed after this many seconds without a report.
    """

    study: str
    checkpoints: Directory
    scratch: Path
    cpus: int = 1
    gpus: float = 0.0
    state_every: float = 60.0
    report_timeout: float | None = None


def _configure_ray_tune() -> None:
    """Set what Ray Tune reads from module and environment variables."""
    # Ray would copy the driver's credentials to the workers, and into its logs.
    class_cache.ENV_VARS_TO_PROPAGATE -= {
        name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")
    }
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = _SECONDS_BETWEEN_RAYS_OWN_CHECKPOINTS
    os.environ["TUNE_FORCE_TRIAL_CLEANUP_S"] = _SECONDS_TO_STOP
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = _MOST_WORKERS_TO_START_AT_ONCE
    for name in ("", "_AUTOSCALER"):
        os.environ[f"TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S{name}"] = _SECONDS_TO_RAYS_WARNING


@contextmanager
def _process_as_before() -> Iterator[None]:
    """Give the process back as it was, for programs that do more than one search.

    Ray Tune would leave its signal handlers, which swallow a Ctrl-C, and this module its settings
    of Ray Tune in the environment.
    """
    settings = {name: value for name, value in os.environ.items() if name.startswith("TUNE_")}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        # Ray Tune installs them in the main thread only, and only there they can be set.
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for name in [name for name in os.environ if name.startswith("TUNE_")]:
            del os.environ[name]
        os.environ.update(settings)


@_process_as_before()
def run_trials(
    driver: Driver,
    inputs: LoadedInputs,
    machines: Cluster,
    options: WorkerOptions,
    *,
    time_budget: float | None = None,
    trainer: type[TrialTrainer] = MinbertTrainer,
) -> None:
    """Run a driver's trials on the cluster that Ray is connected to.

    Ends when all trials are done, when the time is up, when the driver ends the search, or at
    SIGINT. Another run can continue the trials that are not over then.

    Args:
        driver: decides what to run.
        inputs: put into Ray's object store; each node reads them once.
        machines: the cluster.
        options: how workers run.
        time_budget: seconds.
        trainer: the class that trains a trial.
    """
    _configure_ray_tune()
    slots = Slots(driver, machines, options.cpus, options.gpus)
    metrics = SearchMetrics(options.study, driver.record)
    driver.watchers.append(metrics)
    trainable = tune.with_resources(
        tune.with_parameters(
            MinbertTrial,
            inputs=inputs,
            trainer=trainer,
            threads=options.cpus,
            folder=options.checkpoints.address,
            state_every=options.state_every,
        ),
        {"cpu": options.cpus, "gpu": options.gpus},
    )
    try:
        # Not the Tuner class, which pickles all of this into the folder, for a restore that is not
        # used.
        tune.run(
            trainable,
            name="ray",
            storage_path=str(options.scratch.resolve()),
            search_alg=JobSearcher(driver, slots, options.study),
            scheduler=VerdictScheduler(driver, slots, metrics),
            callbacks=[WorkerMonitor(driver, slots, metrics, options.report_timeout)],
            stop=_StopWithDriver(driver),
            num_samples=-1,
            reuse_actors=True,
            time_budget_s=time_budget,
            max_failures=0,
            raise_on_failed_trial=False,
            verbose=0,
        )
    finally:
        driver.leave()
