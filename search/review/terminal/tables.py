"""The terminal output of a search: live table, lines for logs, and outcome."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from minbert.errors import plain
from minbert.output import counted
from minbert.report import Report
from minbert.tasks import TASK_NAMES, TASKS, Task
from search.analysis.noise import Noise, noise_in_words
from search.confirmation.conclusion import Conclusion
from search.confirmation.words import lines_of
from search.record import GREEK, OVER, SearchRecord, TrialRecord, field_texts
from search.watchers import Watcher

# Rows of the live table; a line below it counts all trials.
_ROWS = 12


class PlainConsole(Console):
    """A console that prints texts from anyone safely: without control characters."""

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


class PlainLines(Watcher):
    """One line per report and one per finished trial, for logs and pipes."""

    def __init__(self, console: Console, record: SearchRecord):
        self._console = console
        self._record = record
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, trial: TrialRecord) -> None:
        if len(trial.attempts) < 2:
            self._say(trial, f"starts: {trial.name}")
            return
        attempt = trial.attempts[-1]
        why = f": {attempt.reason}" if attempt.reason else ""
        self._say(trial, f"continues after report {len(trial.reports)} ({attempt.why}{why})")

    def reported(self, trial: TrialRecord, report: Report) -> None:
        scores = "  ".join(f"{task} {score:.3f}" for task, score in report.scores.items())
        of = f"report {report.step}/{trial.total_reports}"
        self._say(trial, f"{of}  score {report.score:.3f}  {scores}")

    def paused(self, trial: TrialRecord, reason: str) -> None:
        self._say(trial, f"paused ({reason})")

    def ended(self, trial: TrialRecord) -> None:
        why = f": {trial.why}" if trial.why and trial.is_over else ""
        over = self._record.count(*OVER)
        best = self._record.winner
        leads = f"; best so far: trial {best.number}, {best.score:.3f}" if best else ""
        self._say(trial, f"{trial.state}{why} ({over} of {self._record.planned} over{leads})")

    def _say(self, trial: TrialRecord, text: str) -> None:
        line = f"{clock(time.monotonic() - self._start):>7}  trial {trial.number:>2}  {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveTable(Watcher):
    """A table of trials, best first, that is redrawn while they run."""

    def __init__(self, console: Console, record: SearchRecord, time_budget: float | None):
        self._record = record
        self._time_budget = time_budget
        self._start = time.monotonic()
        self._live = Live(
            get_renderable=self.render, console=console, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def render(self) -> RenderableType:
        """The table, and lines on the progress of the search."""
        running = self._record.count("running")
        over = self._record.count(*OVER)
        paused = self._record.count("paused")
        passed = time.monotonic() - self._start
        parts = [
            f"{over} of {counted(self._record.planned, 'trial')} over",
            *([f"{paused} paused"] if paused else []),
            f"{running} of {self._record.slots} slots busy",
            clock(passed),
        ]
        if self._time_budget is not None:
            parts.append(f"{clock(max(0.0, self._time_budget - passed))} of the budget left")
        elif (left := self._seconds_left()) is not None:
            parts.append(f"about {clock(left)} left")
        lines = [", ".join(parts)]
        best = self._record.winner
        if best is not None and best.score is not None:
            lines.append(f"Highest so far: {best.score:.3f}, trial {best.number}, {best.name}")
        table = trials_table(self._record, rows=_ROWS)
        return Group(table, *(Text(line, overflow="ellipsis", no_wrap=True) for line in lines))

    def _seconds_left(self) -> float | None:
        """Estimated from the mean duration of trials that ended; None if none has."""
        ended = ("finished", "stopped", "paused")
        over = [trial for trial in self._record.trials if trial.state in ended]
        if not over:
            return None
        to_do = self._record.planned - len(over) - self._record.count("failed")
        mean = sum(trial.seconds for trial in over) / len(over)
        spent = sum(t.seconds for t in self._record.trials if t.state == "running")
        return max(0.0, (to_do * mean - spent) / max(1, self._record.slots))


def trials_table(record: SearchRecord, rows: int | None = None) -> Table:
    """Trials with the scores of the checkpoints that they keep, best first.

    Args:
        rows: the most rows to show; trials with the lowest scores are left out first, running
            trials last.
    """
    shown = [trial for trial in record.ranked if trial.state != "waiting"]
    if rows is not None and len(shown) > rows:
        low_and_over = [trial for trial in shown if trial.state != "running"][::-1]
        folded = low_and_over[: len(shown) - rows]
        shown = [trial for trial in shown if trial not in folded]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True, min_width=2)
    # The only column that may wrap, so the only one that shrinks on a narrow terminal. Its text is
    # truncated instead of wrapped.
    table.add_column("trial")
    for heading in ("score", *record.tasks, "report"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    table.add_column("state", no_wrap=True, min_width=9)
    for trial in shown:
        scores = trial.kept.scores if trial.kept else {}
        table.add_row(
            str(trial.number),
            Text(trial.name, no_wrap=True, overflow="ellipsis"),
            _score(trial.score),
            *(_score(scores.get(task)) for task in record.tasks),
            f"{len(trial.reports)}/{trial.total_reports}",
            trial.state,
            style="bold" if trial.state == "running" else None,
        )
    return table


def _failures(record: SearchRecord) -> Iterator[str]:
    """The errors of trials; one that several trials share is given once."""
    by_error: dict[str, list[TrialRecord]] = {}
    for trial in record.trials:
        if trial.error:
            by_error.setdefault(trial.error, []).append(trial)
    for error, trials in by_error.items():
        if len(trials) == 1:
            yield f"Trial {trials[0].number} ({trials[0].name}) failed: {error}"
        else:
            numbers = ", ".join(str(trial.number) for trial in trials)
            yield f"Trials {numbers} failed: {error}"


def outcome(
    record: SearchRecord, noise: Noise | None = None, confirmation: Conclusion | None = None
) -> Sequence[RenderableType]:
    """The winner compared with the recipe, with no claim that the data do not support, and errors.

    Args:
        record: of the search.
        noise: how much of the winner's lead may be chance, if that is known.
        confirmation: what new seeds showed, if they did.
    """
    winner, baseline = record.winner, record.baseline
    parts: list[RenderableType] = []
    parts += [Text(line) for line in _failures(record)]
    if winner is None:
        return [*parts, Text("No trial made a report, so there is no winner.")]
    weights = "  ".join(f"{GREEK[task]} {share:.2f}" for task, share in winner.weights.items())
    is_open = record.count("running", "paused", "waiting")
    word = "Highest so far" if is_open else "Winner"
    parts.append(Text(f"{word}: trial {winner.number}, {winner.name}", style="bold"))
    parts.append(Text(f"Loss weights: {weights} ({', '.join(winner.weights)})"))
    differences = record.differences(winner)
    differences.pop("loss_weights", None)
    if others := field_texts(differences, winner.config.train_tasks):
        parts.append(Text("Differences from the recipe: " + ", ".join(others)))
    if baseline is None or baseline.kept is None:
        parts.append(Text("The recipe itself has no score to compare with."))
        return parts
    if winner is baseline:
        parts.append(Text("It is the recipe itself: no other trial scored higher here."))
    parts.append(_beside(winner, baseline))
    chosen = f"Chosen on these dev data from {counted(with_score(record), 'trial')}, so optimistic"
    if confirmation is not None:
        parts += [Text(f"{chosen}."), *map(Text, lines_of(confirmation, record))]
        return parts
    parts.append(Text(f"{chosen}; other seeds or data have not confirmed it."))
    if noise is not None:
        parts.append(Text(" ".join(noise_in_words(noise, winner)[1:])))
    return parts


def with_score(record: SearchRecord) -> int:
    """Number of trials that the winner was chosen from."""
    return sum(trial.kept is not None and trial.state != "failed" for trial in record.trials)


def _beside(winner: TrialRecord, baseline: TrialRecord) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("dev")
    for heading in ("recipe", "winner", "difference"):
        table.add_column(heading, justify="right")
    assert winner.kept is not None
    assert baseline.kept is not None
    ours, theirs = winner.kept, baseline.kept
    tasks: list[Task] = [task for task in TASK_NAMES if task in ours.scores]
    rows = [
        (f"{TASKS[t].title} {TASKS[t].metric}", theirs.scores[t], ours.scores[t]) for t in tasks
    ]
    for name, before, after in [*rows, ("score", theirs.score, ours.score)]:
        table.add_row(name, _score(before), _score(after), f"{after - before:+.3f}")
    return table


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
