"""How many epochs a search spends until it is as good as random search: no training, curves only.

    python -m bench.efficiency [--seeds 20] [--pruner median]

Random search trains 64 configurations to their end, 27 epochs each; its best report is the target
of its seed. Each method runs on four slots until a report of its own reaches that target, and the
epochs that all of its trials were trained by then are counted, at most twice what random search
has in all.

The curves are noisy power laws, score(t) = a − b·t^(−c) + noise, whose a, b, c depend on the
configuration. A larger learning rate rises sooner, wherever the best one lies, so that curves
cross: early scores mislead, as they do in training.

    random       64 configurations, all to their end
    stock Ray    OptunaSearch and ASHAScheduler as they come (η 3, first rung at 1)
    Optuna       TPESampler and MedianPruner as they come
    asha, asha-stop, none
                 our driver with each --scheduler, otherwise as it comes
"""

import argparse
import heapq
import itertools
import math
import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from rich.console import Console
from rich.table import Table

from minbert.config import InputSettings, TrainConfig
from minbert.tasks import Task
from search.driver import Driver
from search.plan import make_plan
from search.propose.spaces import load_space
from search.record import TrialRecord
from search.settings import DEFAULT_PRUNER, StudySettings
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from testkit.simulation import equal_scores, simulate

EPOCHS, RANDOM_TRIALS, SLOTS = 27, 64, 4
MOST = 2 * EPOCHS * RANDOM_TRIALS
NOISE = 0.004
METHODS = ("random", "stock Ray", "Optuna", "asha", "asha-stop", "none")

SPACE = '''"""Five choices of a training run."""


def space(trial):
    return {
        "lr": trial.suggest_float("lr", 1e-6, 1e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
        "warmup": trial.suggest_float("warmup", 0.0, 0.5),
        "layer_decay": trial.suggest_float("layer_decay", 0.5, 1.0),
        "pooling": trial.suggest_categorical("pooling", ["cls", "mean"]),
    }
'''


def score_at(fields: dict[str, Any], step: int, seed: int, chance: np.random.Generator) -> float:
    """A report's score, with an optimum that the seed moves about."""
    moved = np.random.default_rng([seed, 1]).uniform(-1, 1, 4)
    lr = (math.log10(fields["lr"]) + 4 + 0.5 * moved[0]) / 2  # -1 to 1, about
    dropout = (fields["dropout"] - 0.3 + 0.15 * moved[1]) / 0.3
    warmup = (fields["warmup"] - 0.25 + 0.12 * moved[2]) / 0.25
    decay = (fields["layer_decay"] - 0.8 + 0.1 * moved[3]) / 0.3
    bowl = 0.25 * lr**2 + 0.05 * dropout**2 + 0.03 * warmup**2 + 0.03 * decay**2
    end = 0.85 - bowl - (0.03 if fields["pooling"] == "cls" else 0.0)
    speed = 0.9 + 0.5 * max(-1.0, min(1.0, lr + 0.3 * dropout))
    height = 0.35 - 0.08 * warmup * lr
    return float(end - height * step**-speed + NOISE * chance.standard_normal())


def random_search(seed: int) -> list[float]:
    """Best score so far after each epoch of random search."""
    chance = np.random.default_rng([seed, 2])
    scores = []
    for _ in range(RANDOM_TRIALS):
        fields = {
            "lr": 10 ** chance.uniform(-6, -2),
            "dropout": chance.uniform(0, 0.6),
            "warmup": chance.uniform(0, 0.5),
            "layer_decay": chance.uniform(0.5, 1.0),
            "pooling": str(chance.choice(["cls", "mean"])),
        }
        scores += [score_at(fields, step, seed, chance) for step in range(1, EPOCHS + 1)]
    return list(itertools.accumulate(scores, max))


def run_asynchronously(
    propose: Callable[[int], dict[str, Any]],
    goes_on: Callable[[int, int, float], bool],
    seed: int,
    target: float,
) -> int:
    """Epochs until the target on four slots, for methods that only propose and stop."""
    chance = np.random.default_rng([seed, 3])
    numbers, spent = itertools.count(), 0
    events: list[tuple[int, int, int]] = []
    running: dict[int, dict[str, Any]] = {}

    def begin(now: int) -> None:
        number = next(numbers)
        running[number] = propose(number)
        heapq.heappush(events, (now + 1, number, 1))

    for _ in range(SLOTS):
        begin(0)
    while spent < MOST:
        now, number, step = heapq.heappop(events)
        score = score_at(running[number], step, seed, chance)
        spent += 1
        if score >= target:
            break
        if goes_on(number, step, score):
            heapq.heappush(events, (now + 1, number, step + 1))
        else:
            del running[number]
            begin(now)
    return spent


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(SPACE, namespace)
    fields: dict[str, Any] = namespace["space"](trial)
    return fields


def stock_ray(seed: int, target: float) -> int:
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def space(trial: optuna.Trial) -> None:
        suggest(trial)

    search = OptunaSearch(space=space, metric="score", mode="max", seed=seed)
    np.random.seed(seed)  # ASHA draws from it
    halving = ASHAScheduler(
        metric="score", mode="max", max_t=EPOCHS, grace_period=1, reduction_factor=3
    )
    trials: dict[int, Any] = {}

    def propose(number: int) -> dict[str, Any]:
        config: dict[str, Any] = search.suggest(str(number))
        trials[number] = SimpleNamespace(trial_id=str(number), config=config)
        halving.on_trial_add(None, trials[number])
        return config

    def goes_on(number: int, step: int, score: float) -> bool:
        result = {"training_iteration": step, "score": score}
        verdict = halving.on_trial_result(None, trials[number], result)
        if verdict == "CONTINUE":
            search.on_trial_result(str(number), result)
            return True
        halving.on_trial_complete(None, trials[number], result)
        search.on_trial_complete(str(number), result)
        return False

    return run_asynchronously(propose, goes_on, seed, target)


def optuna_alone(seed: int, target: float) -> int:
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    trials: dict[int, optuna.Trial] = {}

    def propose(number: int) -> dict[str, Any]:
        trials[number] = study.ask()
        return suggest(trials[number])

    def goes_on(number: int, step: int, score: float) -> bool:
        trials[number].report(score, step)
        if step == EPOCHS:
            study.tell(trials[number], score)
            return False
        if trials[number].should_prune():
            study.tell(trials[number], state=optuna.trial.TrialState.PRUNED)
            return False
        return True

    return run_asynchronously(propose, goes_on, seed, target)


def ours(scheduler: str, seed: int, target: float, pruner: str) -> int:
    chance = np.random.default_rng([seed, 3])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "curves.py"
        path.write_text(SPACE)
        settings = StudySettings.check(
            {"space": str(path), "scheduler": scheduler, "seed": seed, "trials": 600}
            | {"epochs": EPOCHS, "reports_per_epoch": 1, "pruner": pruner}
        )
        plan = make_plan(settings, InputSettings(), load_space(settings.space))
    # The other methods have no baseline, so ours has none here either.
    plan = replace(plan, fixed=())
    nowhere = LocalDirectory(path.parent)
    study = Study.create(InMemoryStorage(), "bench", {})
    driver = Driver(study, plan, settings, CheckpointStore(nowhere), DevPredictions(nowhere)).open()

    def curve(trial: TrialRecord, step: int) -> dict[Task, float]:
        config: TrainConfig = trial.config
        return equal_scores(score_at(config.model_dump(), step, seed, chance))

    return len(simulate(driver, curve, SLOTS, most=MOST, until=target))


def epochs_spent(task: tuple[str, int, str]) -> int:
    method, seed, pruner = task
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    best = random_search(seed)
    target = best[-1]
    if method == "random":
        return best.index(target) + 1
    if method == "stock Ray":
        return stock_ray(seed, target)
    if method == "Optuna":
        return optuna_alone(seed, target)
    return ours(method, seed, target, pruner)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pruner", default=DEFAULT_PRUNER, help="for our own rows")
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    tasks = [
        (method, seed, arguments.pruner) for method in methods for seed in range(arguments.seeds)
    ]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        spent = np.array(pool.map(epochs_spent, tasks, chunksize=1)).reshape(len(methods), -1)
    table = Table(title=f"Epochs until random search's best of {RANDOM_TRIALS} full trials")
    for heading in ("method", "lower quartile", "median", "upper quartile", "never", "of random"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    full = EPOCHS * RANDOM_TRIALS
    of_random = np.median(spent[methods.index("random")]) if "random" in methods else full
    for method, row in zip(methods, spent, strict=True):
        low, middle, high = np.quantile(row, [0.25, 0.5, 0.75])
        never = int((row >= MOST).sum())
        table.add_row(
            method,
            *(f"{value:.0f}" for value in (low, middle, high)),
            str(never),
            f"{middle / of_random:.2f}",
        )
    Console(width=100).print(table)
    Console(width=100).print(
        f"Random search spends {full} epochs on its {RANDOM_TRIALS} trials; its own row says when "
        f"its best report came, and 'of random' is a share of that. Counting ended at {MOST} "
        "('never')."
    )


if __name__ == "__main__":
    main()
