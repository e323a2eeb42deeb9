"""Settings that validate themselves, and the command line that is made from them.

A settings class is the only place where a choice is named, checked and explained: its fields
become command-line options, JSON keys and what a search space may set, with the same checks.
"""

import argparse
import dataclasses
import difflib
import itertools
import os
import shlex
import shutil
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from .errors import InputError, plain
from .output import check_arguments, warn_once, write_in_any_encoding

Value = typing.TypeVar("Value")


class Settings(pydantic.BaseModel):
    """Base of all settings: frozen, and unknown names are refused."""

    model_config = pydantic.ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        # NaN and infinity are kept in JSON, which would have null by default.
        ser_json_inf_nan="constants",
    )

    # Old names of fields, and the names they have now.
    renamed: typing.ClassVar[Mapping[str, str]] = {}

    @classmethod
    def check(cls, values: Mapping[str, Any], *, as_options: bool = False) -> Self:
        """Build from a mapping.

        Args:
            values: values by field name.
            as_options: they were typed as options, so messages name them like ``--dev-limit``.

        Raises:
            InputError: a name is unknown or a value is refused; the message names the first.
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise InputError(_first_problem(error, cls, as_options=as_options)) from None

    def replace(self, /, **changes: Any) -> Self:
        """A checked copy with some fields changed; raises InputError as ``check`` does."""
        return self.check({**self.model_dump(), **changes})


def _first_problem(
    error: pydantic.ValidationError, settings: type[Settings], *, as_options: bool
) -> str:
    first, fields = error.errors()[0], settings.model_fields
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not first["loc"]:
        # An error about fields that do not go together begins with the name of one.
        name, colon, rest = message.partition(":")
        is_field = as_options and name in fields
        return f"{option_of(name)}{colon}{rest}" if is_field else message
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        if name in settings.renamed:
            return f"'{name}' is now '{settings.renamed[name]}'"
        return f"unknown setting '{name}'{did_you_mean(name, list(fields))}"
    shown = option_of(name) if as_options else name
    if first["type"] == "missing":
        return f"{shown} is required"
    value = first["input"]
    if first["type"] == "literal_error" and isinstance(value, str):
        return f"{shown}: {_unknown('value', value, _choices(fields[name].annotation))}"
    verb = "must be " if first["msg"].startswith("Input should be ") else ""
    got = "" if repr(value) in message else f" (got {value!r})"
    return f"{shown}: {verb}{message}{got}"


@dataclasses.dataclass(frozen=True)
class Explained:
    """What may be given for a text, for the help: in an ``Annotated`` around ``str``.

    Attributes:
        choices: names, and what each means in a few words.
    """

    choices: Mapping[str, str]

    def in_words(self) -> str:
        return "; ".join(f"{name}: {text}" for name, text in self.choices.items())


@dataclasses.dataclass(frozen=True)
class OneOf(Explained):
    """A text that is one of the names; others are refused as a ``Literal`` refuses them."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str) -> str:
        if name not in self.choices:
            raise ValueError(_unknown("value", name, list(self.choices)))
        return name


def option_of(name: str) -> str:
    """The command-line option of a field."""
    # A field whose name Python reserves ends with an underscore.
    return "--" + name.rstrip("_").replace("_", "-")


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known)
    return f"unknown {kind} '{name}'{hint}; there are: {', '.join(known)}"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint at the known name that is most like a word; empty if none is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def expand_home(path: str) -> str:
    """A path with ``~`` or ``~USER`` at its start replaced by that home folder.

    Shells do so for a word that starts with it, and not for ``--option=~/folder``.

    Raises:
        ValueError: there is no such user.
    """
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)  # noqa: PTH111 - keeps the rest as it was typed
    if expanded == path:
        user = path.partition("/")[0]
        raise ValueError(f"no home folder is known for {user}; write ./{user} or the whole path")
    return expanded


def path_option(text: str) -> str:
    """A path on the command line, for the ``type`` of an option of argparse."""
    try:
        return expand_home(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _expand(value: Any) -> Any:
    return expand_home(str(value)) if isinstance(value, str | Path) else value


# For fields that may name a file or folder.
PathText = typing.Annotated[str, pydantic.BeforeValidator(_expand)]
FolderPath = typing.Annotated[Path, pydantic.BeforeValidator(_expand)]


Checked = typing.TypeVar("Checked", bound=Settings)


def choose(kind: str, name: str, known: Mapping[str, Value]) -> Value:
    """Look ``name`` up among ``known``, or raise an InputError that lists what there is."""
    if name not in known:
        raise InputError(_unknown(kind, name, list(known)))
    return known[name]


# The usage of a command with more would be a screen of names without a word on them.
_MOST_OPTIONS_IN_USAGE = 20


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line that says what is known."""

    renamed: Mapping[str, str] = {}

    def format_help(self) -> str:
        if len(self._actions) > _MOST_OPTIONS_IN_USAGE:
            self.usage = "%(prog)s [options]"
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        rest = message.removeprefix("unrecognized arguments: ")
        if rest != message and (old := self._renamed_in(rest)) is not None:
            print(f"error: {old} is now {self.renamed[old]}", file=sys.stderr)
            sys.exit(2)
        known = [option for action in self._actions for option in action.option_strings]
        unknown = message.removeprefix("unrecognized arguments: ").split()[0] if message else ""
        if message.startswith("unrecognized arguments: "):
            message = f"unknown option '{unknown}'{did_you_mean(unknown, known)}"
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)

    def _renamed_in(self, arguments: str) -> str | None:
        """The first of the arguments that has another name now, with its value if that has."""
        words = arguments.replace("=", " ").split()
        for option, value in itertools.zip_longest(words, words[1:], fillvalue=""):
            for old in (f"{option} {value}", option):
                if old in self.renamed:
                    return old
        return None


def make_parser(
    prog: str, description: str, renamed: Mapping[str, str] | None = None
) -> argparse.ArgumentParser:
    """A parser whose errors are one line, and which accepts no abbreviated options.

    Args:
        prog: the command as it is typed.
        description: for the help.
        renamed: for an old option, alone (``--eta``) or with a value (``--halving stop``), what
            is to be given now.
    """
    parser = _Parser(
        prog=prog,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.renamed = renamed or {}
    return parser


def add_options(
    parser: argparse.ArgumentParser,
    *classes: type[Settings],
    skip: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Give ``parser`` one option for every field of the settings classes.

    Values stay text here: the settings class converts and checks them, so that a wrong value
    gets the same message wherever it comes from.

    Args:
        parser: gets the options.
        classes: the settings.
        skip: fields without an option.
        groups: the fields of each group of the help, by its title; by default a group a class.
    """
    fields = {name: field for each in classes for name, field in each.model_fields.items()}
    if groups is None:
        groups = {
            (each.__doc__ or "").splitlines()[0].rstrip("."): list(each.model_fields)
            for each in classes
        }
    for title, names in groups.items():
        group = parser.add_argument_group(title)
        for name in names:
            if name not in skip:
                _add_option(group, name, fields[name])


def _add_option(group: "argparse._ArgumentGroup", name: str, field: FieldInfo) -> None:
    option = option_of(name)
    # A percent sign is argparse's own in help texts.
    text = (field.description or "").replace("%", "%%")
    if field.annotation is bool:
        # The help shows the one that changes something; the other overrides a stored option.
        for flag, value in ((option, True), (f"--no-{option[2:]}", False)):
            shown = text if value else f"do not {text}"
            group.add_argument(
                flag,
                dest=name,
                action="store_const",
                const=value,
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS if value is field.default else shown,
            )
        return
    if field.annotation == tuple[str, ...]:
        group.add_argument(
            option,
            action="append",
            dest=name,
            metavar="NAME=VALUE",
            default=argparse.SUPPRESS,
            help=text,
        )
        return
    choices = _choices(field.annotation)
    for explained in field.metadata:
        if isinstance(explained, Explained):
            text += f". {explained.in_words()}".replace("%", "%%")
            choices = list(explained.choices)
    shown = "|".join(choices) or _placeholder(name, field)
    if not field.is_required() and field.default is not None:
        text += f" (default: {as_text(field.default)})"
    group.add_argument(option, metavar=shown, default=argparse.SUPPRESS, help=text)


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)]


@dataclasses.dataclass(frozen=True)
class Placeholder:
    """Stands for the value of an option in the help."""

    text: str


def _placeholder(name: str, field: FieldInfo) -> str:
    """The field's placeholder; without one, N for a number and the field's own name for others."""
    parts = [field.annotation, *field.metadata, *_parts(field.annotation)]
    for part in parts:
        if isinstance(part, Placeholder):
            return part.text
    return "N" if int in parts or float in parts else name.upper()


def _parts(annotation: Any) -> list[Any]:
    """All that a type is made of, such as ``float`` and its metadata in ``Annotated`` of it."""
    parts = typing.get_args(annotation)
    return [inner for part in parts for inner in (part, *_parts(part))]


def as_text(value: Any) -> str:
    """A field's value as it is typed on a command line; it reads as the same value again."""
    if isinstance(value, tuple):
        return ",".join(as_text(part) for part in value)
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short


def given(arguments: argparse.Namespace, settings: type[Settings]) -> dict[str, Any]:
    """The fields of ``settings`` that the command line gave, still unchecked."""
    return {name: vars(arguments)[name] for name in settings.model_fields if name in arguments}


def from_options(arguments: argparse.Namespace, settings: type[Checked]) -> Checked:
    """The settings that the command line gave; raises InputError as ``Settings.check`` does."""
    return settings.check(given(arguments, settings), as_options=True)


def this_python() -> str:
    """How the user calls the running interpreter at the current prompt."""
    if (found := shutil.which("python")) and Path(found) == Path(sys.executable):
        return "python"
    running = Path(sys.executable)
    here = Path.cwd()
    return shlex.quote(str(running.relative_to(here) if running.is_relative_to(here) else running))


def command_of(module: str) -> str:
    """How the user runs one of our modules as a command at the current prompt."""
    return f"{this_python()} -m {module}"


def run_command(command: Callable[[], int | None]) -> NoReturn:
    """Run a command and exit: 0 or what it returns; 2 and one line for an InputError."""
    write_in_any_encoding()
    warn_once()
    try:
        check_arguments(sys.argv[1:])
        status = command()
    except InputError as error:
        line = plain(str(error)).replace("\n", " ")
        print(f"error: {line}", file=sys.stderr)
        status = 2
    sys.exit(status or 0)
