"""Runs a driver's trials: on a Ray cluster that is started for them, or on one that is joined."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

import cluster
from minbert.errors import InputError
from search.storage.directory import Directory
from search.storage.patience import StorageLostError

from .driver import Driver
from .inputs import LoadedInputs
from .settings import StudySettings
from .trainer import TrialTrainer

if TYPE_CHECKING:
    from cluster.local import Cluster


@dataclass(frozen=True)
class Place:
    """Where trials run.

    Attributes:
        machines: the cluster.
        gpus: of each trial; may be a fraction.
        slots: trials at once.
    """

    machines: "Cluster"
    gpus: float
    slots: int


@contextmanager
def place_to_run(
    settings: StudySettings, metadata: Mapping[str, str], console: Console
) -> Iterator[Place]:
    """A Ray cluster with room for the trials; one that was started for them ends with them.

    Args:
        settings: of the search.
        metadata: what the Ray dashboard tells of the job.
        console: is told that Ray starts, unless the settings say to be quiet.

    Raises:
        InputError: the cluster cannot be joined, or a trial does not fit on its machines.
    """
    if not settings.quiet and settings.address is None:
        console.print("Starting Ray on this machine: some seconds.", highlight=False)
    address = settings.address and cluster.prepare_to_join(settings.address)
    # Not before: Ray takes seconds to import, and reads its environment then.
    from cluster.local import ray_cluster

    with ray_cluster(address, dashboard=settings.dashboard, metadata=dict(metadata)) as machines:
        gpus = _gpus_per_trial(settings, machines)
        machines.check_room(settings.cpus_per_trial, gpus)
        yield Place(machines, gpus, machines.slots(settings.cpus_per_trial, gpus))


def run_there(
    place: Place,
    driver: Driver,
    loaded: LoadedInputs,
    settings: StudySettings,
    name: str,
    checkpoints: Directory,
    trainer: type[TrialTrainer],
) -> float:
    """Run a driver's trials until it has no more; returns the seconds that it took.

    Args:
        place: where to run them.
        driver: decides.
        loaded: the data and the encoder.
        settings: of the search.
        name: of the study, for Ray's dashboard and logs.
        checkpoints: directory for the checkpoints.
        trainer: trains a trial.

    Raises:
        StorageLostError: the study or its checkpoints could not be written any more.
    """
    from cluster.local import temporary_folder
    from search.workers.tuner import WorkerOptions, run_trials

    # Not in the run's folder, whose disk may be full.
    scratch = temporary_folder()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        began = time.monotonic()
        options = WorkerOptions(
            study=name,
            checkpoints=checkpoints,
            scratch=scratch,
            cpus=settings.cpus_per_trial,
            gpus=place.gpus,
            state_every=settings.state_every,
            report_timeout=settings.report_timeout,
        )
        run_trials(
            driver,
            loaded,
            place.machines,
            options,
            time_budget=settings.time_budget,
            trainer=trainer,
        )
        seconds = time.monotonic() - began
    if driver.lost:
        raise StorageLostError(driver.ended_because)
    return seconds


def _gpus_per_trial(settings: StudySettings, machines: "Cluster") -> float:
    """What is asked for; if nothing is, a share of a GPU where there are any."""
    if settings.gpus_per_trial is not None:
        return settings.gpus_per_trial
    there = machines.machines()
    if not there:
        raise InputError(
            "the cluster has no machine for trials yet, so say whether they are to have GPUs: "
            "--gpus-per-trial 0.25, or 0"
        )
    return 0.25 if any(machine.gpus for machine in there) else 0.0
