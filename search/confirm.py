"""python -m search.confirm: confirm the winner of a search with new seeds, on unseen examples."""

import sys

from rich.console import Console

from minbert.settings import add_options, given, make_parser, run_command
from search.review.reading import add_run_options
from search.review.terminal.messages import INTERRUPTED
from search.storage.folder import RunFolder

from .confirmation.session import Confirmation
from .settings import StudySettings
from .signals import heed_signals

_DESCRIPTION = """\
Find out whether the winner of a finished search is better than the recipe. Both are trained again
with new seeds; each pair of trainings leaves out a fifth of the training examples, and is judged on
it. These examples played no part in choosing the winner.

  python -m search.confirm runs/NAME                      with 7 pairs of trainings
  python -m search.confirm runs/NAME --confirm-seeds 10   shows smaller differences
  python -m search.confirm runs/NAME --judge test         judged by labelled test files instead

After an interruption, the same command continues.
"""

_GROUPS = {
    "Confirmation": ("finalists", "confirm_seeds", "judge"),
    "Hardware": ("cpus_per_trial", "gpus_per_trial", "address", "dashboard"),
    "Faults": ("retries", "state_every", "report_timeout", "storage_patience"),
}
# The settings of a search that its confirmation takes over.
FOR_CONFIRMATION = {name for names in _GROUPS.values() for name in names}


def main() -> int:
    parser = make_parser("python -m search.confirm", _DESCRIPTION)
    add_run_options(parser)
    add_options(parser, StudySettings, groups=_GROUPS)
    arguments = parser.parse_args()
    options = given(arguments, StudySettings)
    options.pop("storage", None)
    heed_signals()
    console = Console(width=None if sys.stdout.isatty() else 100)
    folder = RunFolder(arguments.run, arguments.storage)
    return confirm(Confirmation(folder, options, console))


def confirm(confirmation: Confirmation) -> int:
    """Run a confirmation; returns the exit status, that of an interrupted program if it was."""
    try:
        confirmation.run()
    except KeyboardInterrupt:
        print("interrupted; the same command continues from what was recorded", file=sys.stderr)
        return INTERRUPTED
    return INTERRUPTED if confirmation.is_left else 0


if __name__ == "__main__":
    run_command(main)
