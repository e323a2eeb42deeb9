"""python -m search.review: what a search found, read from its record; nothing is trained."""

import json
import sys
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from minbert.errors import InputError, plain, reason_of
from minbert.output import counted
from minbert.settings import make_parser, run_command
from minbert.weights import Weights
from search.analysis.weighting import SELECTION_RULES, hidden, rank, replays
from search.results import strict_json, trial_as_json
from search.review.terminal.tables import PlainConsole, outcome, trials_table
from search.review.terminal.trials import compare, show_trial
from search.review.terminal.weightings import selection_rules_table, under_weights
from search.storage.folder import RunFolder
from search.storage.patience import as_input_errors

from .reading import Run, add_run_options, parse_weights, read_run, trial_of

_DESCRIPTION = """\
Show what a search found, also while it runs, from its record: nothing is trained.

  python -m search.review runs/NAME                        the trials, best first
  python -m search.review runs/NAME --trial 7              one trial: reports, decisions, errors
  python -m search.review runs/NAME --compare 0 7          two trials, with the paired difference
  python -m search.review runs/NAME --weights 1.5,1,1.5    ranked by other score weights
  python -m search.review runs/NAME --selection-rules      what each selection rule would have kept
  python -m search.review runs/NAME --html                 write report.html into the run's folder
"""


def main() -> int:
    parser = make_parser("python -m search.review", _DESCRIPTION)
    add_run_options(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--trial", type=int, metavar="N", help="show this trial in detail")
    what.add_argument(
        "--compare",
        type=int,
        nargs=2,
        metavar=("A", "B"),
        help="show how much higher trial B scores than trial A, and how sure that is",
    )
    what.add_argument(
        "--html", action="store_true", help="write report.html, a page with everything"
    )
    what.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument(
        "--weights", help="rank by these score weights of sst, para, sts: 1.5,1,1.5"
    )
    parser.add_argument(
        "--selection-rules",
        action="store_true",
        help="replay the course report's two selection rules",
    )
    arguments = parser.parse_args()
    alone = {
        "--trial": arguments.trial is not None,
        "--compare": arguments.compare is not None,
        "--html": arguments.html,
    }
    for option, is_given in alone.items():
        if is_given and (arguments.weights is not None or arguments.selection_rules):
            parser.error(f"{option} goes with neither --weights nor --selection-rules")
    with as_input_errors():
        run = read_run(RunFolder(arguments.run, arguments.storage))
    weights = None if arguments.weights is None else parse_weights(arguments.weights, run)
    if arguments.html:
        # Imported here because plotly is slow to import.
        from search.review.page.report import write_page

        try:
            write_page(run)
            run.folder.publish()
        except OSError as error:
            raise InputError(
                f"{run.folder.page_address} cannot be written: {reason_of(error)}"
            ) from None
        print(plain(f"Written: {run.folder.page_address}"))
        return 0
    if arguments.json:
        content = strict_json(_as_json(run, weights))
        # In ASCII, so that texts of the record cannot steer a terminal.
        print(json.dumps(content, allow_nan=False))
        return 0
    console = PlainConsole(width=None if sys.stdout.isatty() else 100)
    parts: list[RenderableType]
    if arguments.trial is not None:
        parts = show_trial(run, trial_of(run, arguments.trial, "--trial"))
    elif arguments.compare is not None:
        parts = compare(run, *(trial_of(run, n, "--compare") for n in arguments.compare))
    elif weights is not None:
        parts = [_head(run), *under_weights(run, weights)]
    else:
        parts = [_head(run), trials_table(run.record), *outcome(run.record, run.noise)]
    if arguments.selection_rules:
        parts.append(selection_rules_table(run.record))
    for part in parts:
        console.print(part, highlight=False, soft_wrap=isinstance(part, Text))
    return 0


def _head(run: Run) -> RenderableType:
    record = run.record
    counts = [f"{count} {state}" for state, count in record.counts.items()]
    trials = f"{len(record.trials)} of {counted(record.planned, 'trial')}"
    lines = [f"{run.folder.name}: {trials} ({', '.join(counts)})", run.in_words]
    if run.dropped:
        named = ", ".join(f"trial {trial} report {step}" for trial, step in run.dropped[:6])
        more = " and more" if len(run.dropped) > 6 else ""
        models = counted(len(run.dropped), "model")
        lines.append(f"No longer kept, because --pareto-models was full: {models}, {named}{more}.")
    return Text("\n".join(lines))


def _as_json(run: Run, weights: Weights | None) -> dict[str, Any]:
    record = run.record
    weights = weights or run.objective
    found = hidden(record.trials, weights)
    return {
        "run": str(run.folder),
        "planned": record.planned,
        "weights": weights.normalised(1.0, run.inputs.tasks),
        "ranking": [
            {
                "trial": one.trial.number,
                "name": one.trial.name,
                "report": one.report.step,
                "score": one.score,
                "scores": one.report.scores,
                "state": one.trial.state,
                "kept": run.is_kept(one.trial.number, one.report.step),
            }
            for one in rank(record.trials, weights)
        ],
        "stopped_that_could_come_above": [trial.number for trial, _ in found.could],
        "selection_rules": [
            {"trial": row.trial.number} | {rule: {"report": kept.step, "score": kept.score}}
            for row in replays(record.trials)
            for rule, kept in zip(SELECTION_RULES, row.kept, strict=True)
        ],
        "trials": [trial_as_json(trial) for trial in record.trials],
    }


if __name__ == "__main__":
    run_command(main)
