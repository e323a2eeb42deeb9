"""TensorBoard logs: one run per trial; the x axis is training examples.

The log is a function of the study's record: each driver rewrites it, so that curves continue with
no point lost or repeated, whatever a kill left behind.
"""

import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

# Parts of TensorBoard that do not need TensorFlow. They have no type hints.
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams import (  # type: ignore[import-untyped]
    api_pb2,
    metadata,
    plugin_data_pb2,
)
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text.summary_v2 import text_pb  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import (  # type: ignore[import-untyped]
    RecordWriter,
)

from minbert.output import encodable
from minbert.report import Report
from search.analysis.pareto import ParetoFront
from search.plan import Plan
from search.propose.branches import explore
from search.record import GREEK, SearchRecord, State, TrialRecord
from search.review.varied import value_of, varied_columns
from search.storage.predictions import DevPredictions
from search.watchers import Watcher, guarded

from .mistakes import DevTexts
from .study_picture import study_picture
from .trial_text import trial_text

_SECONDS_BETWEEN_PICTURES = 60.0

# TensorBoard reads files with "tfevents" in their names.
EVENTS = "events.out.tfevents"

_LONGEST_NAME = 48

# TensorBoard first shows five hyperparameters: these before others, ordered by name.
_SHOWN_FIRST = (*GREEK.values(), "lr", "ended")

_ENDS: tuple[State, ...] = ("finished", "stopped", "failed", "interrupted", "paused")


class TensorBoardLog(Watcher):
    """Writes the curves of trials while they run, their results, and a picture of the study.

    A trial that is not over when the context ends is written in its current state.

    Args:
        folder: only for the log; its contents are removed.
        record: the trials; they have reports if the search is resumed.
        front: of the search; its points are marked in the picture.
        predictions: the dev predictions; mistakes are shown for reports that have predictions.
    """

    what = "the TensorBoard log"

    def __init__(
        self,
        folder: Path,
        record: SearchRecord,
        plan: Plan,
        front: ParetoFront,
        texts: DevTexts,
        predictions: DevPredictions,
    ):
        self._folder, self._record, self._front = folder, record, front
        self._texts, self._predictions = texts, predictions
        # Stand-ins for trials: the ends of the ranges of the space, and the given configurations.
        self._possible = [
            *(
                TrialRecord(0, "", fields, plan.space.configure(fields, plan.base))
                for fields in explore(plan.space).proposals
            ),
            *(TrialRecord(0, "", one.fields, one.config) for one in (*plan.fixed, *plan.tries)),
        ]
        self._columns = [
            column
            for column in varied_columns([*self._possible, *record.trials])
            if len({value_of(trial, column) for trial in [*self._possible, *record.trials]}) > 1
        ]
        self._concluded: set[int] = set()
        self._study_file: Path | None = None
        # A new name, because an open TensorBoard never rereads a file from its beginning. With it,
        # curves are right there, but the end of a trial stays as it was first read.
        self._name = f"{EVENTS}.{time.time_ns()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for trial in record.trials:
            if trial.reports:
                self._append(trial, [curves_of(trial, report) for report in trial.reports])
            if trial.is_over:
                self._conclude(trial)
        self._write_study()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._conclude_all()

    @guarded
    def _conclude_all(self) -> None:
        for trial in self._record.trials:
            if trial.attempts and trial.number not in self._concluded:
                self._conclude(trial)
        self._write_study()

    @guarded
    def reported(self, trial: TrialRecord, report: Report) -> None:
        self._append(trial, [curves_of(trial, report)])

    @guarded
    def ended(self, trial: TrialRecord) -> None:
        self._conclude(trial)
        if time.monotonic() - self._last_picture > _SECONDS_BETWEEN_PICTURES:
            self._write_study()

    def _append(self, trial: TrialRecord, events: Iterable[Any]) -> None:
        folder = self._folder / run_name(trial)
        folder.mkdir(parents=True, exist_ok=True)
        write_events(folder / self._name, events)

    def _conclude(self, trial: TrialRecord) -> None:
        """Write the result of a trial: a row of the HParams tab and a text."""
        self._concluded.add(trial.number)
        kept, at = trial.kept, _last_sign(trial)
        predictions = None if kept is None else self._predictions.read(trial.number, kept.step)
        metrics: dict[str, float] = {} if kept is None else {"score": kept.score} | kept.scores
        metrics["epochs"] = trial.reports[-1].epoch if trial.reports else 0.0
        metrics["seconds"] = trial.seconds
        differences = self._record.differences(trial)
        summaries = [
            _scalars({_metric_tag(name): value for name, value in metrics.items()}),
            hparams.hparams_pb(
                self._hyperparameters(trial),
                trial_id=run_name(trial),
                start_time_secs=trial.attempts[0].at if trial.attempts else at,
            ),
            text_pb("trial", trial_text(trial, differences, self._texts, predictions)),
        ]
        if trial.is_over:
            summaries.append(_session_end(failed=trial.state == "failed", at=at))
        values = [value for summary in summaries for value in summary.value]
        step = 0 if kept is None else kept.examples
        self._append(trial, [_event(Summary(value=values), step, at)])

    def _hyperparameters(self, trial: TrialRecord) -> dict[str, bool | int | float | str]:
        columns = [] if trial.was_refused else self._columns
        return {column: value_of(trial, column) for column in columns} | {"ended": trial.state}

    def _write_study(self) -> None:
        """Write what concerns all trials, and remove the earlier version."""
        trials = self._record.trials
        possible = [*self._possible, *trials]
        domains = {
            column: domain_of([value_of(trial, column) for trial in possible])
            if column not in GREEK.values()
            else hparams.RealInterval(0.0, 1.0)
            for column in self._columns
        }
        domains["ended"] = hparams.Discrete(_ENDS)
        summary = _experiment(domains, ("score", *self._texts.tasks, "epochs", "seconds"))
        reports = sum(len(trial.reports) for trial in trials)
        if reports:
            png, width, height = study_picture(self._record, self._front, self._texts.tasks)
            image = Summary.Image(encoded_image_string=png, width=width, height=height)
            summary.value.add(tag="study", image=image)
        before, name = self._study_file, f"{EVENTS}.{time.time_ns()}"
        self._study_file = self._folder / name
        write_events(self._study_file, [_event(summary, reports, time.time())])
        if before is not None:
            before.unlink(missing_ok=True)
        self._last_picture = time.monotonic()


def run_name(trial: TrialRecord) -> str:
    """Name of a trial's run: its number and its name, safe as the name of a folder."""
    words = re.sub(r"[^\w.=,+-]+", " ", trial.name).strip()
    short = re.sub(r"e-0(?=\d)", "e-", re.sub(r"\b0(?=\.\d)", "", words))
    name = textwrap.shorten(f"{trial.number:03d} {short}", _LONGEST_NAME, placeholder="")
    return encodable(name, sys.getfilesystemencoding())


def domain_of(values: Sequence[bool | int | float | str]) -> Any:
    """The smallest domain of TensorBoard's that contains the values of a hyperparameter.

    Args:
        values: all of one type.
    """
    kind = type(values[0])
    if kind is int:
        return hparams.IntInterval(min(values), max(values))
    if kind is float:
        return hparams.RealInterval(min(values), max(values))
    return hparams.Discrete(set(values))


def curves_of(trial: TrialRecord, report: Report) -> Any:
    """The event with a report's values."""
    values = {
        "dev/score": report.score,
        **{f"dev/{task}": score for task, score in report.scores.items()},
        **{f"loss/{task}": loss for task, loss in report.losses.items()},
        "train/lr": report.lr,
        "train/grad_norm": report.grad_norm,
        "train/negatives": report.negatives,
        "train/tokens_per_second": report.tokens_per_second,
    }
    return _event(_scalars(values), report.examples, trial.decisions[report.step - 1].at)


def _experiment(domains: Mapping[str, Any], metrics: Iterable[str]) -> Any:
    """What the HParams tab shows: hyperparameters and metrics."""
    infos = []
    for name, domain in domains.items():
        # TensorBoard lists hyperparameters first that are marked as differing between trials.
        info = api_pb2.HParamInfo(name=name, differs=name in _SHOWN_FIRST)
        domain.update_hparam_info(info)
        infos.append(info)
    shown = [hparams.Metric(_metric_tag(name), display_name=name).as_proto() for name in metrics]
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=shown)
    return _about_hparams(metadata.EXPERIMENT_TAG, experiment=experiment)


def _metric_tag(name: str) -> str:
    return f"result/{name}"


def _last_sign(trial: TrialRecord) -> float:
    """Time of the last entry on a trial in the record, in seconds since the epoch."""
    signs = [decision.at for decision in trial.decisions]
    signs += [attempt.at for attempt in trial.attempts]
    signs += [failure.at for failure in trial.failures.values() if failure.at is not None]
    if trial.ended_at is not None:
        signs.append(trial.ended_at)
    # A refused trial has no time in the record.
    return max(signs, default=time.time())


def _scalars(values: dict[str, float]) -> Any:
    return Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])


def _session_end(*, failed: bool, at: float) -> Any:
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=at)
    return _about_hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def _about_hparams(tag: str, **content: Any) -> Any:
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    value = Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _event(summary: Any, step: int, at: float) -> Any:
    return Event(summary=summary, step=step, wall_time=at)


def write_events(path: Path, events: Iterable[Any]) -> None:
    """Append events to a file; create it if needed."""
    with path.open("ab") as file:
        writer = RecordWriter(file)
        if file.tell() == 0:
            writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for event in events:
            writer.write(event.SerializeToString())
