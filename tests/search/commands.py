"""Commands, run in this process."""

from collections.abc import Callable

from tests.in_process import run_in_process


def said(main: Callable[[], int | None], *arguments: object) -> tuple[int, str]:
    """Exit status of a command, and all that it printed."""
    code, out, err = run_in_process(main, *arguments)
    return code, out + err
