"""What a study was made with, and whether it can be resumed with the given settings."""

import contextlib
import hashlib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from minbert.config import InputSettings, recipe
from minbert.errors import InputError
from minbert.hub import Pretrained
from minbert.recipes import Recipe
from minbert.settings import as_text, option_of
from search.propose.earlier import trials_to_learn_from
from search.propose.samplers import SAMPLERS
from search.propose.spaces import built_in_spaces, load_space
from search.schedule.table import SCHEDULERS
from search.storage.directory import join, open_directory
from search.storage.folder import RunFolder
from search.storage.study import NoStudyError, Study

from .inputs import LoadedInputs
from .plan import Plan, make_plan
from .recipes import check_recipe, earlier_study, stored_recipe
from .settings import StudySettings

# The options of all schedulers.
_OPTIONS = tuple(dict.fromkeys(name for row in SCHEDULERS.values() for name in row.options))


def plan_search(settings: StudySettings, inputs: InputSettings, own: Recipe | None) -> Plan:
    """Plan a search, with the trials of ``--start-from`` for the sampler to learn from.

    Args:
        own: the user's own recipe of a study that is resumed.

    Raises:
        InputError: settings, data and space do not fit together, or no earlier trial fits.
    """
    plan = make_plan(settings, inputs, load_space(settings.space), own)
    if settings.start_from is None:
        return plan
    earlier = earlier_study(settings.start_from, settings.storage)
    learnt = trials_to_learn_from(earlier, plan.space, settings.objective, inputs.tasks)
    if not learnt:
        raise InputError(
            f"--start-from {settings.start_from}: none of its trials lies in the space "
            f"{plan.space.name}"
        )
    return replace(plan, earlier=tuple(learnt))


def make_setup(settings: StudySettings, plan: Plan, loaded: LoadedInputs) -> dict[str, Any]:
    """Everything that the numbers and decisions of a study depend on, by name.

    Settings that may change when a study is resumed (trials, budgets, what is kept, hardware) are
    not included.
    """
    base = plan.base.model_dump(mode="json")
    return {
        "space": plan.space.name,
        "file of the space": _sha256_of_file(plan.space.path),
        "recipe": plan.recipe,
        "objective": base.pop("objective"),
        **{f"recipe's {name}": value for name, value in base.items()},
        "inputs": loaded.settings.model_dump(mode="json", exclude={"strict"}),
        **setup_of_inputs(loaded),
        "scheduler": settings.scheduler,
        **SCHEDULERS[settings.scheduler].options_of(settings),
        "sampler": settings.sampler,
        "pruner": settings.pruner,
    }


def setup_of_inputs(loaded: LoadedInputs) -> dict[str, Any]:
    """The part of a setup that says which data and which encoder were read."""
    pretrained = loaded.pretrained
    return {
        "data files": loaded.dataset.files,
        "encoder": {
            "name": pretrained.name,
            "layers": pretrained.config.layers,
            "sha256": _sha256_of(pretrained),
        },
    }


def _sha256_of(pretrained: Pretrained) -> str:
    digest = hashlib.sha256()
    for name in sorted(pretrained.weights):
        digest.update(pretrained.weights[name].tobytes())
    return digest.hexdigest()


def check_setup(study: Study, setup: dict[str, Any]) -> None:
    """Refuse to resume a study that was made with other settings.

    Args:
        study: the study to resume.
        setup: the setup of this run.

    Raises:
        InputError: a setting differs; the message names the first.
    """
    for name, value in setup.items():
        was = study.setup.get(name)
        if was == value:
            continue
        if isinstance(value, dict) and isinstance(was, dict):
            inner = next(key for key in {**was, **value} if was.get(key) != value.get(key))
            name, was, value = f"{name}, {inner}", was.get(inner), value.get(inner)
        raise InputError(f"{_difference(name, was, value)}, or start a new run with another --name")


def _difference(name: str, was: Any, now: Any) -> str:
    """What differs from the study, as the option to type, and what to do about it."""
    kind, _, inner = name.partition(", ")
    if name == "file of the space":
        return "the space file has changed since the study was made; restore it"
    if kind == "data files":
        what = "is gone" if now is None else "is new" if was is None else "has changed"
        return f"{inner} {what} since the study was made; restore the data"
    if kind == "encoder":
        what = "weights have" if inner == "sha256" else f"{inner} has"
        return f"the encoder's {what} changed since the study was made; restore it"
    field = inner or name.removeprefix("recipe's ")
    field = "tasks" if field == "train_tasks" else field
    if field not in StudySettings.model_fields and field not in InputSettings.model_fields:
        return (
            f"the recipe has changed since the study was made: {field} was {was} and is {now}; "
            "use the version of the program that made it"
        )
    option = option_of(field)
    if was is None:
        return f"{option} {_typed(now)}: the study was made without {option}; leave it out"
    given_now = f"{option} is not given" if now is None else f"{option} {_typed(now)}"
    return f"{given_now}: the study was made with {option} {_typed(was)}; give that"


def _typed(value: Any) -> str:
    return shlex.quote(as_text(tuple(value) if isinstance(value, list) else value))


def stored_options(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a study was made with, as fields of StudySettings and of InputSettings, unchecked.

    A space that is not built in is left out, because only its name is known. So is a sampler that
    unpickles data from the study, which must not happen just because a folder names it. The user's
    own recipe, with its epochs, is in ``stored_recipe``.
    """
    setup = study.setup
    if not setup:
        return {}, {}
    same = ("recipe", "objective", "scheduler", *_OPTIONS, "sampler", "pruner")
    stored = {name: setup[name] for name in same if name in setup}
    # A pickle is code, so a sampler for which Optuna unpickles the study must be asked for.
    if any(row.unpickles and stored.get("sampler") == name for name, row in SAMPLERS.items()):
        del stored["sampler"]
    for name in ("seed", "epochs", "reports_per_epoch"):
        stored[name] = setup.get(f"recipe's {name}")
    if stored_recipe(setup) is not None:
        for name in ("recipe", "epochs"):
            stored.pop(name, None)
    # A fixed list only accepts the epochs of its recipe.
    elif stored["epochs"] == recipe(setup["recipe"]).epochs:
        del stored["epochs"]
    if setup.get("space") in built_in_spaces():
        stored["space"] = setup["space"]
    inputs = setup.get("inputs")
    return stored, dict(inputs) if isinstance(inputs, dict) else {}


def _sha256_of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def settle(
    given_settings: dict[str, Any], given_inputs: dict[str, Any]
) -> tuple[StudySettings, InputSettings, Recipe | None]:
    """Make the settings from the given options.

    With ``--resume`` and ``--name``, the study provides the settings that it was made with.
    Settings that may change when a study is resumed have their defaults.

    Returns:
        The settings, and the study's recipe if that is the user's own.

    Raises:
        InputError: an option is refused, or the study's space or sampler must be given.
    """
    if not {"resume", "name"} <= given_settings.keys():
        return (
            StudySettings.check(given_settings, as_options=True),
            InputSettings.check(given_inputs, as_options=True),
            None,
        )
    # First find the study, which holds the settings that are not given.
    where = {"resume", "name", "out", "storage", "recipe"} & given_settings.keys()
    found = StudySettings.check({name: given_settings[name] for name in where}, as_options=True)
    assert found.name is not None
    folder = RunFolder(join(found.out, found.name), found.storage)
    stored: dict[str, Any] = {}
    stored_inputs: dict[str, Any] = {}
    own: Recipe | None = None
    # A missing run is reported later, and a missing study is created later.
    if folder.exists:
        with (
            contextlib.suppress(NoStudyError),
            contextlib.closing(folder.load_study()) as study,
        ):
            stored, stored_inputs = stored_options(study)
            own = stored_recipe(study.setup) if stored else None
            if own is not None and found.recipe is not None:
                tasks = InputSettings.check(stored_inputs).tasks
                check_recipe(found.recipe, own, tasks, found.storage)
            if stored and "space" not in (stored | given_settings):
                raise InputError(
                    "--space is required: the study was made with the file "
                    f"{study.setup.get('space')}.py, whose path is not stored; give the path"
                )
            if stored and "sampler" not in (stored | given_settings):
                raise InputError(
                    f"--sampler is required: the study was made with {study.setup['sampler']}, "
                    "which unpickles data in the study, and that can run code; give it only if you "
                    "trust whoever made the study"
                )
    return (
        StudySettings.check(stored | given_settings, as_options=True),
        InputSettings.check(stored_inputs | given_inputs, as_options=True),
        own,
    )


def find_run(settings: StudySettings, plan: Plan, setup: dict[str, Any]) -> RunFolder:
    """The run to resume: the one of ``--name``, or the newest that was made with these settings.

    Raises:
        InputError: there is no such run.
    """
    out = open_directory(settings.out)
    if settings.name is not None:
        folder = RunFolder(join(settings.out, settings.name), settings.storage)
        if not folder.exists:
            raise InputError(f"{folder} holds no run to resume")
        return folder
    written = {name: out.modified(f"{name}/run.json") for name in out.directories()}
    names = sorted((at, name) for name, at in written.items() if at is not None)
    for _, name in reversed(names):
        folder = RunFolder(join(settings.out, name), settings.storage)
        try:
            with contextlib.closing(folder.load_study()) as study:
                check_setup(study, setup)
        except InputError:
            continue
        return folder
    raise InputError(
        f"no run in {out} was made with these settings for space {plan.space.name}; give --name "
        "to see what differs"
    )


def extend(plan: Plan, settings: StudySettings, study: Study) -> Plan:
    """The plan for resuming a study: as many trials as before, or as many as ``--trials`` says.

    Raises:
        InputError: the study already has more trials than ``--trials``.
    """
    planned = study.noted("planned") or len(study.trials)
    trials = planned if settings.trials is None else settings.trials
    if trials < len(study.trials):
        raise InputError(
            f"--trials {trials}: the study has {len(study.trials)} already; give as many or more"
        )
    return replace(plan, trials=trials)
