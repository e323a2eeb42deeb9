"""The recipe of a search: by name, the user's own, or the winner of an earlier run."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minbert import recipes
from minbert.config import RECIPES, TrainConfig
from minbert.errors import InputError
from minbert.recipes import Recipe
from minbert.settings import as_text
from minbert.tasks import Task
from search.storage.addresses import is_server
from search.storage.directory import is_object_store
from search.storage.folder import RunFolder
from search.storage.study import Study

from .record import SearchRecord

_WINNER_OF = "winner of "
# What a search sets by its own options, whatever the recipe has.
_OF_THE_STUDY = ("objective", "seed", "epochs", "reports_per_epoch")


def find_recipe(text: str, storage: str | None) -> Recipe:
    """The recipe that ``--recipe`` names.

    Args:
        text: a name, a JSON file, or the folder of a saved model or of a run.
        storage: of this study, which may also hold that of the run.

    Raises:
        InputError: there is none, or its configuration is refused.
    """
    if text in RECIPES or recipes.is_file_name(text) or recipes.holds_model(text):
        return recipes.find_recipe(text)
    if "/" not in text and not Path(text).is_dir():
        raise recipes.unknown_recipe(text, "a JSON file, or the folder of a run or a saved model")
    try:
        with contextlib.closing(earlier_study(text, storage)) as study:
            winner = SearchRecord(len(study.trials), study.trials).winner
    except InputError as error:
        raise InputError(f"--recipe {text}: {error}") from None
    if winner is None:
        raise InputError(f"--recipe {text}: the run has no winner, as no trial has a score yet")
    return Recipe(_WINNER_OF + _short_name(text), winner.config)


def earlier_study(where: str, storage: str | None) -> Study:
    """The study of an earlier run, which may be in the database of this one."""
    try:
        return RunFolder(where).load_study()
    except InputError:
        # A database is never opened just because a folder names it.
        if storage is None or not is_server(storage):
            raise
        return RunFolder(where, storage).load_study()


def stored_recipe(setup: dict[str, Any]) -> Recipe | None:
    """The user's own recipe that a study was made with; None if it was one of ``RECIPES``.

    Raises:
        InputError: the setup holds no valid configuration.
    """
    name, prefix = str(setup.get("recipe")), "recipe's "
    if name in RECIPES:
        return None
    fields = {key.removeprefix(prefix): v for key, v in setup.items() if key.startswith(prefix)}
    try:
        return Recipe(name, TrainConfig.check(fields))
    except InputError as error:
        raise InputError(f"the recipe in the study is damaged: {error}") from None


def check_recipe(text: str, stored: Recipe, tasks: Sequence[Task], storage: str | None) -> None:
    """Refuse to resume a study with another recipe than its own.

    A file or a run that is gone is accepted, because the study holds the configuration.

    Args:
        text: the recipe that is given.
        stored: the user's own recipe that the study was made with.
        tasks: the tasks of the study.
        storage: as for ``find_recipe``.

    Raises:
        InputError: a field differs, or there is no such recipe.
    """
    short = _short_name(text)
    if stored.name in (short, _WINNER_OF + short) and not _is_there(text):
        return
    found = find_recipe(text, storage).config
    for name, was in stored.config:
        now = getattr(found, name)
        if name == "train_tasks":
            now = tuple(task for task in now if task in tasks)
        if name not in _OF_THE_STUDY and now != was:
            raise InputError(
                f"--recipe {text}: {name} is {as_text(now)}, but the study was made with "
                f"{as_text(was)} ({stored.name}); leave --recipe out, or start a new run with "
                "another --name"
            )


def _is_there(text: str) -> bool:
    return RunFolder(text).exists if is_object_store(text) else Path(text).exists()


def _short_name(text: str) -> str:
    # The address of an object store may end with options.
    return recipes.short_name(text.partition("?")[0] if is_object_store(text) else text)
