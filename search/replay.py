"""python -m search.replay: what another way of searching would have cost and found."""

import argparse
import itertools
import json
import math
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from minbert.errors import InputError, plain, reason_of
from minbert.output import counted
from minbert.settings import choose, make_parser, path_option, run_command
from search.propose.samplers import SAMPLERS
from search.review.reading import Run, read_run
from search.review.terminal.tables import PlainConsole
from search.schedule.table import SCHEDULERS
from search.storage.addresses import storage_option
from search.storage.folder import RunFolder
from search.storage.patience import as_input_errors
from search.storage.study import Study

from .replaying import Recorded, Replay, Way, as_recorded, recorded_in, replay
from .results import strict_json
from .settings import DEFAULT_PRUNER

_DESCRIPTION = """\
Show what another scheduler or sampler would have cost and found, from the record of a finished
search. Nothing is trained.

  python -m search.replay runs/NAME
  python -m search.replay runs/NAME --scheduler asha,none --sampler recipe,tpe,random --slots 4
  python -m search.replay runs/A runs/B     the trials of several searches of the same data

A replay can only propose recorded trials: of each proposed point, the closest one not yet tried.
So it compares how fast ways of searching find the good trials of this record.
"""

# Trainings after which the table shows the score.
_AFTER = (4, 8, 16)
_POINTS_OF_THE_PLOT = 200


@dataclass(frozen=True)
class Replayed:
    """The replays of one way of searching, one for each seed."""

    name: str
    replays: tuple[Replay, ...]

    def quartiles_after(self, trainings: float) -> np.ndarray:
        """Quartiles of the score after so many trainings; NaN if some replays had no report."""
        scores = [each.score_after(trainings) for each in self.replays]
        return np.quantile(scores, [0.25, 0.5, 0.75])

    def quartiles_until(self, score: float) -> list[float]:
        """Quartiles of the trainings until a score; infinite for replays that do not reach it."""
        until = sorted(each.trainings_until(score) for each in self.replays)
        # No mean of two values, which may be infinite.
        return [until[math.ceil(share * len(until)) - 1] for share in (0.25, 0.5, 0.75)]

    @property
    def trainings(self) -> float:
        """Median of the trainings of the whole search."""
        return float(np.median([each.trainings[-1] for each in self.replays]))

    @property
    def hours(self) -> float:
        """Median of the hours of the whole search."""
        return float(np.median([each.seconds[-1] for each in self.replays])) / 3600


def main() -> int:
    arguments = _parsed()
    with as_input_errors():
        runs = [_opened(where, arguments.storage) for where in arguments.runs]
        recorded = recorded_in(runs)
        ways = _ways(arguments, runs[0][0])
        rows = replayed(recorded, ways, arguments.slots, range(arguments.seeds))
        if len(runs) == 1:
            rows.insert(0, Replayed("as recorded", (as_recorded(runs[0][0]),)))
    if arguments.json:
        print(json.dumps(strict_json(as_json(recorded, rows, arguments)), indent=2))
        return 0
    console = PlainConsole()
    console.print(table_of(recorded, rows, arguments.slots, arguments.seeds))
    for line in notes_on(recorded, rows):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"To look at: {_write_plot(runs[0][0], recorded, rows)}", soft_wrap=True)
    return 0


def _parsed() -> argparse.Namespace:
    parser = make_parser("python -m search.replay", _DESCRIPTION)
    parser.add_argument(
        "runs",
        type=path_option,
        nargs="+",
        metavar="RUN",
        help="folder of a run: runs/NAME, or s3://…",
    )
    parser.add_argument(
        "--storage", type=storage_option, help="database or journal file of the studies"
    )
    parser.add_argument(
        "--scheduler",
        type=partial(_several, "scheduler", SCHEDULERS),
        help=f"one or more of {', '.join(SCHEDULERS)} (default: the run's, and none)",
    )
    parser.add_argument(
        "--sampler",
        type=partial(_several, "sampler", SAMPLERS),
        help=f"one or more of {', '.join(SAMPLERS)} (default: the run's, and random)",
    )
    parser.add_argument(
        "--grace-period", type=_positive, metavar="N", help="as for search.run (default: the run's)"
    )
    parser.add_argument(
        "--reduction-factor",
        type=_positive,
        metavar="N",
        help="as for search.run (default: the run's)",
    )
    parser.add_argument("--pruner", help="as for search.run (default: the run's)")
    parser.add_argument(
        "--slots", type=_positive, default=4, help="trials at the same time (default: 4)"
    )
    parser.add_argument(
        "--seeds", type=_positive, default=20, help="replays of each way (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    return parser.parse_args()


def _several(what: str, table: Mapping[str, Any], text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    try:
        for name in names:
            choose(what, name, table)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"give a whole number of at least 1 (got {text})")
    return number


def _opened(where: str, storage: str | None) -> tuple[Run, Study]:
    folder = RunFolder(where, storage)
    study = folder.load_study()
    return read_run(folder, study), study


def _ways(arguments: argparse.Namespace, run: Run) -> list[Way]:
    """The ways to replay: each scheduler with each sampler."""
    setup = run.setup
    schedulers = arguments.scheduler or [setup["scheduler"], "none"]
    samplers = arguments.sampler or [setup["sampler"], "random"]
    return [
        Way(
            scheduler,
            sampler,
            arguments.grace_period or setup.get("grace_period", 1),
            arguments.reduction_factor or setup.get("reduction_factor", 3),
            arguments.pruner or setup.get("pruner", DEFAULT_PRUNER),
        )
        for scheduler, sampler in itertools.product(
            dict.fromkeys(schedulers), dict.fromkeys(samplers)
        )
    ]


def replayed(
    recorded: Recorded, ways: Sequence[Way], slots: int, seeds: Sequence[int]
) -> list[Replayed]:
    """Replay each way with each seed, on all cores.

    Raises:
        InputError: a way cannot search these trials.
    """
    # A way that cannot be replayed says so before other processes start.
    first = [replay(recorded, way, seeds[0], slots) for way in ways]
    tasks = [(recorded, way, seed, slots) for way in ways for seed in seeds[1:]]
    rest: Iterator[Replay] = iter(())
    if tasks:
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            rest = iter(pool.starmap(replay, tasks, chunksize=1))
    return [
        Replayed(str(way), (one, *itertools.islice(rest, len(seeds) - 1)))
        for way, one in zip(ways, first, strict=True)
    ]


def table_of(recorded: Recorded, rows: Sequence[Replayed], slots: int, seeds: int) -> Table:
    """One row for each way: medians, and quartiles of what matters most."""
    count = counted(len(recorded.points), "recorded trial")
    table = Table(
        box=box.HORIZONTALS,
        title=f"{count}, {counted(slots, 'slot')}, {counted(seeds, 'seed')}; medians",
        title_justify="left",
    )
    table.add_column("scheduler, sampler", no_wrap=True)
    for after in _shown_after(recorded):
        table.add_column(f"score\nafter {after}", justify="right")
    table.add_column("trainings to\nthe best", justify="right", no_wrap=True)
    table.add_column("all", justify="right")
    table.add_column("hours", justify="right")
    for row in rows:
        scores = [row.quartiles_after(after)[1] for after in _shown_after(recorded)]
        table.add_row(
            row.name,
            *(f"{score:.3f}" if math.isfinite(score) else "" for score in scores),
            _quartiles(row.quartiles_until(recorded.best)),
            f"{row.trainings:.1f}",
            f"{row.hours:.2f}",
        )
    return table


def _shown_after(recorded: Recorded) -> list[int]:
    return [after for after in _AFTER if after < len(recorded.points)]


def _quartiles(values: Sequence[float]) -> str:
    low, middle, high = (f"{v:.1f}" if math.isfinite(v) else "never" for v in values)
    return middle if low == high else f"{middle} ({low}–{high})"


def notes_on(recorded: Recorded, rows: Sequence[Replayed]) -> list[str]:
    """What the table means, and how far the record carries."""
    lines = [
        f"The best recorded trial scores {recorded.best:.3f}, the recipe "
        f"{recorded.recipe_score:.3f}. A training is one trial trained to its end; scores are "
        "those of the model that the search would hand over after so many trainings, on the "
        "dev data that chose it."
    ]
    if recorded.left_out:
        lines.append(
            f"Left out: {counted(recorded.left_out, 'trial')} that failed, made no report, or lie "
            "outside the space."
        )
    if recorded.stopped:
        missing = sum(each.missing for row in rows for each in row.replays)
        replays = sum(len(row.replays) for row in rows)
        lines.append(
            f"The record carries only so far: {recorded.stopped} of "
            f"{counted(len(recorded.points), 'trial')} were not trained to their end. Replays "
            f"wanted to train such trials further {missing / replays:.1f} times on average, and "
            "ended them where their record ends; record with --scheduler none --pruner none for "
            "more."
        )
    return lines


def as_json(
    recorded: Recorded, rows: Sequence[Replayed], arguments: argparse.Namespace
) -> dict[str, Any]:
    return {
        "runs": arguments.runs,
        "trials": len(recorded.points),
        "trials_not_trained_to_their_end": recorded.stopped,
        "trials_left_out": recorded.left_out,
        "slots": arguments.slots,
        "seeds": arguments.seeds,
        "best_score": recorded.best,
        "recipe_score": recorded.recipe_score,
        "ways": [
            {
                "name": row.name,
                "trainings": row.trainings,
                "hours": row.hours,
                "reports_missing": sum(each.missing for each in row.replays),
                "trainings_to_best_quartiles": row.quartiles_until(recorded.best),
                "score_after_quartiles": {
                    str(after): list(row.quartiles_after(after)) for after in _shown_after(recorded)
                },
            }
            for row in rows
        ],
    }


def _write_plot(run: Run, recorded: Recorded, rows: Sequence[Replayed]) -> str:
    """Write replay.html into the run's folder; returns where it is."""
    # Plotly takes a while to import.
    from search.review.page.replay_page import Band, write_replay_page

    most = max(each.trainings[-1] for row in rows for each in row.replays)
    grid = np.linspace(0, most, _POINTS_OF_THE_PLOT)
    bands = []
    for row in rows:
        quartiles = np.array([row.quartiles_after(trainings) for trainings in grid])
        reached = ~np.isnan(quartiles).any(axis=1) & (grid <= row.trainings)
        bands.append(Band(row.name, grid[reached], quartiles[reached]))
    page = run.folder.path / "replay.html"
    try:
        write_replay_page(page, run.folder.name, bands, recorded.recipe_score, recorded.best)
        run.folder.publish()
    except OSError as error:
        raise InputError(f"{page} cannot be written: {reason_of(error)}") from None
    return plain(run.folder.address_of(page))


if __name__ == "__main__":
    run_command(main)
