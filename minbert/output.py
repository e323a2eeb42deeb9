"""Output in the encoding of the terminal, pipe or log file."""

import codecs
import io
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from .errors import InputError

_SPELLED_OUT = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "η": "eta",
    "·": "*",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "─": "-",
    "━": "-",
    "│": "|",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "√": "sqrt",
    "ß": "ss",
    "✓": "ok",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
}


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks by ASCII: ``α`` by ``alpha``, ``é`` by ``e``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    texts = [
        _SPELLED_OUT.get(character)
        or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        or "?"
        for character in error.object[error.start : error.end]
    ]
    return "".join(texts), error.end


codecs.register_error("spell-out", _spell_out)


def encodable(text: str, encoding: str) -> str:
    """The text with characters that the encoding lacks spelled out."""
    return text.encode(encoding, "spell-out").decode(encoding)


def ordinal(number: int) -> str:
    """A place, such as 2nd."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def counted(number: float, what: str) -> str:
    """A number with its noun: ``1 machine``, ``2,000 machines``."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {what}{'' if number == 1 else 's'}"


def write_in_any_encoding() -> None:
    """Make stdout and stderr spell out characters that they cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        # Tests and notebooks put other objects in their place.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spell-out")


def warn_once() -> None:
    """Print each warning of a library or of a user's file once, on one line."""
    said = set()

    def show(
        message: Warning | str,
        category: type[Warning],  # noqa: ARG001 - the signature that Python calls
        filename: str,
        lineno: int,
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        text = " ".join(str(message).split())
        # Some contain a value, which differs each time.
        key = re.sub(r"\d[\d.e+-]*", "0", text)
        if key not in said:
            said.add(key)
            print(f"warning: {Path(filename).name}:{lineno}: {text}", file=sys.stderr)

    warnings.showwarning = show


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not text in the locale's encoding.

    They would end up in files and databases, which hold only text.

    Raises:
        InputError: names the first such argument.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(argument).decode(errors="replace")
            raise InputError(
                f"'{shown}' is not text in this locale ({sys.getfilesystemencoding()}); "
                "set PYTHONUTF8=1, or rename it"
            ) from None
