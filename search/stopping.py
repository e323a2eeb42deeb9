"""When a search ends early: its target is reached, or nothing better was found for a while."""

from .live_record import LiveRecord
from .settings import StudySettings


def reason_to_end(record: LiveRecord, settings: StudySettings) -> str | None:
    """Why the search should end now, by ``--target`` and ``--patience``; None to continue."""
    target, patience = settings.target, settings.patience
    if target is None and patience is None:
        return None
    best = record.winner
    if best is None or best.kept is None:
        return None
    at = best.decisions[best.kept.step - 1].order
    since = record.finished_after(at)
    if best.state == "finished" and best.decisions[-1].order > at:
        # The best trial itself is not one of those without a higher score.
        since -= 1
    if patience is not None and since >= patience:
        return f"{since} finished trials in a row did not score higher"
    if target is not None and best.kept.score >= target:
        return f"the target {target:g} is reached"
    return None
