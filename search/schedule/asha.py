"""Asynchronous successive halving (ASHA), on the record of a search.

Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934).
"""

from minbert.report import Report
from search.record import TrialRecord, Verdict
from search.storage.study import Study

from .base import Promotion
from .rung import Rung, plan_rungs


class Rungs:
    """The rungs of a search, which follow its record.

    Args:
        study: the record.
        most_reports: of any configuration.
        planned: trials there will be.
        grace_period: report number of the first rung.
        reduction_factor: η.
    """

    def __init__(
        self,
        study: Study,
        most_reports: int,
        planned: int,
        *,
        grace_period: int,
        reduction_factor: int,
    ):
        self._trials = study.trials
        fixed = sum(trial.fixed for trial in study.trials)
        self._places = plan_rungs(grace_period, reduction_factor, most_reports, planned, fixed)
        self._rungs = {step: Rung({}, reduction_factor) for step in self._places}
        study.follow(self._update)

    @property
    def steps(self) -> tuple[int, ...]:
        """Report numbers of the rungs, lowest first."""
        return tuple(self._places)

    def verdict(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:
        """See ``Scheduler``."""
        if report.step not in self._rungs:
            return "continue", ""
        rung = self._rungs[report.step]
        rung.put(trial.number, report.score)
        try:
            return self._decide(rung, trial, report.step), self._standing(report.step, trial.number)
        finally:
            rung.remove(trial.number)

    def _decide(self, rung: Rung, trial: TrialRecord, step: int) -> Verdict:
        """What to do with a trial whose score is put into the rung of this step."""
        raise NotImplementedError

    def _update(self, trial: TrialRecord) -> None:
        for step, rung in self._rungs.items():
            if len(trial.reports) < step:
                return
            went_on = trial.went_on_from(step)
            rung.put(
                trial.number,
                trial.reports[step - 1].score,
                fixed=trial.fixed,
                gone_on=went_on,
                over=trial.is_over and not went_on,
            )

    def _standing(self, step: int, number: int) -> str:
        return f"rung {self.steps.index(step) + 1}: {self._rungs[step].standing(number)}"


class Asha(Rungs):
    """ASHA by promotion, Algorithm 2 of the paper.

    Every trial pauses at a rung, and whenever a slot is free the best of those in the top 1/η of a
    rung continues. Ours differs in two ways. Trials that must run to their end (the baseline, fixed
    lists) are among the scores of a rung but take none of its places, and of a rung of n never
    more than ⌊n/η⌋ are promoted, where the paper's rule can promote more as later trials push
    earlier ones from the top.
    """

    def pause_steps(self, trial: TrialRecord) -> tuple[int, ...]:
        return () if trial.fixed else self.steps

    def _decide(self, rung: Rung, trial: TrialRecord, step: int) -> Verdict:
        higher = [other for at, other in self._promoting().items() if at > step]
        # A pause that would end at once is none.
        if (
            step in self._promoting()
            and rung.promotable() == trial.number
            and all(other.promotable() is None for other in higher)
        ):
            return "promote"
        return "pause"

    def promotable(self) -> Promotion | None:
        """The best paused trial of the highest rung that has one to promote."""
        for step, rung in reversed(self._promoting().items()):
            number = rung.promotable()
            if number is not None:
                return Promotion(self._trials[number], step, self._standing(step, number))
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:
        """The trials paused at a step for which no place can come free any more."""
        if step not in self._rungs:
            return []
        rung = self._rungs[step]
        most = max(self._places[step], len(rung.scores))
        can = f"of {most} at most {most // rung.factor} can"
        return [
            (self._trials[number], f"{self._standing(step, number)}; {can}")
            for number in sorted(rung.hopeless(most))
            if self._trials[number].paused_at == step
        ]

    def _promoting(self) -> dict[int, Rung]:
        """The rungs from which trials may continue, by their steps, lowest first."""
        return self._rungs


class AshaStop(Rungs):
    """ASHA by stopping: a trial never pauses; at a rung it continues at once or ends."""

    def pause_steps(self, trial: TrialRecord) -> tuple[int, ...]:  # noqa: ARG002
        return ()

    def _decide(self, rung: Rung, trial: TrialRecord, step: int) -> Verdict:  # noqa: ARG002
        return "continue" if rung.goes_on_at_once(trial.number) else "stop"

    def promotable(self) -> Promotion | None:
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:  # noqa: ARG002
        return []
