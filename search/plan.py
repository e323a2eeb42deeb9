"""What a search will run, worked out and checked before anything starts."""

from dataclasses import dataclass
from typing import Any

from minbert.config import InputSettings, TrainConfig, recipe
from minbert.errors import InputError

from .settings import DEFAULT_REPORTS_PER_EPOCH, DEFAULT_TRIALS, StudySettings
from .spaces import Space, check_space


@dataclass(frozen=True)
class FixedTrial:
    """A configuration that is given and not proposed."""

    name: str
    fields: dict[str, Any]
    config: TrainConfig


@dataclass(frozen=True)
class Plan:
    """What a search will run.

    Attributes:
        recipe: name of the recipe.
        base: the recipe under the study's objective, epochs, reports and seed.
        fixed: run first and to their end; the first is the recipe itself.
        trials: how many there will be, the fixed ones included.
        most_reports: of any configuration of the space.
    """

    space: Space
    recipe: str
    base: TrainConfig
    fixed: tuple[FixedTrial, ...]
    trials: int
    most_reports: int


def make_plan(settings: StudySettings, inputs: InputSettings, space: Space) -> Plan:
    """Work out what to run.

    Raises:
        InputError: settings, data and space do not go together.
    """
    if sum(map(settings.objective.of, inputs.tasks)) == 0:
        tasks = ", ".join(inputs.tasks)
        raise InputError(f"--objective {settings.objective} gives no weight to any of: {tasks}")
    name = settings.recipe or space.recipe or "strong"
    if space.recipe not in (None, name):
        raise InputError(f"--space {space.name} goes with --recipe {space.recipe} alone")
    is_list = bool(space.experiments)
    for option, value in (("trials", settings.trials), ("epochs", settings.epochs)):
        if is_list and value is not None:
            raise InputError(f"--space {space.name} is a fixed list; leave --{option} out")

    start = recipe(name)
    changes: dict[str, Any] = {
        "objective": settings.objective,
        "seed": settings.seed,
        "train_tasks": tuple(task for task in start.train_tasks if task in inputs.tasks),
        "reports_per_epoch": settings.reports_per_epoch
        or (start.reports_per_epoch if is_list else DEFAULT_REPORTS_PER_EPOCH),
    }
    if settings.epochs is not None:
        changes["epochs"] = settings.epochs
    base = start.replace(**changes)
    configs = check_space(space, base)
    fixed = _fixed_trials(space, base, configs if is_list else [])
    return Plan(
        space=space,
        recipe=name,
        base=base,
        fixed=fixed,
        trials=len(fixed) if is_list else settings.trials or DEFAULT_TRIALS,
        most_reports=max(config.epochs * config.reports_per_epoch for config in (base, *configs)),
    )


def _fixed_trials(
    space: Space, base: TrainConfig, configs: list[TrainConfig]
) -> tuple[FixedTrial, ...]:
    """The recipe itself, then the rest of the list; a row that equals the recipe is the recipe."""
    listed = [
        FixedTrial(experiment.name, experiment.changes, config)
        for experiment, config in zip(space.experiments, configs, strict=False)
    ]
    same = [trial for trial in listed if trial.config == base]
    first = same[0] if same else FixedTrial("recipe", {}, base)
    return (first, *(trial for trial in listed if trial is not first))
