"""Memory of a search's workers: python -m bench.memory.

Searches with 1, 2 and 4 trials at once run on Ray on this machine. At each stage all workers wait
for each other, and read their proportional set size: the pages of a process, those that several
processes share divided among them. Beside it stands what a trial needs in any case.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.local import Cluster, ray_cluster
from minbert.config import InputSettings
from minbert.errors import InputError
from minbert.settings import run_command
from minbert.train import Trainer
from search.driver import Driver
from search.inputs import LoadedInputs, load_inputs
from search.plan import make_plan
from search.propose.spaces import load_space
from search.settings import StudySettings
from search.storage.folder import RunFolder
from search.trainer import MinbertTrainer, TrialTrainer
from search.workers import tuner
from search.workers.trial import MinbertTrial
from search.workers.wire import Reply

from .served import count

MAPS = Path("/proc/self/smaps_rollup")
STAGES = ("imported", "trainer built", "steps trained", "reported")
# Of all pages, and of those of each kind: a process's own, of files, of Ray's object store.
KINDS = ("Pss", "Pss_Anon", "Pss_File", "Pss_Shmem")
SECONDS_TO_WAIT = 300


class MeasuredTrial(MinbertTrial):
    """A trial that measures its process at each stage, while all others are at that stage too."""

    def setup(self, config: dict[str, Any], *, threads: float, folder: str, **rest: Any) -> None:  # noqa: ARG002
        self._marks = Path(folder).parent / "memory"
        super().setup(config, threads=1, folder=folder, **rest)
        self._measure("imported")

    def _make_trainer(self) -> TrialTrainer:
        trainer = super()._make_trainer()
        assert isinstance(trainer, MinbertTrainer)
        weights = sum(each.numel() * each.element_size() for each in trainer.model.parameters())
        (self._marks / "weights").write_text(str(weights))
        self._measure("trainer built")
        steps = int((self._marks / "steps").read_text())

        def on_step(trainer: Trainer) -> None:
            if trainer.step == steps:
                self._measure("steps trained")

        setattr(trainer, "next_report", partial(trainer.next_report, on_step))  # noqa: B010
        return trainer

    def _report(self) -> Reply:
        reply = super()._report()
        self._measure("reported")
        return reply

    def _measure(self, stage: str) -> None:
        self._wait_for_all(f"{stage}, ready", "")
        lines = [line.split() for line in MAPS.read_text().splitlines()[1:]]
        taken = {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, *_ in lines}
        self._wait_for_all(stage, json.dumps({kind: taken[kind] for kind in KINDS}))

    def _wait_for_all(self, name: str, said: str) -> None:
        folder = self._marks / name
        folder.mkdir(exist_ok=True)
        (folder / str(os.getpid())).write_text(said)
        workers = int((self._marks / "workers").read_text())
        end = time.monotonic() + SECONDS_TO_WAIT
        while len(list(folder.iterdir())) < workers:
            if time.monotonic() > end:
                raise RuntimeError(f"not all {workers} workers came to: {name}")
            time.sleep(0.02)


@dataclass(frozen=True)
class Slots(Cluster):
    """This machine with room for a number of trials, however many cores it has."""

    room: int = 0

    def slots(self, cpus_per_trial: int, gpus_per_trial: float) -> int:  # noqa: ARG002
        return self.room


def measure(
    workers: int, inputs: LoadedInputs, steps: int
) -> tuple[dict[str, list[dict[str, int]]], int]:
    """Run a search with so many trials, all at once.

    Returns:
        For each stage the bytes of each worker by kind; bytes of the weights of a trial.
    """
    settings = StudySettings.check(
        {"trials": workers, "epochs": 1, "reports_per_epoch": 1, "scheduler": "none"}
    )
    plan = make_plan(settings, InputSettings(), load_space("weights"))
    with tempfile.TemporaryDirectory() as temporary, ray_cluster(dashboard=False) as machine:
        folder = RunFolder(Path(temporary) / "run")
        folder.create()
        marks = folder.path / "memory"
        marks.mkdir()
        for name, value in {"workers": workers, "steps": steps}.items():
            (marks / name).write_text(str(value))
        study = folder.create_study({})
        driver = Driver(study, plan, settings, folder.checkpoint_store(), folder.predictions).open()
        cores = sum(each.cpus for each in machine.machines())
        tuner.run_trials(
            driver,
            inputs,
            Slots(room=workers),
            tuner.WorkerOptions(
                study="bench",
                checkpoints=folder.checkpoints,
                scratch=folder.path / "ray",
                # Shares of a core, so that there is room for all: Ray takes them.
                cpus=min(1, cores / workers),  # type: ignore[arg-type]
            ),
        )
        taken = {
            stage: [json.loads(path.read_text()) for path in (marks / stage).glob("*")]
            for stage in STAGES
        }
        if any(len(each) != workers for each in taken.values()):
            ended = ", ".join(f"trial {t.number}: {t.state}" for t in driver.record.trials)
            raise InputError(f"not all workers came to all stages ({ended}); try it again")
        return taken, int((marks / "weights").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="toy", help="a folder in the course layout")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--layers", type=count, default=2)
    parser.add_argument("--workers", type=count, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=count, default=20, help="steps to train; an epoch at most")
    parser.add_argument("--train-limit", type=count, default=400, help="examples a task")
    options = parser.parse_args()
    if not MAPS.exists():
        raise InputError(f"{MAPS} is not there; memory can be measured on Linux alone")
    setattr(tuner, "MinbertTrial", MeasuredTrial)  # noqa: B010
    inputs = load_inputs(
        InputSettings(
            data=options.data,
            encoder=options.encoder,
            layers=options.layers,
            train_limit=options.train_limit,
            dev_limit=400,
        )
    )
    table = Table("trials at once", "stage", *("MB a worker", "own", "files", "store", "MB in all"))
    weights = 0
    for workers in options.workers:
        taken, weights = measure(workers, inputs, options.steps)
        for stage, each in taken.items():
            means = [sum(one[kind] for one in each) / workers / 1e6 for kind in KINDS]
            table.add_row(
                str(workers), stage, *(f"{mean:.0f}" for mean in means), f"{workers * means[0]:.0f}"
            )
        table.add_section()
    print(
        f"{options.encoder}, {inputs.pretrained.config.layers} layers, on {options.data}: "
        "proportional set size of the workers, of it own pages, pages of files and of Ray's "
        "object store\n"
        f"A trial's weights take {weights / 1e6:.0f} MB, its gradients as much, the two moments "
        f"{2 * weights / 1e6:.0f} MB: {4 * weights / 1e6:.0f} MB in all"
    )
    Console(width=100).print(table)


if __name__ == "__main__":
    run_command(main)
