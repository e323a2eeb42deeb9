"""The command line that trains a trial again, by itself."""

import shlex
from typing import Any

from minbert.config import RECIPES, InputSettings, TrainConfig
from minbert.settings import Settings, command_of


def train_command(inputs: InputSettings, recipe_name: str) -> str:
    """The part of the command that all trials of a study share."""
    options = _options(inputs, InputSettings())
    return f"{command_of('minbert')} train {shlex.join(['--recipe', _base(recipe_name), *options])}"


def train_options(config: TrainConfig, recipe_name: str) -> str:
    """The options of ``python -m minbert train`` that turn a recipe into a configuration."""
    return shlex.join(_options(config, RECIPES[_base(recipe_name)]))


def _base(recipe_name: str) -> str:
    """The recipe that the command starts from: a user's own may have changed or be gone."""
    return recipe_name if recipe_name in RECIPES else "strong"


def _options(settings: Settings, usual: Settings) -> list[str]:
    options = []
    for name, value in settings:
        if value == getattr(usual, name):
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}", _as_argument(value)]
    return options


def _as_argument(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value) if isinstance(value[0], str) else map(repr, value))
    return repr(value) if isinstance(value, float) else str(value)
