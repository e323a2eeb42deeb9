"""The rungs of a search, on its record: who pauses, who goes on, and who has no hope left."""

from minbert.report import Report

from .halving import Rung, plan_rungs
from .record import TrialRecord, Verdict
from .settings import StudySettings
from .study import Study


class Rungs:
    """Halving, asked about the trials of a study as they stand.

    Args:
        study: the record, which the rungs follow.
        settings: of the search.
        most_reports: of any configuration.
        planned: trials there will be.
    """

    def __init__(self, study: Study, settings: StudySettings, most_reports: int, planned: int):
        self._trials, self._settings = study.trials, settings
        self._places: dict[int, int] = {}
        if settings.halving != "none":
            fixed = sum(trial.fixed for trial in study.trials)
            self._places = plan_rungs(
                settings.first_rung, settings.eta, most_reports, planned, fixed
            )
        self._rungs = {step: Rung({}, settings.eta) for step in self._places}
        study.follow(self._update)

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the rungs, lowest first."""
        return tuple(self._places)

    def halve(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:
        """What halving says of a report that is not recorded yet, and why in words."""
        if report.step not in self._rungs:
            return "continue", ""
        rung = self._rungs[report.step]
        rung.put(trial.number, report.score)
        try:
            return self._halve(rung, trial, report.step)
        finally:
            rung.remove(trial.number)

    def _halve(self, rung: Rung, trial: TrialRecord, step: int) -> tuple[Verdict, str]:
        reason = self._standing(step, trial.number)
        if self._settings.halving == "stop":
            return ("continue" if rung.goes_on_at_once(trial.number) else "stop"), reason
        higher = [other for at, other in self._rungs.items() if at > step]
        # A pause that would end at once is none.
        if rung.promotable() == trial.number and all(
            other.promotable() is None for other in higher
        ):
            return "promote", reason
        return "pause", reason

    def promotable(self) -> tuple[TrialRecord, int, str] | None:
        """The best paused trial of the highest rung that has one to promote, its step, and why."""
        for step, rung in reversed(self._rungs.items()):
            number = rung.promotable()
            if number is not None:
                return self._trials[number], step, self._standing(step, number)
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:
        """The trials paused at a step for which no place can come free any more, and why."""
        if step not in self._rungs or self._settings.halving != "promote":
            return []
        rung = self._rungs[step]
        most = max(self._places[step], len(rung.scores))
        can = f"of {most} at most {most // rung.factor} can"
        return [
            (self._trials[number], f"{self._standing(step, number)}; {can}")
            for number in sorted(rung.hopeless(most))
            if self._trials[number].paused_at == step
        ]

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
