"""report.html: one file with what a search found, how certain that is, and how to repeat it."""

import datetime
import hashlib
import json
import statistics
import textwrap
import time
from importlib.resources import files
from typing import Any

import jinja2
import markupsafe
from plotly.offline import get_plotlyjs

from minbert.card import caveat_of
from minbert.errors import plain
from minbert.files import write_whole
from minbert.output import counted
from minbert.settings import command_of
from minbert.tasks import TASK_NAMES, TASKS
from search.analysis.noise import noise_in_words
from search.analysis.weighting import SELECTION_RULES, replays
from search.confirmation.conclusion import Conclusion
from search.confirmation.words import LIMITS, lines_of
from search.propose.spaces import built_in_spaces, load_space
from search.record import GREEK, SearchRecord, TrialRecord, field_texts
from search.rerun import train_command, train_options
from search.results import strict_json
from search.review.experiments import ExperimentRow, experiment_rows
from search.review.reading import Run
from search.review.terminal.tables import clock, with_score
from search.review.terminal.weightings import hidden_in_words
from search.storage.provenance import command_here

from .page_data import page_figures, page_regions, page_table
from .timeline import Timeline, make_timeline
from .triangle import regions

# Rows of the table of selection rules; its summary counts all trials.
_MOST_SELECTION_RULES = 50
# Characters of a trial's name in that table.
_LONGEST_NAME = 60


def write_page(run: Run) -> None:
    """Write ``report.html`` into a run's folder, from its record."""
    write_whole(run.folder.page, page(run).encode())


def page(run: Run) -> str:
    """The page as HTML that needs no network."""
    record, now = run.record, time.time()
    winner = record.winner
    timeline = make_timeline(record.trials, run.driver_runs, now)
    divided = regions(record.trials)
    drawn = page_figures(run, timeline)
    recipe = str(run.setup["recipe"])
    command = train_command(run.inputs, recipe)
    data = {
        "figures": {each["id"]: json.loads(each["figure"].to_json()) for each in drawn},
        "regions": page_regions(divided, run),
        "table": page_table(record, recipe),
        "winner": None if winner is None else winner.number,
        "command": command,
    }
    source = files(__package__)
    template = jinja2.Environment(
        autoescape=True, finalize=_plainly, trim_blocks=True, lstrip_blocks=True
    )
    return template.from_string(source.joinpath("report.html.j2").read_text("utf-8")).render(
        css=source.joinpath("report.css").read_text("utf-8"),
        js=source.joinpath("report.js").read_text("utf-8"),
        plotly=get_plotlyjs(),
        data=_as_script(data),
        figures=drawn,
        name=run.folder.name,
        folder=run.folder.arguments,
        export=command_of("search.export"),
        about=_about(run),
        state=_state(run, now),
        is_running=run.is_running,
        resume=run.resume_command,
        **_answer(record, winner, command, recipe),
        confirmation=_confirmation(run),
        verdict=run.confirmation and run.confirmation.words,
        noise=_noise(run, winner),
        caveat=caveat_of(run.inputs),
        spent=_spent(record, timeline),
        failures=[
            f"Trial {trial.number} ({trial.name}): {trial.error}"
            for trial in record.trials
            if trial.error
        ],
        experiments=_experiments(run),
        has_triangle=bool(divided),
        objective_weights={task: run.objective.of(task) for task in TASK_NAMES},
        hidden=hidden_in_words(record, run.objective),
        selection_rules=_selection_rules(record),
        facts=_facts(run),
        data_notes=run.driver_runs[-1].data.notes if run.driver_runs else [],
        data_files=list(run.setup["data files"].items()),
        setup=_setup(run),
        runs=[command_here(each) for each in run.driver_runs],
    )


def _as_script(data: Any) -> str:
    """JSON for a script element, which ``<`` could end."""
    text = json.dumps(strict_json(_plainly(data)), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _plainly(value: Any) -> Any:
    """A value whose texts are all safe to show; our own HTML is left as it is."""
    if isinstance(value, str) and not isinstance(value, markupsafe.Markup):
        return plain(value)
    if isinstance(value, dict):
        return {_plainly(key): _plainly(inner) for key, inner in value.items()}
    return [_plainly(inner) for inner in value] if isinstance(value, list | tuple) else value


# Texts


def _about(run: Run) -> str:
    tasks = ", ".join(TASKS[task].title for task in run.inputs.tasks)
    encoder = run.setup["encoder"]
    return (
        f"Space {run.setup['space']}, recipe {run.setup['recipe']}; {tasks} on "
        f"{run.inputs.data}; {encoder['name']}, {counted(encoder['layers'], 'layer')}."
    )


def _state(run: Run, now: float) -> str:
    written = f"{datetime.datetime.fromtimestamp(now).astimezone():%Y-%m-%d %H:%M}"
    if run.is_running:
        return f"{run.standing} Written {written}. The page is updated regularly; reload it."
    return f"{counted(len(run.record.trials), 'trial')}, written {written}. {run.standing}"


def _answer(
    record: SearchRecord, winner: TrialRecord | None, command: str, recipe: str
) -> dict[str, Any]:
    """The chosen configuration, and its scores beside those of the recipe."""
    if winner is None or winner.kept is None:
        return {"winner": None}
    baseline = record.baseline.kept if record.baseline else None
    ours, theirs = winner.kept.scores, baseline.scores if baseline else {}
    rows = [
        (f"{TASKS[t].title} ({TASKS[t].metric})", theirs.get(t), ours[t])
        for t in TASK_NAMES
        if t in ours
    ]
    rows.append(("score", baseline.score if baseline else None, winner.kept.score))
    objective = winner.config.objective.normalised(1.0, list(ours))
    is_recipe = winner is record.baseline
    return {
        "winner": winner,
        "is_recipe": is_recipe,
        "chosen_lead": "The recipe itself scored highest" if is_recipe else "Scored highest",
        "trials_with_score": counted(with_score(record), "trial"),
        "beside": [
            {
                "name": name,
                "recipe": _decimals(before),
                "winner": _decimals(after),
                "difference": "" if before is None else f"{after - before:+.3f}",
            }
            for name, before, after in rows
        ],
        "objective": ", ".join(f"{share:.2f} {task}" for task, share in objective.items()),
        "chosen": [
            (
                f"loss weights {', '.join(GREEK[task] for task in winner.weights)}",
                ", ".join(f"{weight:.3f}" for weight in winner.weights.values()),
            ),
            ("report kept", f"{winner.kept.step} of {winner.total_reports}"),
            ("how it ended", f"{winner.state}{f': {winner.why}' if winner.why else ''}"),
            (
                "differs from the recipe in",
                ", ".join(field_texts(record.differences(winner), winner.config.train_tasks))
                or "nothing",
            ),
        ],
        "winner_command": f"{command} {train_options(winner.config, recipe)} --out winner",
    }


def _confirmation(run: Run) -> list[str]:
    """What a confirmation showed, in sentences; empty without one."""
    if run.confirmation is None:
        return []
    return [*lines_of(run.confirmation, run.record), LIMITS]


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _noise(run: Run, winner: TrialRecord | None) -> list[str]:
    if winner is None:
        return ["There are no scores to compare yet."]
    noise = run.noise
    if noise is None:
        return [
            "There are no stored dev predictions of the recipe and of other trials yet, so it is "
            "not known how much of a difference is chance.",
            *_known_from_confirmation(run.confirmation),
        ]
    return [
        *noise_in_words(noise, winner),
        *_known_from_confirmation(run.confirmation),
        *(
            ["The sampler learned from an earlier search, whose choices are not counted here."]
            if any("--start-from" in each.command for each in run.driver_runs)
            else []
        ),
        "Estimated by a paired bootstrap over the dev examples and, for the choice, by the reality "
        "check of White (2000).",
    ]


def _known_from_confirmation(confirmation: Conclusion | None) -> list[str]:
    if confirmation is None or len(confirmation.pairs) < 2:
        return []
    spread = 100 * statistics.stdev(pair.difference for pair in confirmation.pairs)
    return [
        f"In the confirmation, the difference between trial {confirmation.rival} and the recipe "
        f"had a standard deviation of {spread:.1f} points over {len(confirmation.pairs)} new seeds "
        "and what judged them."
    ]


def _spent(record: SearchRecord, timeline: Timeline | None) -> list[tuple[str, str]]:
    epochs = sum(trial.reports[-1].epoch for trial in record.trials if trial.reports)
    begun = [trial for trial in record.trials if trial.attempts]
    in_full = float(sum(trial.config.epochs for trial in begun))
    seconds = sum(trial.seconds for trial in record.trials)
    saved = sum(
        trial.seconds / len(trial.reports) * (trial.total_reports - len(trial.reports))
        for trial in record.trials
        if trial.reports and trial.state == "stopped"
    )
    counts = [f"{count} {state}" for state, count in record.counts.items()]
    facts = [
        ("trials", f"{len(record.trials)} of {record.planned}: {', '.join(counts)}"),
        ("epochs trained", f"{epochs:.1f} of the {in_full:.0f} that the trials ask for"),
        ("training and dev evaluation", clock(seconds)),
        ("saved by stopping early", f"about {clock(saved)} more" if saved else "nothing"),
    ]
    if timeline is not None:
        facts += [
            ("time of the search", clock(timeline.seconds)),
            ("slots busy", f"{timeline.busy:.0%} of {timeline.slots} slots' time"),
        ]
    return facts


def _experiments(run: Run) -> list[ExperimentRow]:
    """Rows if the space is built in. A user's space file is code, and a review does not run it."""
    name = str(run.setup["space"])
    path = built_in_spaces().get(name)
    ours = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    if ours != run.setup["file of the space"]:
        return []
    return experiment_rows(load_space(name).experiments, run.record.trials)


def _selection_rules(record: SearchRecord) -> dict[str, Any] | None:
    rows = replays(record.ranked)
    if not any(len(row.trial.reports) > 1 for row in rows):
        return None
    above, below = (sum(sign * row.difference > 0 for row in rows) for sign in (1, -1))
    summary = ""
    if len(rows) > _MOST_SELECTION_RULES:
        summary = f"The first {_MOST_SELECTION_RULES} of {len(rows)} trials are shown. "
    return {
        "rules": SELECTION_RULES,
        "rows": [
            {
                "trial": textwrap.shorten(
                    f"{row.trial.number} {row.trial.name}", _LONGEST_NAME, placeholder=" …"
                ),
                "cells": row.cells,
            }
            for row in rows[:_MOST_SELECTION_RULES]
        ],
        "summary": f"{summary}The {SELECTION_RULES[1]} rule scores above the "
        f"{SELECTION_RULES[0]} rule in {counted(above, 'trial')}, below it in {below}, and the "
        f"same in {len(rows) - above - below}.",
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = [("run", str(run.folder)), ("seed", str(run.record.trials[0].config.seed))]
    for last in run.driver_runs[-1:]:
        hardware = last.hardware
        began = datetime.datetime.fromtimestamp(run.driver_runs[0].at).astimezone()
        facts += [
            ("started", f"{began:%Y-%m-%d %H:%M %Z}"),
            ("times resumed", str(len(run.driver_runs) - 1)),
            ("trials at once", str(last.slots)),
            (
                "hardware",
                f"{counted(hardware.machines, 'machine')}, "
                f"{counted(hardware.cpus, 'CPU')}, {counted(hardware.gpus, 'GPU')}; "
                f"the driver has {hardware.processor}",
            ),
            *((f"{name} version", version) for name, version in last.versions.items()),
        ]
        for task, by_split in last.data.sizes.items():
            counts = ", ".join(f"{size:,} {split}" for split, size in by_split.items())
            facts.append((f"{task} examples", counts))
    return facts


def _setup(run: Run) -> list[tuple[str, str]]:
    settings = []
    for name, value in run.setup.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        if name != "data files":
            settings += [(f"{name} {key}".strip(), _as_text(each)) for key, each in inner]
    return settings


def _as_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
