"""What happens when an attempt ends without a report: a retry, or the end of the trial."""

import time
from typing import Literal

from .record import Failure, RetryReason, TrialRecord

# crashed: the process died or something raised; hung: no report came in time.
FailureKind = Literal[
    "out of memory", "crashed", "hung", "diverged", "refused", "machine lost", "state damaged"
]
# Kinds that are retried unchanged.
_RETRIED: dict[FailureKind, RetryReason] = {
    "crashed": "retry",
    "hung": "retry",
    "machine lost": "machine lost",
    "state damaged": "state damaged",
}
# A lost machine is not the trial's fault, but a trial that crashes every machine has to end.
_MOST_MACHINES_LOST = 20


def plan_retry(trial: TrialRecord, kind: FailureKind, reason: str, retries: int) -> Failure | None:
    """The failure with the kind of its retry; None if the trial has failed for good.

    Args:
        trial: its last attempt failed.
        reason: what went wrong, in one line.
        retries: how often a crash or a hang is retried.
    """
    last = trial.attempts[-1]
    if kind == "out of memory":
        most = last.micro_batch or trial.config.batch_size
        if most == 1:
            return None
        return Failure(next=kind, reason=reason, micro_batch=(most + 1) // 2, at=time.time())
    if kind not in _RETRIED:
        return None
    again = _RETRIED[kind]
    # Retries after damaged states need no limit: each time there is one state less.
    limits = {"retry": retries, "machine lost": _MOST_MACHINES_LOST}
    if sum(each.why == again for each in trial.attempts) >= limits.get(again, len(trial.attempts)):
        return None
    return Failure(next=again, reason=reason, micro_batch=last.micro_batch, at=time.time())
