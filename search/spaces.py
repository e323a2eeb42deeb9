"""Finding a search space, checking it before anything runs, and describing it."""

import ast
import importlib.util
import pkgutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

import spaces
from minbert.config import TrainConfig
from minbert.errors import InputError
from minbert.settings import choose
from spaces.paper import Experiment
from spaces.weights import UNIT_SQUARE, unit_square_at

Fields = dict[str, Any]

optuna.logging.set_verbosity(optuna.logging.WARNING)

# Up to so many values of a parameter are tried one by one to find the branches of a space.
_MOST_VALUES = 20


@dataclass(frozen=True)
class Space:
    """What a search varies: a function of an Optuna trial, or a fixed list.

    Attributes:
        name: of a built-in space, or the file's name without its suffix.
        path: the file.
        function: proposes TrainConfig fields; None for a fixed list.
        experiments: the fixed list; empty for a function.
        recipe: the only recipe that the space goes with, where it has one.
    """

    name: str
    path: Path
    description: str
    function: Callable[[optuna.Trial], Fields] | None
    experiments: tuple[Experiment, ...] = ()
    recipe: str | None = None

    def propose(self, trial: optuna.Trial) -> Fields:
        """Fields of one configuration.

        Raises:
            InputError: the function failed; the message names file and line.
        """
        assert self.function is not None
        try:
            fields = self.function(trial)
        except Exception as error:  # the function is the user's own
            raise InputError(f"{_where(error, self.path)}: {_said(error)}") from error
        if not isinstance(fields, Mapping):
            line = _line_of_function(self.path)
            kind = type(fields).__name__
            raise InputError(f"{self.path}:{line}: space() returned {kind}, not a dict of fields")
        return dict(fields)

    def configure(self, fields: Fields, base: TrainConfig) -> TrainConfig:
        """The recipe with the space's fields put in.

        Raises:
            InputError: a field is unknown, refused, or the objective, which a study fixes; the
                message names the file and the line where the field stands.
        """
        try:
            if "objective" in fields:
                raise InputError("objective: fixed for a study; a space may not set it")
            return base.replace(**fields)
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


def built_in_spaces() -> dict[str, Path]:
    """Names and files of the spaces in the package ``spaces``."""
    found = pkgutil.iter_modules(spaces.__path__)
    return {module.name: Path(spaces.__path__[0]) / f"{module.name}.py" for module in found}


def load_space(name: str) -> Space:
    """The built-in space ``name``, or the one in the Python file of that path.

    Raises:
        InputError: there is no such space, or its file does not load; the message names the file
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
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the user's own
        raise InputError(f"{_where(error, path)}: {_said(error)}") from error
    return module


def _space_in(module: ModuleType, name: str, path: Path) -> Space:
    function = getattr(module, "space", None)
    experiments = getattr(module, "EXPERIMENTS", ())
    if not callable(function) and not experiments:
        raise InputError(
            f"{path}:1: no function space(trial); write one that returns TrainConfig fields"
        )
    return Space(
        name,
        path,
        " ".join((module.__doc__ or "").split("\n\n")[0].split()),
        None if experiments else function,
        tuple(experiments),
        getattr(module, "RECIPE", None),
    )


# Errors, told by file and line


def _said(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())


def _where(error: BaseException, path: Path) -> str:
    """``file:line`` of the last line of the space's own file that an error passed through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    return f"{path}:{lines[-1] if lines else _line_of_function(path)}"


def _line_of_function(path: Path) -> int:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == "space":
            return node.lineno
    return 1


def _line_of_field(path: Path, name: str) -> int | None:
    """Line of the first ``"name"`` or ``name=`` in the file, None where it is not spelt out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Dict):
            for key in node.keys:
                if isinstance(key, ast.Constant) and key.value == name:
                    return key.lineno
        if isinstance(node, ast.Subscript) and ast.unparse(node.slice) == repr(name):
            return node.lineno
        if isinstance(node, ast.keyword) and node.arg == name:
            return node.value.lineno
    return None


# Looking into a space


@dataclass(frozen=True)
class Branches:
    """What came of running a space's function over its branches.

    Attributes:
        parameters: in the order in which they were first seen.
        values: of the parameters, for each run.
        proposals: the fields returned, for each run.
    """

    parameters: dict[str, BaseDistribution]
    values: list[dict[str, Any]]
    proposals: list[Fields]


class Chosen(optuna.samplers.BaseSampler):
    """Gives the values it is told; the first or lowest for a parameter it knows nothing of."""

    def __init__(self, values: Mapping[str, Any]):
        self.values = values

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def sample_independent(
        self,
        study: Any,  # noqa: ARG002
        trial: Any,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.values.get(param_name, next(_values(param_distribution)))


def _values(distribution: BaseDistribution) -> Iterator[Any]:
    """All values of a small distribution; both ends of a large one."""
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
        return
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if step and not distribution.log and (high - low) / step < _MOST_VALUES:
        yield from (low + step * index for index in range(round((high - low) / step) + 1))
    else:
        yield from (low, high)


def explore(space: Space) -> Branches:
    """Run a space's function over its branches.

    Every value of a small parameter and both ends of a large one are tried, one at a time, from
    the configuration in which the parameter was first seen. A branch that needs two such changes
    at once may be missed.

    Raises:
        InputError: as ``Space.propose``.
    """
    if space.function is None:
        return Branches({}, [], [experiment.changes for experiment in space.experiments])
    found = Branches({}, [], [])
    waiting: list[dict[str, Any]] = [{}]
    while waiting:
        trial = optuna.create_study(sampler=Chosen(waiting.pop(0))).ask()
        found.proposals.append(space.propose(trial))
        found.values.append(trial.params)
        for name, distribution in trial.distributions.items():
            if name in found.parameters:
                continue
            found.parameters[name] = distribution
            waiting += [
                {**trial.params, name: value}
                for value in _values(distribution)
                if value != trial.params[name]
            ]
    return found


def check_space(space: Space, base: TrainConfig) -> list[TrainConfig]:
    """Configurations over all branches of the space; InputError for the first that is refused."""
    return [space.configure(fields, base) for fields in explore(space).proposals]


def describe(space: Space) -> list[tuple[str, str]]:
    """What the space varies, as (name, range) for people to read.

    Raises:
        InputError: as ``Space.propose``.
    """
    if space.function is None:
        return [
            (f"{number}. {experiment.name}", _as_text(experiment.changes))
            for number, experiment in enumerate(space.experiments, start=1)
        ]
    rows = []
    found = explore(space)
    is_simplex = any("loss_weights" in fields for fields in found.proposals)
    for name, distribution in found.parameters.items():
        if is_simplex and name in UNIT_SQUARE:
            if name == UNIT_SQUARE[0]:
                rows.append(("loss_weights", "α, β, γ ≥ 0 with α + β + γ = 1, uniform"))
        else:
            rows.append((name, _range(distribution) + _condition(name, found)))
    return rows


def _condition(name: str, found: Branches) -> str:
    """When the parameter is there at all, as far as one other parameter decides it."""
    if all(name in values for values in found.values):
        return ""
    for other in found.parameters:
        if other == name or not all(other in values for values in found.values):
            continue
        present = {values[other] for values in found.values if name in values}
        absent = {values[other] for values in found.values if name not in values}
        if present.isdisjoint(absent):
            if len(absent) == 1 < len(present):
                return f" (unless {other}={absent.pop()})"
            return f" (with {other}={' or '.join(sorted(map(str, present)))})"
    return " (in some configurations)"


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    text = f"{distribution.low:g} to {distribution.high:g}"
    if distribution.log:
        return f"{text}, log-uniform"
    if distribution.step and distribution.step != 1:
        return f"{text} in steps of {distribution.step:g}"
    return text


def _as_text(fields: Fields) -> str:
    parts = []
    for name, value in fields.items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        parts.append(f"{name}={shown}")
    return ", ".join(parts)


# Finding points of a space


class _NotThereError(Exception):
    """A value lies outside of the space."""


class _Wanted(Chosen):
    """Gives each parameter the value that a configuration has in the field of its name."""

    def __init__(self, config: TrainConfig):
        super().__init__({})
        self._config = config
        self._square = dict(zip(UNIT_SQUARE, unit_square_at(config.loss_weights), strict=True))

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self._square:
            return self._square[param_name]
        # A parameter such as adamw_lr is named after the field that it becomes.
        fields = [f for f in TrainConfig.model_fields if f"_{param_name}".endswith(f"_{f}")]
        if not fields:
            return super().sample_independent(study, trial, param_name, param_distribution)
        value = getattr(self._config, max(fields, key=len))
        if not _contains(param_distribution, value):
            raise _NotThereError
        return value


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if not isinstance(value, int | float) or not low <= value <= high:
        return False
    return not step or abs((value - low) / step - round((value - low) / step)) < 1e-9


def locate(
    space: Space, config: TrainConfig, base: TrainConfig
) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
    """The point of the space where a configuration lies, None where it lies outside.

    Returns:
        Its parameters, and their distributions.
    """
    if space.function is None:
        return None
    trial = optuna.create_study(sampler=_Wanted(config)).ask()
    try:
        fields = space.function(trial)
        there = base.replace(**fields)
    except (_NotThereError, InputError, TypeError):
        return None
    shares, wanted = (c.loss_weights.normalised(1.0) for c in (there, config))
    same_weights = all(abs(shares[task] - wanted[task]) < 1e-9 for task in shares)
    if not same_weights or there.replace(loss_weights=config.loss_weights) != config:
        return None
    return trial.params, trial.distributions


def grid(space: Space) -> list[dict[str, Any]]:
    """Every point of a space whose parameters all have a list of values.

    Raises:
        InputError: a parameter is continuous; or as ``Space.propose``.
    """
    points, waiting = [], [dict[str, Any]()]
    while waiting:
        chosen = waiting.pop(0)
        trial = optuna.create_study(sampler=Chosen(chosen)).ask()
        space.propose(trial)
        open_ones = [name for name in trial.params if name not in chosen]
        if not open_ones:
            points.append(trial.params)
            continue
        distribution = trial.distributions[open_ones[0]]
        if isinstance(distribution, FloatDistribution) and distribution.step is None:
            raise InputError(
                f"--sampler grid: {open_ones[0]} of space {space.name} is continuous; give it a "
                "step, or take another sampler"
            )
        waiting += [{**chosen, open_ones[0]: value} for value in _every_value(distribution)]
    return points


def _every_value(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step or 1
    return [low + step * index for index in range(int((high - low) / step + 1.5))]
