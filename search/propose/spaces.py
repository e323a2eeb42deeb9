"""Loads a search space, runs its function, and reports its errors with file and line."""

import ast
import contextlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution

import spaces
from minbert.config import TrainConfig
from minbert.errors import InputError
from minbert.settings import choose
from spaces import Experiment

from .space_trial import SpaceTrial, plain_value

Fields = dict[str, Any]

# Optuna would repeat its warnings for each proposal; we report such errors once.
optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True, eq=False)
class Space:
    """What a search varies: a function of an Optuna trial, or a fixed list.

    Attributes:
        name: name of the built-in space, or the file's name without its suffix.
        path: the file.
        function: returns TrainConfig fields; None for a fixed list.
        experiments: the fixed list; empty for a function.
        recipe: the only recipe that works with the space; None for any.
        inverse: the file's function ``at``, if it has one.
        shown: for some parameters, the name and range to show to people instead.
    """

    name: str
    path: Path
    description: str
    function: Callable[[optuna.Trial], Fields] | None
    experiments: tuple[Experiment, ...] = ()
    recipe: str | None = None
    inverse: Callable[[TrainConfig], Fields | None] | None = None
    shown: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def propose(
        self, trial: optuna.Trial, known: dict[str, BaseDistribution] | None = None
    ) -> Fields:
        """Fields of one configuration, as the function returned them.

        Args:
            trial: the trial that the function asks for parameters.
            known: distributions of the parameters so far; new ones must agree with them, and are
                added.

        Raises:
            InputError: the function failed; the message names file and line.
            optuna.TrialPruned: the function rejects this point of the space.
        """
        assert self.function is not None
        try:
            asked = SpaceTrial(trial, {} if known is None else known)
            fields = self.function(cast(optuna.Trial, asked))
        except optuna.TrialPruned:
            raise
        except (Exception, SystemExit) as error:  # the function is the user's own
            raise InputError(f"{_where(error, self.path)}: {_said(error)}") from error
        if not isinstance(fields, Mapping):
            line = _line_of_function(self.path)
            kind = type(fields).__name__
            raise InputError(f"{self.path}:{line}: space() returned {kind}, not a dict of fields")
        named = {plain_value(name): value for name, value in fields.items()}
        if odd := [name for name in named if not isinstance(name, str)]:
            line = _line_of_function(self.path)
            raise InputError(f"{self.path}:{line}: space() returned a field named {odd[0]!r}")
        return named

    def at(self, config: TrainConfig) -> Fields | None:
        """Parameters for which the function returns the configuration, by the file's ``at``.

        Returns:
            Values by parameter; a missing parameter has the value of the field of its name. None
            if the configuration lies outside the space.

        Raises:
            InputError: ``at`` failed; the message names file and line.
        """
        if self.inverse is None:
            return {}
        try:
            params = self.inverse(config)
        except (Exception, SystemExit) as error:  # the function is the user's own
            raise InputError(f"{_where(error, self.path)}: {_said(error)}") from error
        if params is not None and not isinstance(params, Mapping):
            line = _line_of_function(self.path, "at")
            kind = type(params).__name__
            raise InputError(f"{self.path}:{line}: at() returned {kind}, not a dict or None")
        return None if params is None else {name: plain_value(v) for name, v in params.items()}

    def configure(self, fields: Fields, base: TrainConfig) -> TrainConfig:
        """The base configuration with the space's fields set.

        Raises:
            InputError: a field is unknown, its value is invalid, or it is the objective, which is
                fixed for a study; the message names the file and the field's line.
        """
        try:
            if "objective" in fields:
                raise InputError("objective: fixed for a study; a space may not set it")
            return base.replace(**{name: plain_value(value) for name, value in fields.items()})
        except InputError as error:
            raise InputError(
                f"{self.path}:{self._line_about(str(error), fields)}: {error}"
            ) from None

    def _line_about(self, message: str, fields: Fields) -> int:
        at_fault = [
            name for name in fields if message.startswith(f"{name}:") or f"'{name}'" in message
        ]
        lines = [line for name in at_fault if (line := _line_of_field(self.path, name))]
        return lines[0] if lines else _line_of_function(self.path)


def checked_fields(fields: Fields, config: TrainConfig) -> Fields:
    """The fields with the configuration's values, which are of plain types."""
    return {name: getattr(config, name) for name in fields}


def built_in_spaces() -> dict[str, Path]:
    """Names and files of the spaces in the package ``spaces``."""
    found = pkgutil.iter_modules(spaces.__path__)
    return {module.name: Path(spaces.__path__[0]) / f"{module.name}.py" for module in found}


def load_space(name: str) -> Space:
    """The built-in space with a name, or the space in the Python file at a path.

    Raises:
        InputError: there is no such space, or its file cannot be loaded; the message names the file
            and, for an error in it, the line.
    """
    if name.endswith(".py") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"space file {path} does not exist")
        return _space_in(_module_from(path), path.stem, path)
    path = choose("space", name, built_in_spaces())
    return _space_in(importlib.import_module(f"spaces.{name}"), name, path)


def _module_from(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"user_space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As for any other import; dataclasses, for example, look up their module.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is the user's own
        del sys.modules[spec.name]
        raise InputError(f"{_where(error, path)}: {_said(error)}") from error
    return module


def _space_in(module: ModuleType, name: str, path: Path) -> Space:
    function, inverse = getattr(module, "space", None), getattr(module, "at", None)
    experiments = _experiments_of(module, path)
    recipe = getattr(module, "RECIPE", None)
    if recipe is not None and not isinstance(recipe, str):
        raise InputError(f"{path}:1: RECIPE must be the name of a recipe (got {recipe!r})")
    if not callable(function) and not experiments:
        raise InputError(
            f"{path}:1: no function space(trial); write one that returns TrainConfig fields"
        )
    return Space(
        name,
        path,
        " ".join(str(module.__doc__ or "").split("\n\n")[0].split()),
        None if experiments else function,
        experiments,
        recipe,
        inverse if callable(inverse) else None,
        _shown_in(module, path),
    )


def _experiments_of(module: ModuleType, path: Path) -> tuple[Experiment, ...]:
    rows = getattr(module, "EXPERIMENTS", ())
    if not isinstance(rows, list | tuple):
        raise InputError(f"{path}:1: EXPERIMENTS must be a list of Experiment(name, changes)")
    for number, row in enumerate(rows, start=1):
        is_row = isinstance(row, Experiment) and isinstance(row.changes, Mapping)
        if not is_row or not all(isinstance(name, str) for name in (row.name, *row.changes)):
            raise InputError(
                f"{path}:1: EXPERIMENTS: row {number} is not an Experiment(name, changes); see "
                "spaces/paper.py"
            )
    return tuple(rows)


def _shown_in(module: ModuleType, path: Path) -> dict[str, tuple[str, str]]:
    shown = getattr(module, "SHOWN", {})
    try:
        return {str(name): (str(other), str(text)) for name, (other, text) in shown.items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(
            f"{path}:1: SHOWN must be a dict of parameter: (name, range); see spaces/weights.py"
        ) from None


# Errors, with file and line


def _said(error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # the exception may be the user's own too
        return type(error).__name__
    return " ".join(f"{type(error).__name__}: {text}".split())


def _where(error: BaseException, path: Path) -> str:
    """``file:line`` of the last line of the space's own file that an error passed through."""
    if isinstance(error, SyntaxError) and _is_file(error.filename, path):
        # There is no line if Python cannot decode the file.
        return f"{path}:{error.lineno or 1}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _is_file(frame.filename, path)]
    return f"{path}:{lines[-1] if lines else _line_of_function(path)}"


def _is_file(filename: str | None, path: Path) -> bool:
    # Python makes the file names of running code absolute.
    return filename is not None and Path(filename).resolve() == path.resolve()


def _nodes(path: Path) -> Iterator[ast.AST]:
    """The nodes of a file's syntax tree; none if there is no file, or Python cannot parse it."""
    # Parse bytes, so that Python detects the encoding by a byte order mark or an encoding line.
    with contextlib.suppress(SyntaxError, ValueError, FileNotFoundError):
        yield from ast.walk(ast.parse(path.read_bytes()))


def _line_of_function(path: Path, name: str = "space") -> int:
    for node in _nodes(path):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node.lineno
    return 1


def _line_of_field(path: Path, name: str) -> int | None:
    """Line of the first ``"name"`` or ``name=`` in the file; None if there is none."""
    for node in _nodes(path):
        if isinstance(node, ast.Dict):
            for key in node.keys:
                if isinstance(key, ast.Constant) and key.value == name:
                    return key.lineno
        if isinstance(node, ast.Subscript) and ast.unparse(node.slice) == repr(name):
            return node.lineno
        if isinstance(node, ast.keyword) and node.arg == name:
            return node.value.lineno
    return None
