"""python -m search.run: train many configurations under Ray Tune, and report the results."""

import sys

from rich.console import Console

from minbert.config import InputSettings
from minbert.settings import add_options, given, make_parser, run_command
from search.propose.branches import describe
from search.propose.spaces import built_in_spaces, load_space
from search.review.terminal.messages import INTERRUPTED, finish

from .confirm import FOR_CONFIRMATION, confirm
from .confirmation.session import Confirmation
from .inputs import load_inputs
from .session import Session
from .settings import HELP_GROUPS, RENAMED, StudySettings
from .signals import heed_signals

_DESCRIPTION = """\
Train many configurations, stop the hopeless ones early, and keep the model that scores highest.

  python -m search.run --space weights                        a first search, on generated data
  python -m search.run --space lr --data DIR --trials 24      on your own files
  python -m search.run --space my_space.py --time-budget 1h   over your own space
"""


def main() -> int:
    parser = make_parser("python -m search.run", _DESCRIPTION, RENAMED)
    parser.add_argument(
        "--list-spaces", action="store_true", help="show what each space varies, and exit"
    )
    add_options(parser, StudySettings, InputSettings, groups=HELP_GROUPS)
    arguments = parser.parse_args()
    # Piped output is not cut to a width; on a terminal rich knows the width itself.
    console = Console(width=None if sys.stdout.isatty() else 100)
    if arguments.list_spaces:
        list_spaces(console)
        return 0
    heed_signals()
    try:
        session = Session(
            console=console,
            **given(arguments, StudySettings),
            **given(arguments, InputSettings),
        )
        if session.settings.confirm and session.settings.judge == "test":
            # So that what the confirmation lacks is said before the search, not hours later.
            load_inputs(session.inputs).labelled_test()
        session.run()
        settings, inputs, plan = session.settings, session.inputs, session.plan
        status = finish(settings, inputs, plan, session.result, console, session.seconds)
    except KeyboardInterrupt:
        print("interrupted; --resume continues from what was recorded, if any", file=sys.stderr)
        return INTERRUPTED
    if status or not settings.confirm:
        return status
    options = settings.model_dump(exclude_unset=True, include=FOR_CONFIRMATION)
    return confirm(Confirmation(session.folder, options, console))


def list_spaces(console: Console) -> None:
    spaces = [load_space(name) for name in built_in_spaces()]
    width = max(len(parameter) for space in spaces for parameter, _ in describe(space))
    for space in spaces:
        console.print(f"[bold]{space.name}[/bold]  {space.description}", highlight=False)
        for parameter, text in describe(space):
            line = f"    {parameter:<{width}}  {text}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
