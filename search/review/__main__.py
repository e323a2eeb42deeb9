"""python -m search.review: what a search found, read from its record; nothing is trained."""

import argparse
import json
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minbert.config import InputSettings, TaskWeights
from minbert.errors import InputError
from minbert.settings import make_parser, run_command
from minbert.tasks import TASK_NAMES
from minbert.weights import Weights
from search.checkpoints import CheckpointStore
from search.folder import RunFolder
from search.record import SearchRecord
from search.results import strict_json, trial_as_json
from search.review.terminal import outcome, trials_table
from search.study import Study
from search.weighting import KEEP_RULES, Ranked, hidden, rank, replay

_DESCRIPTION = """\
Show what a search found, also while it runs, from its record: nothing is trained.

  python -m search.review runs/NAME                        the trials, best first
  python -m search.review runs/NAME --weights 1.5,1,1.5    ranked by other weights of sst, para, sts
  python -m search.review runs/NAME --keep-rules           what each keep rule would have kept
"""


def main() -> int:
    parser = make_parser("python -m search.review", _DESCRIPTION)
    add_run_options(parser)
    parser.add_argument("--weights", help="rank by these weights of sst, para and sts: 1.5,1,1.5")
    parser.add_argument(
        "--keep-rules", action="store_true", help="replay the course report's two keep rules"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    arguments = parser.parse_args()
    folder = RunFolder(Path(arguments.run), arguments.storage)
    weights = None if arguments.weights is None else parse_weights(arguments.weights)
    study, record, store = read_run(folder, weights)
    if arguments.json:
        content = strict_json(_as_json(folder, record, store, weights))
        print(json.dumps(content, ensure_ascii=False, allow_nan=False))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 100)
    for part in _parts(folder, record, store, weights, keep_rules=arguments.keep_rules):
        console.print(part, highlight=False)
    if dropped := study.noted("dropped_from_front"):
        console.print(
            f"{len(dropped)} models were on the front when its limit was met and are not kept: "
            + ", ".join(f"trial {trial} report {step}" for trial, step in dropped[:6])
            + (" and more." if len(dropped) > 6 else "."),
            highlight=False,
        )
    return 0


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Which run, and where its study is."""
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as runs/NAME")
    parser.add_argument("--storage", help="where the study is, if it needs a password to be opened")


def parse_weights(text: str) -> Weights:
    """Three weights from a command line; InputError where they are none."""
    try:
        weights: Weights = TypeAdapter(Annotated[TaskWeights, None]).validate_python(text)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"--weights {text}: {message}") from None
    return weights


def read_run(
    folder: RunFolder, weights: Weights | None
) -> tuple[Study, SearchRecord, CheckpointStore]:
    """A run's study, record and checkpoints, whether or not it still runs.

    Raises:
        InputError: there is no run in the folder, nothing was recorded yet, or ``weights`` give
            none to the tasks that it scored.
    """
    study = folder.load_study()
    if not study.trials:
        raise InputError(f"{folder.path}: no trial is recorded yet; look again later")
    tasks = InputSettings.check(study.setup["inputs"]).tasks
    if weights is not None and sum(map(weights.of, tasks)) == 0:
        raise InputError(f"--weights {weights} give no weight to any of: {', '.join(tasks)}")
    record = SearchRecord(study.noted("planned") or len(study.trials), study.trials)
    if folder.is_locked():
        for trial in study.trials:
            if trial.state == "cut short" and study.is_running(trial):
                trial.state = "running"
    store = folder.store()
    store.scan(study.recorded(), sweep=False)
    return study, record, store


def _parts(
    folder: RunFolder,
    record: SearchRecord,
    store: CheckpointStore,
    weights: Weights | None,
    *,
    keep_rules: bool,
) -> list[Any]:
    counts = [
        f"{count} {state}"
        for state in ("running", "paused", "waiting", "finished", "stopped", "failed", "cut short")
        if (count := record.count(state))
    ]
    head = f"{folder.name}: {len(record.trials)} of {record.planned} trials ({', '.join(counts)})"
    parts: list[Any] = [Text(head)]
    if weights is None:
        parts += [trials_table(record), *outcome(record)]
    else:
        parts += _under(record, store, weights, folder)
    if keep_rules:
        parts.append(_keep_rules(record))
    return parts


def _under(
    record: SearchRecord, store: CheckpointStore, weights: Weights, folder: RunFolder
) -> list[Any]:
    """What the record says under other weights, in words that it carries."""
    ranked = rank(record.trials, weights)
    if not ranked:
        return [Text("No trial came to a report yet.")]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("trial")
    for heading in ("score", *TASK_NAMES, "report"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for one in ranked:
        table.add_row(
            str(one.trial.number),
            Text(one.trial.name, no_wrap=True, overflow="ellipsis"),
            f"{one.score:.3f}",
            *(f"{one.report.scores[t]:.3f}" if t in one.report.scores else "" for t in TASK_NAMES),
            f"{one.report.step}/{one.trial.reports_in_all}",
            one.trial.state,
            "kept" if _is_kept(store, one) else "",
        )
    best = ranked[0]
    there = "is kept" if _is_kept(store, best) else "is no longer kept"
    lines = [
        f"Under weights {weights}: trial {best.trial.number} ({best.trial.name}) at report "
        f"{best.report.step} scores highest, {best.score:.3f}; its model {there}.",
        _hidden_in_words(record, weights),
        "Chosen on these dev data, so optimistic. To save the model:",
        f"  python -m search.export {folder.path} --weights {weights} --to DIR",
    ]
    return [table, *(Text(line) for line in lines)]


def _hidden_in_words(record: SearchRecord, weights: Weights) -> str:
    found = hidden(record.trials, weights)
    objective = record.trials[0].config.objective
    if not found.stopped:
        return "No trial was stopped early."
    text = f"{found.stopped} trials were stopped early, by the study's objective {objective}. "
    if not found.finished:
        return text + "None was trained to its end, so what they might have reached is unknown."
    gain = f"the most that the {found.finished} finished ones gained after the same report"
    if not found.could:
        return text + f"With {gain} (up to {found.most_gain:+.3f}) none would come above it."
    numbers = ", ".join(str(trial.number) for trial, _ in found.could[:8])
    more = " and more" if len(found.could) > 8 else ""
    return text + (
        f"With {gain}, {len(found.could)} of them could come above it, up to "
        f"{found.could[0][1]:.3f}: trial {numbers}{more}."
    )


def _keep_rules(record: SearchRecord) -> Table:
    table = Table(
        title="What each keep rule keeps",
        caption="Scores are under the study's objective; the weighted rule goes by each trial's "
        "keep weights.",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("#", justify="right")
    table.add_column("trial")
    for rule in KEEP_RULES:
        table.add_column(f"{rule}: epoch", justify="right")
        table.add_column("score", justify="right")
    table.add_column("difference", justify="right")
    for trial in record.ranked:
        if not trial.reports or trial.state == "failed":
            continue
        kept = [replay(trial, rule) for rule in KEEP_RULES]
        cells = [text for one in kept for text in (f"{one.epoch:.2f}", f"{one.score:.3f}")]
        name = Text(trial.name, no_wrap=True, overflow="ellipsis")
        difference = f"{kept[1].score - kept[0].score:+.3f}"
        table.add_row(str(trial.number), name, *cells, difference)
    return table


def _is_kept(store: CheckpointStore, one: Ranked) -> bool:
    return store.model(one.trial.number, one.report.step) is not None


def _as_json(
    folder: RunFolder, record: SearchRecord, store: CheckpointStore, weights: Weights | None
) -> dict[str, Any]:
    weights = weights or record.trials[0].config.objective
    found = hidden(record.trials, weights)
    return {
        "run": str(folder.path),
        "planned": record.planned,
        "weights": weights.normalised(1.0),
        "ranking": [
            {
                "trial": one.trial.number,
                "name": one.trial.name,
                "report": one.report.step,
                "score": one.score,
                "scores": one.report.scores,
                "state": one.trial.state,
                "kept": _is_kept(store, one),
            }
            for one in rank(record.trials, weights)
        ],
        "stopped_that_could_come_above": [trial.number for trial, _ in found.could],
        "keep_rules": [
            {"trial": trial.number} | {rule: {"report": kept.step, "score": kept.score}}
            for trial in record.trials
            if trial.reports and trial.state != "failed"
            for rule in KEEP_RULES
            for kept in [replay(trial, rule)]
        ],
        "trials": [trial_as_json(trial) for trial in record.trials],
    }


if __name__ == "__main__":
    run_command(main)
