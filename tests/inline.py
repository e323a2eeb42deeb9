"""Searches whose trials run in the driver's own process, one after the other, without Ray.

What Ray Tune would call is called here, in the same order; all else of a search is as it is.
"""

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from cluster import local
from cluster.local import Cluster, Machine
from search.workers import tuner
from search.workers.trial import MinbertTrial


class OneCore(Cluster):
    """A machine with room for one trial."""

    def machines(self) -> list[Machine]:
        return [Machine(cpus=1, gpus=0)]


def run_without_ray() -> None:
    """Let the searches of this process start no Ray from now on."""
    node = SimpleNamespace(get_node_id=lambda: "inline")
    for owner, name, value in (
        (ray, "get_runtime_context", lambda: node),
        (local, "ray_cluster", lambda *_, **__: contextlib.nullcontext(OneCore())),
        (tune, "with_parameters", lambda trial, **parameters: (trial, parameters)),
        (tune, "with_resources", lambda trainable, _: trainable),
        (tune, "run", _run),
    ):
        setattr(owner, name, value)


def _run(
    trainable: tuple[type[MinbertTrial], dict[str, Any]],
    *,
    search_alg: tuner.JobSearcher,
    scheduler: tuner.VerdictScheduler,
    callbacks: list[tuner.WorkerMonitor],
    stop: tune.Stopper,
    storage_path: str,
    **_: Any,
) -> None:
    trial_class, parameters = trainable
    (attendant,) = callbacks
    # Not by its constructor, which makes a folder in the user's home.
    worker: MinbertTrial = object.__new__(trial_class)
    worker._logdir = str(Path(storage_path) / "trial")
    began = False
    while isinstance(config := search_alg.suggest(""), dict):
        if began:
            worker.reset_config(config)
        else:
            worker.setup(config, **parameters)
        began = True
        attendant.on_trial_start(0, [], SimpleNamespace(config=config))
        continues = True
        while continues:
            attendant.on_step_begin(0, [])
            verdict = scheduler.on_trial_result(None, None, worker.step())
            if stop.stop_all():
                return
            continues = verdict == TrialScheduler.CONTINUE
