"""The study as samplers see it.

A paused trial is shown as PRUNED with its last score. In the study it is RUNNING, and TPE would
treat it as a trial without a score: TPE would never leave its random start, and its constant liar
would count promising trials as bad ones.
"""

from collections.abc import Callable, Container

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.record import State, TrialRecord
from search.storage.study import Study


class View(InMemoryStorage):
    """A storage for sampling; all trials except the one being sampled come from a function."""

    def __init__(self, trials: Callable[[], list[FrozenTrial]]):
        super().__init__()
        self._seen = trials

    def get_all_trials(
        self,
        study_id: int,  # noqa: ARG002
        deepcopy: bool = True,  # noqa: ARG002
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        if states == (TrialState.WAITING,):
            # The driver starts waiting trials; Optuna must not.
            return []
        return [trial for trial in self._seen() if states is None or trial.state in states]

    def set_size(self, study_id: int, size: int) -> None:
        """Hold this many trials, so that the next trial gets this number."""
        trials = self._studies[study_id].trials
        while len(trials) > size:
            del self._trial_id_to_study_id_and_number[trials.pop()._trial_id]
        while len(trials) < size:
            self.create_new_trial(study_id)


class TrialsForSampler:
    """The study's trials as FrozenTrials, with some states replaced.

    Args:
        study: the record; this object follows its changes.
        states: trials with reports in these states are shown in another state.
        shown_as: the other state; such a trial is shown with its last score.
        shown_to: is called with each trial that is shown for the first time or has changed.
    """

    def __init__(
        self,
        study: Study,
        states: Container[State],
        shown_as: TrialState,
        shown_to: Callable[[FrozenTrial], None] = lambda _: None,
    ):
        self._study, self._states, self._shown_as = study, states, shown_as
        self._shown_to = shown_to
        self._made: list[FrozenTrial] = []
        # Numbers of trials that changed since they were shown; updated lazily.
        self._changed: set[int] = set()
        study.follow(lambda trial: self._changed.add(trial.number))

    def trials(self) -> list[FrozenTrial]:
        for number in sorted(self._changed):
            shown = self._show(self._study.trials[number])
            self._made[number : number + 1] = [shown]
            self._shown_to(shown)
        self._changed.clear()
        return self._made

    def _show(self, trial: TrialRecord) -> FrozenTrial:
        frozen = self._study.frozen(trial)
        if trial.state not in self._states or not trial.reports:
            return frozen
        return _shown(frozen, self._shown_as, trial.reports[-1].score)


def _shown(frozen: FrozenTrial, state: TrialState, value: float) -> FrozenTrial:
    shown = create_trial(
        state=state,
        value=value,
        params=frozen.params,
        distributions=frozen.distributions,
        system_attrs=frozen.system_attrs,
        intermediate_values=dict(frozen.intermediate_values),
    )
    shown.number, shown._trial_id = frozen.number, frozen._trial_id
    return shown
