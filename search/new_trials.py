"""Where trials come from: what the user gave, then what the sampler proposes."""

from collections.abc import Callable
from typing import Any, Protocol

from minbert.errors import InputError
from minbert.output import counted
from search.analysis.noise import standard_error
from search.propose.points import locate
from search.propose.proposals import Proposer, RefusedError
from search.propose.recorded import RecordedProposer
from search.storage.predictions import DevPredictions
from search.storage.study import Study

from .inputs import Judge
from .plan import FixedTrial, Plan
from .record import SearchRecord, TrialRecord, short_name
from .settings import StudySettings


class Source(Protocol):
    """Where the driver gets trials from. Both methods are functions of the record."""

    def add_given(self) -> None:
        """Add to the queue what is known from the start, as far as the study lacks it."""

    def propose(self, refused: Callable[[TrialRecord], None]) -> TrialRecord | None:
        """Add a trial, whose first attempt starts at once; None if there is none now.

        Args:
            refused: is given each trial that has failed, because it cannot be trained.
        """

    def judge_of(self, trial: TrialRecord) -> Judge | None:
        """The examples that judge a trial's model; None for a trial that only dev scores."""


class NewTrials:
    """Adds trials to a study.

    Args:
        study: the record.
        plan: what to run.
        settings: of the search.
        record: its number of planned trials is kept up to date.
        predictions: of the study; they tell how uncertain a score is.
        tell: is given a line for the user.
    """

    def __init__(
        self,
        study: Study,
        plan: Plan,
        settings: StudySettings,
        record: SearchRecord,
        predictions: DevPredictions,
        tell: Callable[[str], None],
    ):
        self._study, self._plan, self._settings, self._record = study, plan, settings, record
        self._tell = tell
        known = plan.noise
        common: dict[str, Any] = {
            "start": min(10, max(3, plan.trials // 3)),
            "earlier": plan.earlier,
            "noise": lambda: 2 * standard_error(record, predictions) if known is None else known,
        }
        arguments = (study, plan.space, plan.base, settings.sampler, settings.seed)
        self.proposer = (
            RecordedProposer(plan.recorded, *arguments, **common)
            if plan.recorded
            else Proposer(*arguments, **common)
        )

    def add_given(self) -> None:
        """Add the recipe, a fixed list and ``--try``, as far as the study lacks them."""
        trials = self._study.trials
        for given in self._plan.fixed[sum(trial.fixed for trial in trials) :]:
            self._add(given, fixed=True)
        tried = {t.config.effective(): t for t in trials if not t.was_refused}
        for given in self._plan.tries:
            same = tried.get(given.config.effective())
            if same is None:
                self._add(given, fixed=False)
            elif same.origin != "--try":
                self._tell(f"--try {given.name} is trial {same.number} already")
        self._record.planned = max(self._record.planned, len(trials))

    def propose(self, refused: Callable[[TrialRecord], None]) -> TrialRecord | None:
        """Add a proposed trial, whose first attempt starts at once.

        Args:
            refused: is given each trial that has failed, because the space could not make it.

        Returns:
            None if all planned trials exist, or if no configuration is left to propose.
        """
        while len(self._study.trials) < self._record.planned:
            number = len(self._study.trials)
            try:
                proposal = self.proposer.propose()
            except InputError as error:
                refused(self._add_refused(number, error))
                continue
            if proposal is None:
                self._tell(
                    f"space {self._plan.space.name} has no other configuration than those of the "
                    f"{counted(number, 'trial')} so far; the other {self._record.planned - number} "
                    "do not run"
                )
                self._record.planned = number
                self._study.note("planned", number)
                return None
            name = short_name(proposal.fields, proposal.config, self._plan.base)
            trial = TrialRecord(
                number, name, proposal.fields, proposal.config, origin=proposal.origin
            )
            return self._study.add_trial(
                trial,
                proposal.params,
                proposal.distributions,
                proposal.system_attrs,
                begins=True,
            )
        return None

    def judge_of(self, trial: TrialRecord) -> Judge | None:  # noqa: ARG002
        return None

    def _add(self, given: FixedTrial, *, fixed: bool) -> None:
        """Add a given configuration to the queue, with its point if it lies in the space."""
        number = len(self._study.trials)
        origin = "list" if self._plan.space.experiments else "recipe" if number == 0 else "--try"
        trial = TrialRecord(number, given.name, given.fields, given.config, fixed, origin)
        point = locate(self._plan.space, given.config, self._plan.base)
        self._study.add_trial(trial, *(point or ()))

    def _add_refused(self, number: int, error: InputError) -> TrialRecord:
        trial = TrialRecord(number, "refused", {}, self._plan.base, origin=self._settings.sampler)
        trial.error = str(error)
        if isinstance(error, RefusedError):
            return self._study.add_trial(trial, error.params, error.distributions)
        return self._study.add_trial(trial)
