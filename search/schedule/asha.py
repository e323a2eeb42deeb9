"""Asynchronous successive halving (ASHA), computed from the record of a search.

Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934).
"""

from minbert.report import Report
from search.record import TrialRecord, Verdict
from search.storage.study import Study

from .base import Promotion
from .rung import Rung, at_rung, plan_rungs


class Rungs:
    """The rungs of a search.

    Args:
        study: the record; the rungs follow its changes.
        most_reports: the most reports of any configuration.
        planned: number of planned trials.
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
        """The verdict on a trial whose score has been added to the rung of this step."""
        raise NotImplementedError

    def _update(self, trial: TrialRecord) -> None:
        for step, rung in self._rungs.items():
            if len(trial.reports) < step:
                return
            continued = trial.continued_from(step)
            rung.put(
                trial.number,
                trial.reports[step - 1].score,
                fixed=trial.fixed,
                continued=continued,
                over=trial.is_over and not continued,
            )

    def _standing(self, step: int, number: int) -> str:
        return at_rung(self.steps.index(step) + 1, self._rungs[step].standing(number))


class Asha(Rungs):
    """ASHA by promotion, Algorithm 2 of Li et al.

    Every trial pauses at a rung. Whenever a slot is free, the best paused trial in the top 1/η of a
    rung continues. This implementation differs in two ways. Trials that must run to their end (the
    baseline, fixed lists) count among the scores of a rung but take none of its places. And a rung
    of n trials promotes at most ⌊n/η⌋, whereas Algorithm 2 can promote more when later trials push
    earlier ones out of the top.
    """

    def pause_steps(self, trial: TrialRecord) -> tuple[int, ...]:
        return () if trial.fixed else self.steps

    def _decide(self, rung: Rung, trial: TrialRecord, step: int) -> Verdict:
        higher = [other for at, other in self._promoting().items() if at > step]
        # Do not pause a trial that would be promoted at once.
        if (
            step in self._promoting()
            and rung.promotable() == trial.number
            and all(other.promotable() is None for other in higher)
        ):
            return "promote"
        return "pause"

    def promotable(self) -> Promotion | None:
        """The best promotable trial of the highest rung that has one."""
        for step, rung in reversed(self._promoting().items()):
            number = rung.promotable()
            if number is not None:
                return Promotion(self._trials[number], step, self._standing(step, number))
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:
        """Trials paused at a step that can never be promoted, each with the reason in words."""
        if step not in self._rungs:
            return []
        rung = self._rungs[step]
        most = max(self._places[step], len(rung.scores))
        can = f"at most {most // rung.factor} of {most} can continue"
        return [
            (self._trials[number], f"{self._standing(step, number)}; {can}")
            for number in sorted(rung.hopeless(most))
            if self._trials[number].paused_at == step
        ]

    def _promoting(self) -> dict[int, Rung]:
        """The rungs from which trials may continue, by step, lowest first."""
        return self._rungs


class AshaStop(Rungs):
    """ASHA by stopping: trials never pause; at a rung a trial continues at once or ends."""

    def pause_steps(self, trial: TrialRecord) -> tuple[int, ...]:  # noqa: ARG002
        return ()

    def _decide(self, rung: Rung, trial: TrialRecord, step: int) -> Verdict:  # noqa: ARG002
        return "continue" if rung.continues_at_once(trial.number) else "stop"

    def promotable(self) -> Promotion | None:
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:  # noqa: ARG002
        return []
