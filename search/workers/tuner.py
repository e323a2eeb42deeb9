"""The three ends that Ray Tune calls: a Searcher, a TrialScheduler and a Callback.

All three only translate: what to run and what becomes of a report is the driver's to decide. An
attempt is one trial of Ray's. A pause therefore ends it, as a stop does, and a promotion, a retry
and a trial that is resumed all come back in the one way, as an attempt that goes on from a
checkpoint. Ray's own pauses, retries and restoring are not used: they are three ways back in, of
which each loses something (docs/design.md says what).

After a report Ray calls the scheduler first and then the callback; when an attempt ends, the
scheduler, the searcher and the callback (ray/tune/execution/tune_controller.py).
"""

import os
import time
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

# Ray's record of the experiment is thrown away, so it need not be written during it.
_SECONDS_BETWEEN_RAYS_OWN_CHECKPOINTS = "1000000"
# A worker that is asked to stop finishes its report first; after this long it is killed.
_SECONDS_TO_STOP = "2"
_SECONDS_BETWEEN_LOOKS = 1.0
# Ray would warn that trials wait for machines, which the search says itself.
_SECONDS_TO_RAYS_WARNING = "1000000"
# Ray would start the workers of a searcher that is not its own one after the other.
_MOST_WORKERS_TO_START_AT_ONCE = "1000"
# What Ray says of an actor whose node is gone, and of what was on it.
_MACHINE_LOST = ("node has died", "NodeDiedError", "ObjectLostError", "OwnerDiedError")


class _NotPickled:
    """Ray pickles the three ends into its own record of the experiment, which nobody reads."""

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
        )
        return {"assignment": assignment}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        # Required of a Searcher; searches go on from their study instead.
        raise NotImplementedError


class VerdictScheduler(_NotPickled, FIFOScheduler):
    """Asks the driver about each report: CONTINUE, or STOP for whatever ends an attempt."""

    def __init__(self, driver: Driver, slots: Slots, metrics: SearchMetrics):
        super().__init__()
        self._driver, self._slots, self._metrics = driver, slots, metrics

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """No trial before others: all that is handed out may run.

        Whichever trial this named would take over a worker that is free, though its own is being
        started. That one would be killed, and where trials are short never come to work.
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
            number, attempt, reply.report, reply.predictions, reply.machine
        )


class Attendant(_NotPickled, tune.Callback):
    """Tells the driver of workers that begin and that die, and ends those that hang."""

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
        # While we waited for storage, reports could not be heard.
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
                # A request to stop would wait behind the step that hangs.
                ray.kill(running.ray_trial.temporary_state.ray_actor)


class _WhenDriverSays(_NotPickled, tune.Stopper):
    """Ends the experiment when the driver has had enough, though attempts still run."""

    def __init__(self, driver: Driver):
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        return self._driver.ended_because is not None


def _error_in(file: Path) -> str:
    """The error itself, from Ray's file of tracebacks: its last line that is not indented."""
    text = file.read_text("utf-8", errors="replace") if file.is_file() else ""
    lines = text.splitlines()
    said = [line for line in lines if line.strip() and not line.startswith((" ", "\t"))]
    return said[-1] if said else "the worker ended without saying why"


@dataclass(frozen=True)
class WorkerOptions:
    """How workers run.

    Attributes:
        study: name of the study, for the workers' logs and the metrics.
        checkpoints: where they are saved.
        scratch: folder for Ray's own files, which nobody needs afterwards.
        cpus: CPU cores, and threads, of each attempt.
        gpus: GPUs of each attempt; may be a fraction.
        state_every: seconds between states, which are saved at reports.
        report_timeout: seconds after which an attempt without a report is ended.
    """

    study: str
    checkpoints: Directory
    scratch: Path
    cpus: int = 1
    gpus: float = 0.0
    state_every: float = 60.0
    report_timeout: float | None = None


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

    Ends when all are done, when the time is up, when the driver has had enough, or at SIGINT;
    trials that are not over then can be continued by another run.

    Args:
        driver: decides.
        inputs: put into the object store, from which each node reads them once.
        machines: the cluster.
        options: of the workers.
        time_budget: seconds.
        trainer: trains a trial.
    """
    # Ray would copy the driver's credentials to the workers, by way of its logs.
    class_cache.ENV_VARS_TO_PROPAGATE -= {
        name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")
    }
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = _SECONDS_BETWEEN_RAYS_OWN_CHECKPOINTS
    os.environ["TUNE_FORCE_TRIAL_CLEANUP_S"] = _SECONDS_TO_STOP
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = _MOST_WORKERS_TO_START_AT_ONCE
    for name in ("", "_AUTOSCALER"):
        os.environ[f"TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S{name}"] = _SECONDS_TO_RAYS_WARNING
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
        # Not the Tuner class: it would pickle all of this into the folder, for a restore that is
        # not used.
        tune.run(
            trainable,
            name="ray",
            storage_path=str(options.scratch.resolve()),
            search_alg=JobSearcher(driver, slots, options.study),
            scheduler=VerdictScheduler(driver, slots, metrics),
            callbacks=[Attendant(driver, slots, metrics, options.report_timeout)],
            stop=_WhenDriverSays(driver),
            num_samples=-1,
            reuse_actors=True,
            time_budget_s=time_budget,
            max_failures=0,
            raise_on_failed_trial=False,
            verbose=0,
        )
    finally:
        driver.leave()
