"""What people read about a confirmation."""

from collections.abc import Iterator

from search.analysis.verdict import Interval
from search.record import SearchRecord

from .conclusion import Conclusion

LIMITS = (
    "The plan was written before the first of these trainings began; only trainings of the recipe "
    "may be older, from another confirmation on the same data. Each entry of the "
    "confirmation's ledger holds the hash of the one before. The ledger cannot see a study that "
    "was copied and confirmed more than once, or data that the choice of the recipe already used."
)


def lines_of(conclusion: Conclusion, record: SearchRecord) -> Iterator[str]:
    """The conclusion, and what it is about; one line each.

    Args:
        conclusion: of the confirmation.
        record: of the search, which may have new trials since.
    """
    rival, winner = conclusion.rival, record.winner
    if rival is not None:
        yield f"Confirmation of trial {rival}, {record.trials[rival].name}:"
    yield conclusion.words
    if conclusion.tasks:
        by_task = "; ".join(
            f"{task} {in_points(interval)}" for task, interval in conclusion.tasks.items()
        )
        yield f"By task, in points with 95 % intervals: {by_task}."
    if winner is None or winner.number in (0, rival):
        return
    if winner.number in conclusion.finalists:
        if rival is not None:
            yield (
                f"In the race it scored above trial {winner.number}, the winner of the search, "
                "whose model is in best/."
            )
    else:
        yield f"Trial {winner.number} scored highest after that, and is not confirmed."


def in_points(interval: Interval) -> str:
    """An interval in hundredths of a score, such as ``+1.4 (+0.3 to +2.5)``."""
    mean, low, high = (
        f"{100 * value:+.1f}".replace("-", "−")  # a minus sign, for people
        for value in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} ({low} to {high})"
