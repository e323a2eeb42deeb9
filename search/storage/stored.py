"""Converts trials to and from the form in which a storage holds them.

Reading checks everything, because anyone with access to the storage can write to it.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

import pydantic
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.config import TrainConfig
from minbert.errors import InputError, reason_of
from minbert.report import Report
from minbert.settings import Settings
from search.record import ENDS, Attempt, Decision, Failure, Moment, State, TrialRecord

SETUP = "setup"

# The format of a stored study; a study of another format is refused.
FORMAT = 2


def check_format(noted: Mapping[str, Any]) -> None:
    """Refuse a study that another version of the program wrote; InputError says which.

    Args:
        noted: the study's attributes; without a setup it was not completed, and is of no format.
    """
    setup = noted.get(SETUP)
    if not setup:
        return
    found = setup.get("format", 1)
    if found == FORMAT:
        return
    try:
        version = f", version {noted['runs'][-1]['versions']['minbert-search']}"
    except (LookupError, TypeError):
        version = ""
    age = "a newer" if isinstance(found, int) and found > FORMAT else "an older"
    raise InputError(
        f"the study was made by {age} version of the program (format {found}{version}), and this "
        f"one reads format {FORMAT}; finish it with that version, or start a new run"
    )


OPTUNA_STATES: dict[State, TrialState] = {
    "waiting": TrialState.WAITING,
    "interrupted": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "paused": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class _About(Settings):
    """What is written about a trial when it is created."""

    name: str
    fields: dict[str, Any]
    config: TrainConfig
    fixed: bool
    origin: str


class _End(Settings):
    """How a trial ended if it did not end with a report."""

    state: Literal["stopped", "failed"]
    reason: str
    at: Moment | None = None


def report_key(step: int) -> str:
    return f"report:{step:04d}"


def attempt_key(number: int) -> str:
    return f"attempt:{number}"


def next_attempt(
    trial: TrialRecord,
    why: Any,
    *,
    reason: str = "",
    rung: int | None = None,
    micro_batch: int | None = None,
) -> Attempt:
    """The next attempt at a trial, started now."""
    return Attempt(
        number=len(trial.attempts) + 1,
        why=why,
        reason=reason,
        rung=rung,
        micro_batch=micro_batch,
        at=time.time(),
    )


def frozen_of(
    trial: TrialRecord,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    system_attrs: Mapping[str, Any],
) -> FrozenTrial:
    """A new trial in the form in which Optuna stores it.

    Args:
        trial: without reports.
        params: of the space, if the trial is one of its points.
        system_attrs: what the sampler noted.
    """
    about = {
        "name": trial.name,
        "fields": trial.fields,
        "config": trial.config.model_dump(mode="json"),
        "fixed": trial.fixed,
        "origin": trial.origin,
    }
    attrs: dict[str, Any] = {"trial": about}
    if trial.error is not None:
        attrs["end"] = {"state": "failed", "reason": trial.error}
    for attempt in trial.attempts:
        attrs[attempt_key(attempt.number)] = attempt.model_dump(mode="json")
    return create_trial(
        state=OPTUNA_STATES[trial.state],
        params=dict(params),
        distributions=dict(distributions),
        user_attrs=attrs,
        system_attrs=dict(system_attrs),
    )


def record_of(number: int, frozen: FrozenTrial) -> TrialRecord:
    """Read the trial with a number.

    Raises:
        InputError: it is not what we write.
    """
    try:
        if frozen.number != number:
            raise ValueError(f"its number is {frozen.number}")
        return _record_of(frozen)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([*map(str, first["loc"]), first["msg"]])
    except (ValueError, KeyError, TypeError) as error:
        what = reason_of(error)
    raise InputError(f"trial {number} of the study is damaged: {what}")


def _record_of(frozen: FrozenTrial) -> TrialRecord:
    attrs = frozen.user_attrs
    trial = TrialRecord(frozen.number, **dict(_About.model_validate(attrs["trial"])))
    trial.fields = _checked(trial.fields, trial.config)
    while (entry := attrs.get(report_key(len(trial.reports) + 1))) is not None:
        trial.reports.append(Report.model_validate(entry["report"]))
        trial.decisions.append(Decision.model_validate(entry["decision"]))
        _check(trial.reports[-1], len(trial.reports), trial.config)
    while (entry := attrs.get(attempt_key(len(trial.attempts) + 1))) is not None:
        trial.attempts.append(Attempt.model_validate(entry))
        if trial.attempts[-1].number != len(trial.attempts):
            raise ValueError(f"attempt {len(trial.attempts)} has another number")
    for attempt in trial.attempts:
        if (entry := attrs.get(f"failure:{attempt.number}")) is not None:
            trial.failures[attempt.number] = Failure.model_validate(entry)
    trial.state = _state_of(trial, attrs.get("end"))
    return trial


def _checked(fields: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    """The fields with the configuration's values, which have the right types."""
    values = config.model_dump(mode="json")
    if unknown := sorted(set(fields) - set(values)):
        raise ValueError(f"fields: the configuration has no {unknown[0]}")
    return {name: values[name] for name in fields}


def _check(report: Report, step: int, config: TrainConfig) -> None:
    """Refuse a report that the rest of the program could not work with."""
    if report.step != step:
        raise ValueError(f"report {step} has another number")
    if not report.scores:
        raise ValueError(f"report {step} has no scores")
    if math.isfinite(report.score) and not all(map(math.isfinite, report.scores.values())):
        raise ValueError(f"report {step} has a score although a task's score is not a number")
    for weights in (config.objective, config.weights_to_select_by):
        if not sum(map(weights.of, report.scores)):
            raise ValueError(f"report {step} scores no task with a weight in {weights}")


def note_end(trial: TrialRecord, end: Mapping[str, Any]) -> None:
    """Mark a trial as ended without a report, from what is stored."""
    about = _End.model_validate(end)
    if about.state == "failed":
        trial.error = about.reason
    else:
        trial.ended = about.reason
    trial.ended_at = about.at


def _state_of(trial: TrialRecord, end: Mapping[str, Any] | None) -> State:
    """The state of a trial by its record; ``interrupted`` if it neither ended nor paused."""
    verdict = trial.decisions[-1].verdict if trial.decisions else None
    if end is not None:
        note_end(trial, end)
        return _End.model_validate(end).state
    if verdict in ENDS:
        if verdict == "fail":
            trial.error = trial.decisions[-1].reason
        return ENDS[verdict]
    if trial.paused_at is not None:
        return "paused"
    return "interrupted" if trial.attempts else "waiting"
