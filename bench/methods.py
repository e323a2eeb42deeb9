"""Ways of searching that are compared: ours, and others as they come.

A method is given a world, a seed and a budget, and returns what it saw, report by report. Four
trials run at a time, and each report takes the same time.
"""

import heapq
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import InMemoryStorage

from bench.worlds import World
from minbert.config import InputSettings, TrainConfig
from minbert.report import Report
from search.driver import Driver
from search.plan import FixedTrial, Plan, make_plan
from search.propose.branches import Chosen, explore
from search.propose.points import closest, nearest
from search.propose.proposals import groups_of
from search.propose.recipe import MIXTURE, RecipeSampler
from search.record import TrialRecord
from search.settings import StudySettings
from search.simulation import simulate
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from testkit.simulation import equal_scores, report_of

SLOTS = 4
# The environment variable that names the Python of the environment with packages of others.
OTHERS = "MINBERT_BENCH_OTHERS"
# Methods that need it, and those that need a recipe.
OF_OTHERS = ("Syne Tune ASHA", "NePS PriorBand")
AROUND_A_RECIPE = ("NePS PriorBand",)
_SERVER = Path(__file__).parent / "others.py"
# No search of ours ends because it has no trials left.
_TRIALS = 600
# Trials of one epoch in a round of "one epoch, then three".
_ROUND = 24
_FEW = replace(MIXTURE, shares={"recipe": 1.0}, first=())


@dataclass(frozen=True)
class Seen:
    """A report: trainings spent by then, the score as seen, and the expected score."""

    trainings: float
    score: float
    true: float


Method = Callable[[World, int, float], list[Seen]]


def run_asynchronously(
    world: World,
    propose: Callable[[int], TrainConfig],
    goes_on: Callable[[int, int, float], bool],
    budget: float,
    trained: Callable[[int], int] = lambda _: 0,
) -> list[Seen]:
    """Run trials that are proposed, and that go on or stop after each report.

    Args:
        propose: the configuration of a trial.
        goes_on: whether a trial goes on after a step with a score; asked at the last too, in vain.
        budget: trainings.
        trained: reports of a trial that are trained already, as it continues another one.
    """
    seen: list[Seen] = []
    numbers = itertools.count()
    events: list[tuple[int, int, int]] = []
    running: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def begin(now: int) -> None:
        number = next(numbers)
        config = propose(number)
        running[number] = world.observed(config), world.truth(config)
        heapq.heappush(events, (now + 1, number, trained(number) + 1))

    for _ in range(SLOTS):
        begin(0)
    while len(seen) < budget * world.total:
        now, number, step = heapq.heappop(events)
        observed, true = (float(curve[step - 1]) for curve in running[number])
        seen.append(Seen((len(seen) + 1) / world.total, observed, true))
        if goes_on(number, step, observed) and step < world.total:
            heapq.heappush(events, (now + 1, number, step + 1))
        else:
            del running[number]
            begin(now)
    return seen


def configurations(world: World, sampler: Callable[[int], Any]) -> Iterator[TrainConfig]:
    """Configurations of a world's space, from a sampler for each number."""
    for number in itertools.count():
        trial = optuna.create_study(sampler=sampler(number)).ask()
        yield world.space.configure(world.space.propose(trial), world.base)


def uniform(world: World, seed: int) -> Iterator[TrainConfig]:
    return configurations(
        world, lambda number: optuna.samplers.RandomSampler(seed=100_000 * seed + number)
    )


def neighbours(world: World, seed: int) -> Iterator[TrainConfig]:
    """Neighbours of the world's recipe."""
    known, groups = nearest(world.space, world.base), groups_of(world.space)
    return configurations(
        world,
        lambda number: RecipeSampler(
            100_000 * seed + number, known, groups, start=10, noise=0.0, mixture=_FEW
        ),
    )


def random_search(world: World, seed: int, budget: float) -> list[Seen]:
    configs = uniform(world, seed)
    return run_asynchronously(world, lambda _: next(configs), lambda *_: True, budget)


def one_then_three(
    world: World,
    seed: int,
    budget: float,
    proposed: Callable[[World, int], Iterator[TrainConfig]] = uniform,
) -> list[Seen]:
    """One epoch each, then the best three to their end, in rounds."""
    configs = proposed(world, seed)
    seen: list[Seen] = []
    first = max(1, world.total // 3) if world.has_recipe else 1

    def train(config: TrainConfig, steps: range) -> None:
        observed, true = world.observed(config), world.truth(config)
        for step in steps:
            spent = (len(seen) + 1) / world.total
            seen.append(Seen(spent, float(observed[step - 1]), float(true[step - 1])))

    while len(seen) < budget * world.total:
        tried = list(itertools.islice(configs, _ROUND))
        for config in tried:
            train(config, range(1, first + 1))
        tried.sort(key=lambda config: -world.observed(config)[first - 1])
        for config in tried[:3]:
            train(config, range(first + 1, world.total + 1))
    return seen[: int(budget * world.total)]


def stock_ray(world: World, seed: int, budget: float) -> list[Seen]:
    """OptunaSearch and ASHAScheduler as they come, with a first rung at 1 and η 3."""
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    fields: dict[str, TrainConfig] = {}

    def space(trial: optuna.Trial) -> None:
        fields["last"] = world.space.configure(world.space.propose(trial), world.base)

    search = OptunaSearch(space=space, metric="score", mode="max", seed=seed)
    np.random.seed(seed)  # ASHA draws from it
    halving = ASHAScheduler(
        metric="score", mode="max", max_t=world.total, grace_period=1, reduction_factor=3
    )
    trials: dict[int, Any] = {}

    def propose(number: int) -> TrainConfig:
        config: dict[str, Any] = search.suggest(str(number))
        trials[number] = SimpleNamespace(trial_id=str(number), config=config)
        halving.on_trial_add(None, trials[number])
        return fields["last"]

    def goes_on(number: int, step: int, score: float) -> bool:
        result = {"training_iteration": step, "score": score}
        verdict = halving.on_trial_result(None, trials[number], result)
        if verdict == "CONTINUE" and step < world.total:
            search.on_trial_result(str(number), result)
            return True
        halving.on_trial_complete(None, trials[number], result)
        search.on_trial_complete(str(number), result)
        return False

    return run_asynchronously(world, propose, goes_on, budget)


def optuna_alone(world: World, seed: int, budget: float, *, prunes: bool) -> list[Seen]:
    """Optuna's TPE as it comes, with or without its default pruner."""
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner() if prunes else optuna.pruners.NopPruner(),
    )
    trials: dict[int, optuna.Trial] = {}

    def propose(number: int) -> TrainConfig:
        trials[number] = study.ask()
        return world.space.configure(world.space.propose(trials[number]), world.base)

    def goes_on(number: int, step: int, score: float) -> bool:
        trials[number].report(score, step)
        if step == world.total:
            study.tell(trials[number], score)
            return False
        if trials[number].should_prune():
            study.tell(trials[number], state=optuna.trial.TrialState.PRUNED)
            return False
        return True

    return run_asynchronously(world, propose, goes_on, budget)


def ours(
    world: World, seed: int, budget: float, *, scheduler: str, sampler: str, **options: Any
) -> list[Seen]:
    """Our driver, otherwise as it comes."""
    space = str(world.space.path)
    settings = StudySettings.check(
        {"space": space, "scheduler": scheduler, "sampler": sampler, "seed": seed}
        | {"trials": _TRIALS, "epochs": world.base.epochs}
        | {"reports_per_epoch": world.base.reports_per_epoch, **options}
    )
    plan = make_plan(settings, InputSettings(), world.space)
    with tempfile.TemporaryDirectory() as folder:
        nowhere = LocalDirectory(Path(folder))
        study = Study.create(InMemoryStorage(), "bench", {})
        driver = Driver(
            study,
            _from_the_recipe(plan, world),
            settings,
            CheckpointStore(nowhere),
            DevPredictions(nowhere),
        ).open()
        happened = simulate(driver, partial(_report, world), SLOTS, most=int(budget * world.total))
    truths = [world.truth(trial.config) for trial in study.trials]
    return [
        Seen(one.reports / world.total, one.score, float(truths[one.trial][one.step - 1]))
        for one in happened
    ]


def _from_the_recipe(plan: Plan, world: World) -> Plan:
    base = world.base.replace(seed=plan.base.seed)
    fixed = (FixedTrial("recipe", {}, base),) if world.has_recipe else ()
    return replace(plan, base=base, fixed=fixed, noise=world.noise)


def _report(world: World, trial: TrialRecord, step: int) -> Report:
    score = float(world.observed(trial.config)[step - 1])
    return report_of(trial, step, equal_scores(score))


def our_methods() -> dict[str, Method]:
    """Each scheduler with each sampler that is of interest."""
    return {
        f"{scheduler}, {sampler}": partial(ours, scheduler=scheduler, sampler=sampler)
        for scheduler in ("asha", "asha-stop", "pasha", "none")
        for sampler in ("recipe", "tpe", "random")
    }


def asked(
    world: World, seed: int, budget: float, *, method: str, server: Path = _SERVER
) -> list[Seen]:
    """A search of another package, which runs in an environment of its own."""
    distributions = explore(world.space).parameters
    setup = {
        "method": method,
        "seed": seed,
        "total": world.total,
        "parameters": {name: _as_json(each) for name, each in distributions.items()},
        "recipe": nearest(world.space, world.base) if world.has_recipe else None,
    }
    trained: dict[int, int] = {}
    with subprocess.Popen(
        [os.environ[OTHERS], "-I", server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to, answers = process.stdin, process.stdout
        print(json.dumps(setup), file=to)

        def answer(**message: Any) -> dict[str, Any]:
            print(json.dumps(message), file=to)
            line = answers.readline()
            if not line:
                raise RuntimeError(f"{method} ended; its own error is above")
            answered: dict[str, Any] = json.loads(line)
            return answered

        def propose(number: int) -> TrainConfig:
            proposed = answer(ask=number)
            trained[number] = proposed["trained"]
            # Other packages know no steps, and may be off the end of a range by rounding.
            values = {
                name: value if isinstance(each, CategoricalDistribution) else closest(each, value)
                for name, each in distributions.items()
                for value in [proposed["config"][name]]
            }
            trial = optuna.create_study(sampler=Chosen(values)).ask()
            return world.space.configure(world.space.propose(trial), world.base)

        def goes_on(number: int, step: int, score: float) -> bool:
            return bool(answer(tell=number, step=step, score=score)["goes_on"])

        return run_asynchronously(world, propose, goes_on, budget, trained.__getitem__)


def _as_json(distribution: BaseDistribution) -> dict[str, Any]:
    if isinstance(distribution, CategoricalDistribution):
        return {"kind": "categorical", "choices": distribution.choices}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "int" if isinstance(distribution, IntDistribution) else "float"
    return {"kind": kind} | {name: getattr(distribution, name) for name in ("low", "high", "log")}


METHODS: dict[str, Method] = {
    "random": random_search,
    "one epoch, then three": one_then_three,
    "the same, near the recipe": partial(one_then_three, proposed=neighbours),
    "stock Ray": stock_ray,
    "Optuna": partial(optuna_alone, prunes=True),
    "Optuna, no pruner": partial(optuna_alone, prunes=False),
    **{name: partial(asked, method=name) for name in OF_OTHERS},
    **our_methods(),
}
