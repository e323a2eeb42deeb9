"""One trial on a worker: a ``tune.Trainable`` around a trainer."""

import gc
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from minbert.errors import DamagedError, InputError, reason_of
from minbert.examples import Split
from minbert.process import release_freed_memory
from minbert.report import Report
from minbert.tasks import Task
from minbert.train import DivergedError
from search.failures import FailureKind
from search.inputs import LoadedInputs
from search.storage.checkpoints import load_checkpoint, load_weights, save_checkpoint
from search.storage.directory import open_directory
from search.storage.predictions import pack_predictions
from search.trainer import TrialTrainer

from .wire import Assignment, Reply

_SECONDS_BETWEEN_TRIES = 1.0


class _StorageError(Exception):
    """A checkpoint cannot be read or written at the moment."""


class MinbertTrial(tune.Trainable):
    """Runs an attempt at a trial. A step makes one report and saves its checkpoint first.

    It is a class, not a function, so that the worker process is reused for the next attempt. A
    failure in training is a reply too, so that the process stays and the driver decides. So is a
    failure to save: the next step tries again, for as long as the driver has patience.
    """

    def setup(
        self,
        config: dict[str, Any],
        *,
        inputs: LoadedInputs,
        trainer: type[TrialTrainer],
        threads: int,
        folder: str,
        state_every: float,
    ) -> None:
        torch.set_num_threads(threads)
        self._inputs, self._trainer_class = inputs, trainer
        self._state_every = state_every
        self._directory = open_directory(folder)
        node = ray.get_runtime_context().get_node_id()
        self._machine = f"{platform.node()} ({node[:6]})"
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job: Assignment = new_config["assignment"]
        # Made in the first step, so that an error in making it only fails this trial.
        self._trainer: TrialTrainer | None = None
        self._unsaved: Report | None = None
        self._waits_since: float | None = None
        self._history = list(self._job.history)
        self._selected = self._job.selected
        self._judging: dict[Task, Split] = {}
        self._last_state = time.monotonic()
        if torch.cuda.max_memory_allocated():  # by an earlier attempt
            torch.cuda.reset_peak_memory_stats()
        self._log(f"starts from {self._job.state or 'the beginning'}")
        return True

    def __repr__(self) -> str:
        # The dashboard shows it for the whole life of the actor, so it cannot name a trial.
        return f"study {self._job.study}"

    def step(self) -> dict[str, Any]:
        return {"reply": self._reply()}

    def _reply(self) -> Reply:
        kind: FailureKind
        try:
            return self._report()
        except DivergedError as error:
            kind, reason = "diverged", str(error)
        except _StorageError as error:
            self._log(f"waits: {error}")
            now = time.monotonic()
            self._waits_since = self._waits_since or now
            time.sleep(_SECONDS_BETWEEN_TRIES)
            return self._reply_with(waited=now - self._waits_since, reason=str(error))
        except DamagedError as error:
            kind, reason = "state damaged", str(error)
        except InputError as error:
            kind, reason = "refused", str(error)
        except Exception as error:  # any error in training only fails this trial
            kind = "out of memory" if _is_out_of_memory(error) else "crashed"
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            reason = " ".join(f"{type(error).__name__}: {error} ({where})".split())
        self._log(f"{kind}: {reason}")
        self._trainer = self._unsaved = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._reply_with(failure=kind, reason=reason)

    def _reply_with(self, **content: Any) -> Reply:
        return Reply(self._job.trial, self._job.attempt, **content)

    def _report(self) -> Reply:
        if self._trainer is None:
            self._trainer = self._make_trainer()
        job, trainer = self._job, self._trainer
        report = self._unsaved = self._unsaved or trainer.next_report()
        is_due = time.monotonic() - self._last_state > self._state_every
        total = job.config.epochs * job.config.reports_per_epoch
        with_state = report.step < total and (is_due or report.step in job.pauses)
        with _storage_errors():
            saved = save_checkpoint(
                self._directory,
                (job.trial, report.step),
                job.attempt,
                trainer.state_dict(),
                with_state=with_state,
            )
        judged = b"" if job.judge is None else self._judged(report, saved.address, total)
        release_freed_memory()
        self._unsaved = self._waits_since = None
        if with_state:
            self._last_state = time.monotonic()
        scores = " ".join(f"{task} {score:.3f}" for task, score in report.scores.items())
        self._log(f"report {report.step}/{total}, score {report.score:.3f} ({scores})")
        return self._reply_with(
            report=report,
            predictions=pack_predictions(trainer.predictions),
            judged=judged,
            machine=self._machine,
            resident_memory=_resident_memory(),
            cuda_memory=torch.cuda.max_memory_allocated(),
        )

    def _judged(self, report: Report, saved: str, total: int) -> bytes:
        """After the last report, the selected model's predictions for the examples that judge it.

        Args:
            report: the last one.
            saved: address of its checkpoint.
            total: number of reports of the whole training.
        """
        # A report that is recorded already is repeated, and the recorded one counts.
        if report.step > len(self._history):
            self._history.append(report.scores)
            if self._job.config.selects_last(self._history):
                self._selected = saved
        if report.step < total:
            return b""
        assert self._trainer is not None
        assert self._selected is not None
        with _storage_errors():
            weights = load_weights(open_directory(self._selected))
        return pack_predictions(self._trainer.judge(weights, self._judging))

    def _make_trainer(self) -> TrialTrainer:
        inputs = self._inputs
        if self._job.judge is not None:
            inputs, self._judging = inputs.judged_by(self._job.judge)
        trainer = self._trainer_class.make(
            self._job.config,
            inputs,
            micro_batch=self._job.micro_batch,
            # In Ray's folder of this search on this machine.
            scratch=Path(self.logdir).parent / "kept",
        )
        if self._job.state is not None:
            with _storage_errors():
                state = load_checkpoint(open_directory(self._job.state))
            trainer.load_state_dict(state)
            self._waits_since = None
        return trainer

    def _log(self, what: str) -> None:
        """Write one line to the actor's log, to stderr, which the dashboard shows first."""
        job = self._job
        trial = f"study {job.study} trial {job.trial} ({job.name})"
        print(f"{trial} attempt {job.attempt}: {what}", file=sys.stderr)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _StorageError(reason_of(error)) from None


def _resident_memory() -> int:
    """Bytes of this process in memory, shared pages included; 0 if there is no /proc."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    said = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "out of memory" in said
        or "can't allocate memory" in said
    )
