"""What follows when an attempt ends without a report: another one, or the end of the trial."""

import time
from typing import Literal

from .record import Again, Failure, TrialRecord

# crashed: the process died or something raised; hung: no report came in time.
FailureKind = Literal[
    "out of memory", "crashed", "hung", "diverged", "refused", "machine lost", "state damaged"
]
# Those after which the same may be tried again.
_AGAIN: dict[FailureKind, Again] = {
    "crashed": "retry",
    "hung": "retry",
    "machine lost": "machine lost",
    "state damaged": "state damaged",
}
# A trial is not to blame for its machine, but one that takes each with it has to end.
_MOST_MACHINES_LOST = 20


def what_follows(
    trial: TrialRecord, kind: FailureKind, reason: str, retries: int
) -> Failure | None:
    """How the next attempt differs; None where the trial has failed for good.

    Args:
        trial: whose last attempt failed.
        kind: of the failure.
        reason: in one line.
        retries: how often a crash or a hang is tried again.
    """
    last = trial.attempts[-1]
    if kind == "out of memory":
        most = last.micro_batch or trial.config.batch_size
        if most == 1:
            return None
        return Failure(next=kind, reason=reason, micro_batch=(most + 1) // 2, at=time.time())
    if kind not in _AGAIN:
        return None
    again = _AGAIN[kind]
    # That of damaged states has an end: each time there is a state less.
    limits = {"retry": retries, "machine lost": _MOST_MACHINES_LOST}
    if sum(each.why == again for each in trial.attempts) >= limits.get(again, len(trial.attempts)):
        return None
    return Failure(next=again, reason=reason, micro_batch=last.micro_batch, at=time.time())
