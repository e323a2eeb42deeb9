"""What a search will run, determined and checked before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from minbert.config import InputSettings, TrainConfig, recipe
from minbert.errors import InputError
from minbert.output import counted
from minbert.recipes import Recipe
from minbert.settings import did_you_mean
from search.propose.branches import check_space, explore
from search.propose.points import Grid
from search.propose.recorded import RecordedPoint
from search.propose.samplers import SAMPLERS
from search.propose.spaces import Space, checked_fields
from search.schedule.table import SCHEDULERS

from .recipes import find_recipe
from .record import field_texts
from .settings import DEFAULT_REPORTS_PER_EPOCH, DEFAULT_TRIALS, StudySettings


@dataclass(frozen=True)
class FixedTrial:
    """A configuration that is given, not proposed by a sampler."""

    name: str
    fields: dict[str, Any]
    config: TrainConfig


@dataclass(frozen=True)
class Plan:
    """What a search will run.

    Attributes:
        recipe: name of the recipe, for people.
        base: the recipe under the study's objective, epochs, reports and seed.
        fixed: configurations to run first, and to their end; the first is the recipe itself.
        tries: configurations to run next, scheduled like any other.
        trials: number of trials, all of these included.
        most_reports: the most reports of any configuration of the space.
        points: number of points of the space if the sampler needs a finite one, otherwise None.
        configs: a configuration from each branch of the space, and all given ones.
        earlier: trials of an earlier search, for the sampler to learn from.
        recorded: if given, only these configurations are proposed.
        noise: two standard errors of a score, if known; otherwise the predictions tell.
    """

    space: Space
    recipe: str
    base: TrainConfig
    fixed: tuple[FixedTrial, ...]
    tries: tuple[FixedTrial, ...]
    trials: int
    most_reports: int
    configs: tuple[TrainConfig, ...]
    points: int | None = None
    earlier: tuple[FrozenTrial, ...] = ()
    recorded: tuple[RecordedPoint, ...] = ()
    noise: float | None = None


def make_plan(
    settings: StudySettings, inputs: InputSettings, space: Space, own: Recipe | None = None
) -> Plan:
    """Determine what to run.

    Args:
        settings: of the search.
        inputs: the data and the encoder.
        space: what to vary.
        own: the user's own recipe of a study that is resumed; otherwise the settings name one.

    Raises:
        InputError: settings, data and space do not fit together.
    """
    if sum(map(settings.objective.of, inputs.tasks)) == 0:
        tasks = ", ".join(inputs.tasks)
        raise InputError(f"--objective {settings.objective} gives no weight to any of: {tasks}")
    start = own or _recipe_of(settings, space)
    if space.recipe not in (None, start.name):
        raise InputError(f"--space {space.name} works only with --recipe {space.recipe}")
    is_list = bool(space.experiments)
    for option, value in (("trials", settings.trials), ("epochs", settings.epochs)):
        if is_list and value is not None:
            raise InputError(f"--space {space.name} is a fixed list; leave --{option} out")

    base = _base(start, settings, inputs, is_list=is_list)
    configs = check_space(space, base)
    fixed = _fixed_trials(space, base, configs if is_list else [])
    if is_list and settings.try_:
        raise InputError(f"--space {space.name} is a fixed list; leave --try out")
    tries = _parse_tries(settings.try_, space, base)
    trials = len(fixed) if is_list else settings.trials or DEFAULT_TRIALS
    if trials < len(fixed) + len(tries):
        raise InputError(
            f"--trials {trials} is too few for the recipe and {len(tries)} --try; give "
            f"{len(fixed) + len(tries)} or more"
        )
    most_reports = max(config.epochs * config.reports_per_epoch for config in (base, *configs))
    needs_grid = SAMPLERS[settings.sampler].needs_finite_space and not is_list
    has_rungs = "grace_period" in SCHEDULERS[settings.scheduler].options
    if has_rungs and 1 < settings.grace_period >= most_reports:
        raise InputError(
            f"--grace-period {settings.grace_period}: a trial has only "
            f"{counted(most_reports, 'report')}; give "
            "less, more --reports-per-epoch, or --scheduler none"
        )
    return Plan(
        space=space,
        recipe=start.name,
        base=base,
        fixed=fixed,
        tries=tries,
        trials=trials,
        most_reports=most_reports,
        # A space without a grid is refused here, before anything runs.
        points=Grid(space, settings.sampler).size if needs_grid else None,
        configs=(base, *configs, *(trial.config for trial in (*fixed, *tries))),
    )


def _recipe_of(settings: StudySettings, space: Space) -> Recipe:
    """The recipe of ``--recipe``; by default that of the space, or strong."""
    if settings.recipe is not None:
        return find_recipe(settings.recipe, settings.storage)
    name = space.recipe or "strong"
    return Recipe(name, recipe(name))


def _base(
    start: Recipe, settings: StudySettings, inputs: InputSettings, *, is_list: bool
) -> TrainConfig:
    """The recipe under the study's objective, epochs, reports, seed and tasks.

    Raises:
        InputError: the recipe trains none of the tasks.
    """
    trained = tuple(task for task in start.config.train_tasks if task in inputs.tasks)
    if not trained:
        raise InputError(
            f"--recipe {start.name} trains only {', '.join(start.config.train_tasks)}, which "
            f"--tasks {','.join(inputs.tasks)} leaves out"
        )
    changes: dict[str, Any] = {
        "objective": settings.objective,
        "seed": settings.seed,
        "train_tasks": trained,
        "reports_per_epoch": settings.reports_per_epoch
        or (start.config.reports_per_epoch if is_list else DEFAULT_REPORTS_PER_EPOCH),
    }
    if settings.epochs is not None:
        changes["epochs"] = settings.epochs
    try:
        return start.config.replace(**changes)
    except InputError as error:
        raise InputError(f"--recipe {start.name}: {error}") from None


def _parse_tries(texts: Sequence[str], space: Space, base: TrainConfig) -> tuple[FixedTrial, ...]:
    """The configurations of ``--try``; InputError if two, or one and the recipe, train the same."""
    tries: list[FixedTrial] = []
    known = {base.effective(): "the recipe"}
    for text in texts:
        one = _parse_try(text, space, base)
        if (same := known.get(one.config.effective())) is not None:
            raise InputError(f"--try {text}: trains the same as {same}; leave it out")
        known[one.config.effective()] = f"--try {text}"
        tries.append(one)
    return tuple(tries)


def _parse_try(text: str, space: Space, base: TrainConfig) -> FixedTrial:
    """A configuration such as ``lr=2e-5,loss_weights=.2/.3/.5``: the recipe with these fields.

    A value may lie outside the space, but only fields that the space varies can be given, because
    reviews compare trials by those fields.
    """
    varied = list(dict.fromkeys(name for fields in explore(space).proposals for name in fields))
    fields: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            raise InputError(f"--try {text}: give fields as lr=2e-5 or loss_weights=.2/.3/.5")
        name = "loss_weights" if name == "weights" else name.replace("-", "_")
        if name == "objective":
            raise InputError(f"--try {text}: the objective is fixed for a study")
        if name not in varied:
            hint = did_you_mean(name, varied)
            raise InputError(
                f"--try {text}: space {space.name} does not vary {name}{hint}; it varies "
                f"{', '.join(varied)}"
            )
        if name in fields:
            raise InputError(f"--try {text}: {name} is given twice")
        fields[name] = value.replace("/", ",")
    try:
        config = base.replace(**fields)
    except InputError as error:
        raise InputError(f"--try {text}: {error}") from None
    checked = checked_fields(fields, config)
    return FixedTrial(" ".join(field_texts(checked, config.train_tasks)), checked, config)


def _fixed_trials(
    space: Space, base: TrainConfig, configs: list[TrainConfig]
) -> tuple[FixedTrial, ...]:
    """The recipe, then the rest of the list; a row that equals the recipe becomes trial 0."""
    listed = [
        FixedTrial(experiment.name, checked_fields(experiment.changes, config), config)
        for experiment, config in zip(space.experiments, configs, strict=False)
    ]
    same = [trial for trial in listed if trial.config.effective() == base.effective()]
    first = same[0] if same else FixedTrial("recipe", {}, base)
    names: dict[TrainConfig, str] = {}
    for trial in listed:
        if (earlier := names.get(trial.config.effective())) is not None:
            raise InputError(
                f"{space.path}: '{trial.name}' trains the same as '{earlier}'; remove one of them"
            )
        names[trial.config.effective()] = trial.name
    return (first, *(trial for trial in listed if trial is not first))
