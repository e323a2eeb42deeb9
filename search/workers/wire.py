"""The messages between the driver and a worker, which travel through Ray Tune."""

from collections.abc import Mapping
from dataclasses import dataclass

from minbert.config import TrainConfig
from minbert.report import Report
from minbert.tasks import Task
from search.failures import FailureKind
from search.inputs import Judge


@dataclass(frozen=True)
class Assignment:
    """What a worker is asked to do: one attempt at a trial.

    Attributes:
        study: name of the study, for the worker's log.
        trial: number of the trial.
        name: name of the trial, for the worker's log.
        attempt: number of the attempt, from 1.
        config: what to train.
        state: address of the checkpoint to continue from; None to start from the beginning.
        pauses: steps after which the trial may be paused, so a state is saved there.
        micro_batch: most examples at once, if a whole batch does not fit in memory.
        judge: examples to judge the selected model by at the end; those of a fold are left out.
        history: task scores of the reports that are recorded.
        selected: address of the checkpoint that is selected of these.
    """

    study: str
    trial: int
    name: str
    attempt: int
    config: TrainConfig
    state: str | None = None
    pauses: tuple[int, ...] = ()
    micro_batch: int | None = None
    judge: Judge | None = None
    history: tuple[Mapping[Task, float], ...] = ()
    selected: str | None = None


@dataclass(frozen=True)
class Reply:
    """What a worker answers: a report, a failure, or that it waits for storage.

    Attributes:
        trial: number of the trial.
        attempt: number of the attempt.
        report: the next report; its checkpoint is written. None if there is none.
        predictions: packed dev predictions of the report.
        judged: packed predictions of the selected model for the examples that judge it, with the
            last report.
        machine: name of the worker's machine, and Ray's id of the node.
        resident_memory: bytes of the worker's process in memory.
        cuda_memory: most bytes that the attempt has used on the GPU.
        failure: why the attempt ended without a report.
        waited: seconds that the worker has waited for storage so far.
        reason: of the failure or of the wait, in one line.
    """

    trial: int
    attempt: int
    report: Report | None = None
    predictions: bytes = b""
    judged: bytes = b""
    machine: str = ""
    resident_memory: int = 0
    cuda_memory: int = 0
    failure: FailureKind | None = None
    waited: float | None = None
    reason: str = ""
