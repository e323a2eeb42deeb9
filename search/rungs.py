"""The rungs of a search, on its record: who pauses, who goes on, and who has no hope left."""

from collections.abc import Sequence

from minbert.report import Report

from .halving import Rung, plan_rungs
from .record import TrialRecord, Verdict
from .settings import StudySettings


class Rungs:
    """Halving, asked about the trials of a study as they stand.

    Args:
        trials: of the study; grows.
        settings: of the search.
        most_reports: of any configuration.
        planned: trials there will be.
    """

    def __init__(
        self,
        trials: Sequence[TrialRecord],
        settings: StudySettings,
        most_reports: int,
        planned: int,
    ):
        self._trials, self._settings = trials, settings
        self._places: dict[int, int] = {}
        if settings.halving != "none":
            fixed = sum(trial.fixed for trial in trials)
            self._places = plan_rungs(
                settings.first_rung, settings.eta, most_reports, planned, fixed
            )

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the rungs, lowest first."""
        return tuple(self._places)

    def halve(self, trial: TrialRecord, report: Report) -> tuple[Verdict, str]:
        """What halving says of a report, and why in words."""
        if report.step not in self._places:
            return "continue", ""
        rung = self._at(report.step, {trial.number: report.score})
        reason = self._standing(report.step, rung, trial.number)
        if self._settings.halving == "stop":
            return ("continue" if rung.goes_on_at_once(trial.number) else "stop"), reason
        higher = [step for step in self._places if step > report.step]
        # A pause that would end at once is none.
        if rung.promotable() == trial.number and all(
            self._at(step).promotable() is None for step in higher
        ):
            return "promote", reason
        return "pause", reason

    def promotable(self) -> tuple[TrialRecord, int, str] | None:
        """The best paused trial of the highest rung that has one to promote, its step, and why."""
        for step in reversed(self._places):
            rung = self._at(step)
            number = rung.promotable()
            if number is not None:
                return self._trials[number], step, self._standing(step, rung, number)
        return None

    def hopeless(self, step: int) -> list[tuple[TrialRecord, str]]:
        """The trials paused at a step for which no place can come free any more, and why."""
        if step not in self._places or self._settings.halving != "promote":
            return []
        rung = self._at(step)
        most = max(self._places[step], len(rung.scores))
        hopeful = rung.hopeful(most)
        return [
            (
                trial,
                f"{self._standing(step, rung, trial.number)}; of {most} at most "
                f"{most // rung.factor} can",
            )
            for trial in self._trials
            if trial.paused_at == step and trial.number not in hopeful
        ]

    def _at(self, step: int, coming: dict[int, float] | None = None) -> Rung:
        there = [trial for trial in self._trials if len(trial.reports) >= step]
        moving = [trial for trial in there if not trial.fixed]
        return Rung(
            scores={trial.number: trial.reports[step - 1].score for trial in there}
            | (coming or {}),
            factor=self._settings.eta,
            fixed={trial.number for trial in there if trial.fixed},
            gone_on={trial.number for trial in moving if trial.went_on_from(step)},
            over={t.number for t in moving if t.is_over and not t.went_on_from(step)},
        )

    def _standing(self, step: int, rung: Rung, number: int) -> str:
        return f"rung {list(self._places).index(step) + 1}: {rung.standing(number)}"
