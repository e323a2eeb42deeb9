"""Recipes: the named ones, and the user's own from a JSON file or a saved model."""

import os
from dataclasses import dataclass
from pathlib import Path

from .checkpoint import INFO
from .config import RECIPES, TrainConfig
from .errors import InputError
from .files import read_json
from .settings import did_you_mean


@dataclass(frozen=True)
class Recipe:
    """A configuration to start from.

    Attributes:
        name: for people; only a recipe of ``RECIPES`` has one of its names.
        config: the configuration.
    """

    name: str
    config: TrainConfig


def find_recipe(text: str) -> Recipe:
    """The recipe of that name, in that JSON file, or of the saved model in that folder.

    Raises:
        InputError: there is none, or its configuration is refused.
    """
    if text in RECIPES:
        return Recipe(text, RECIPES[text])
    path = Path(text)
    if is_file_name(text):
        return Recipe(short_name(text), _read(path))
    if not path.is_dir():
        raise unknown_recipe(text, "a JSON file or the folder of a saved model")
    if not holds_model(text):
        best = path / "best"
        hint = f"; give {best}" if holds_model(best) else ""
        raise InputError(
            f"--recipe {text}: the folder holds no saved model (there is no {INFO} in it){hint}"
        )
    return Recipe(short_name(text), _read(path / INFO))


def is_file_name(text: str) -> bool:
    """Whether a recipe is given as a file."""
    return text.endswith(".json")


def holds_model(folder: str | Path) -> bool:
    """Whether a folder holds a saved model."""
    return (Path(folder) / INFO).is_file()


def short_name(path: str) -> str:
    """What the recipe at a path is called: the file's name; the last two parts of a folder's path.

    It is the same from whatever folder the path is given.
    """
    parts = Path(os.path.abspath(path)).parts  # noqa: PTH100 - resolve() would follow links
    return parts[-1] if is_file_name(path) else "/".join(parts[-2:])


def unknown_recipe(text: str, others: str) -> InputError:
    """The error for a recipe that does not exist.

    Args:
        text: what was given.
        others: what else than a name can be given.
    """
    names = list(RECIPES)
    return InputError(
        f"unknown recipe '{text}'{did_you_mean(text, names)}; there are: {', '.join(names)}; or "
        f"give {others}"
    )


def _read(path: Path) -> TrainConfig:
    """The configuration in a JSON file: all of it, or the field ``config`` as the program saves it.

    Fields that are not there have their defaults, which are those of ``strong``.
    """
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(f"--recipe {error}") from None
    if isinstance(saved := content.get("config"), dict):
        content = TrainConfig.with_new_names(saved)
    try:
        return TrainConfig().replace(**content)
    except InputError as error:
        raise InputError(f"--recipe {path}: {error}") from None
