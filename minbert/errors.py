"""The exceptions a person is meant to read, and text that is safe to show."""

import re


class InputError(Exception):
    """Something given to the program is wrong: what, where, and what to do, in one line.

    Commands print it after ``error:`` and exit with status 2, without a traceback.
    """


class DamagedError(InputError):
    """A file of our own is torn, or is not what was written."""


def plain(text: str) -> str:
    """Text with a blank for every character that is not to be seen, line breaks apart.

    Such are control characters, with which a text could steer a terminal, marks that turn the
    direction of writing, and halves of characters, which cannot be encoded. Texts that are shown
    may come from anyone: a record, a data file, the name of a folder.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def escape_markdown(text: str, *, literal: str = "") -> str:
    """Text on one line that Markdown and HTML show as it is.

    Args:
        text: may come from anyone.
        literal: punctuation that is left as it is, because it has no meaning where the text goes.
    """
    line = " ".join(plain(text).split())
    return re.sub(rf"[^\w ,{re.escape(literal)}]|_", lambda match: f"&#{ord(match[0])};", line)


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line: the innermost cause, which names it best."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
