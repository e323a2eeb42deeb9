"""python -m search.review: show what a search found, from its record; nothing is trained."""

import argparse
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
Show what a search found, from its record. Nothing is trained. It also works during the search.

  python -m search.review runs/NAME                        the trials, best first
  python -m search.review runs/NAME --trial 7              one trial: reports, decisions, errors
  python -m search.review runs/NAME --compare 0 7          two trials and their difference
  python -m search.review runs/NAME --weights 1.5,1,1.5    the trials, ranked by other score weights
  python -m search.review runs/NAME --selection-rules      what each selection rule would have kept
  python -m search.review runs/NAME --html                 write report.html into the run's folder
"""


def main() -> int:
    arguments = _parsed()
    with as_input_errors():
        run = read_run(RunFolder(arguments.run, arguments.storage))
    weights = None if arguments.weights is None else parse_weights(arguments.weights, run)
    if arguments.html:
        _write_page(run)
        print(plain(f"Written: {run.folder.page_address}"))
    elif arguments.json:
        content = strict_json(_as_json(run, weights))
        # In ASCII, so that texts of the record cannot control a terminal.
        print(json.dumps(content, allow_nan=False))
    else:
        console = PlainConsole(width=None if sys.stdout.isatty() else 100)
        for part in _parts(run, weights, arguments):
            console.print(part, highlight=False, soft_wrap=isinstance(part, Text))
    return 0


def _parsed() -> argparse.Namespace:
    parser = make_parser("python -m search.review", _DESCRIPTION)
    add_run_options(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--trial", type=int, metavar="N", help="show trial N in detail")
    what.add_argument(
        "--compare",
        type=int,
        nargs=2,
        metavar=("A", "B"),
        help="show how much higher trial B scores than trial A, with the 95 %% interval",
    )
    what.add_argument("--html", action="store_true", help="write report.html into the run's folder")
    what.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument(
        "--weights",
        help="rank the trials by these weights of the sst, para and sts scores, such as 1.5,1,1.5 "
        "(default: the study's objective)",
    )
    parser.add_argument(
        "--selection-rules",
        action="store_true",
        help="show which checkpoint of each trial the paper's two selection rules, any_task and "
        "weighted, would keep",
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
    return arguments


def _write_page(run: Run) -> None:
    # Imported here because plotly is slow to import.
    from search.review.page.report import write_page

    try:
        write_page(run)
        run.folder.publish()
    except OSError as error:
        raise InputError(
            f"{run.folder.page_address} cannot be written: {reason_of(error)}"
        ) from None


def _parts(
    run: Run, weights: Weights | None, arguments: argparse.Namespace
) -> list[RenderableType]:
    """What is printed for people."""
    if arguments.trial is not None:
        return show_trial(run, trial_of(run, arguments.trial, "--trial"))
    if arguments.compare is not None:
        return compare(run, *(trial_of(run, n, "--compare") for n in arguments.compare))
    parts = [_head(run)]
    if weights is not None:
        parts += under_weights(run, weights)
    else:
        parts += [trials_table(run.record), *outcome(run.record, run.noise, run.confirmation)]
    if arguments.selection_rules:
        parts.append(selection_rules_table(run.record))
    return parts


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
