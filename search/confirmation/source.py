"""Where the trainings of a confirmation come from, for its driver."""

from collections.abc import Callable, Mapping

from minbert.config import TrainConfig
from search.inputs import Fold
from search.record import SearchRecord, TrialRecord
from search.storage.study import Study

from .trainings import ConfirmationPlan, Training, next_confirmation, race_of, training_of


class Trainings:
    """Adds a confirmation's trainings to its study, as trials that run to their end.

    Args:
        study: of the confirmation.
        plan: what to train.
        configs: of the finalists, by the numbers of the search's trials.
        record: its number of planned trials is kept up to date.
    """

    def __init__(
        self,
        study: Study,
        plan: ConfirmationPlan,
        configs: Mapping[int, TrainConfig],
        record: SearchRecord,
    ):
        self._study, self._plan, self._configs, self._record = study, plan, configs, record

    def add_given(self) -> None:
        """Nothing: each training is added when a slot is free for it."""

    def propose(self, refused: Callable[[TrialRecord], None]) -> TrialRecord | None:  # noqa: ARG002
        training = next_confirmation(self._plan, self._study.trials)
        if training == "done":
            self._record.planned = len(self._study.trials)
        if not isinstance(training, Training):
            return None
        number = len(self._study.trials)
        config = self._configs[training.of].replace(seed=training.seed)
        trial = TrialRecord(number, training.name, {}, config, fixed=True, origin=training.kind)
        return self._study.add_trial(trial, begins=True)

    def fold_of(self, trial: TrialRecord) -> Fold | None:
        race = race_of(self._plan, self._study.trials)
        return training_of(self._plan, trial.number, race.rival if race else None).fold
