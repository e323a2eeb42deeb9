"""Exceptions whose messages are shown to the user, and text that is safe to show."""

import re


class InputError(Exception):
    """The user's input is wrong. The message says what, where, and what to do, in one line.

    Commands print it after ``error:`` and exit with status 2, without a traceback.
    """


class DamagedError(InputError):
    """A file that the program wrote is torn or was changed."""


def plain(text: str) -> str:
    """The text with a space for every unprintable character except line breaks.

    Those are control characters, which could steer a terminal, marks that change the direction of
    writing, and lone surrogates, which cannot be encoded. Text that is shown may come from anyone:
    from a record, a data file or the name of a folder.
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
    """The innermost cause of an error, which names the problem best, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return first_line(error)


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank; the error's type if there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
