"""Where the trainings of a confirmation come from, for its driver."""

import time
from collections.abc import Callable, Mapping
from functools import partial

from minbert.config import TrainConfig
from search.inputs import Judge
from search.record import SearchRecord, TrialRecord
from search.storage.predictions import DevPredictions
from search.storage.study import Study

from .earlier import EarlierTrainings, Reused
from .trainings import ConfirmationPlan, Training, next_confirmation, race_of, training_of


class Trainings:
    """Adds a confirmation's trainings to its study, as trials that run to their end.

    Args:
        study: of the confirmation.
        plan: what to train.
        configs: of the finalists, by the numbers of the search's trials.
        predictions: of the confirmation.
        earlier: trainings of the recipe that need not be made again.
        tell: is given a line for the user.
        record: its number of planned trials is kept up to date.
    """

    def __init__(
        self,
        study: Study,
        plan: ConfirmationPlan,
        configs: Mapping[int, TrainConfig],
        predictions: DevPredictions,
        earlier: EarlierTrainings,
        tell: Callable[[str], None],
        record: SearchRecord,
    ):
        self._study, self._plan, self._configs, self._record = study, plan, configs, record
        self._predictions, self._earlier, self._tell = predictions, earlier, tell

    def add_given(self) -> None:
        """Nothing: each training is added when a slot is free for it."""

    def propose(self, refused: Callable[[TrialRecord], None]) -> TrialRecord | None:  # noqa: ARG002
        while True:
            training = next_confirmation(self._plan, self._study.trials)
            if training == "done":
                self._record.planned = len(self._study.trials)
            if not isinstance(training, Training):
                return None
            config = self._configs[training.of].replace(seed=training.seed)
            made = self._earlier.find(config, training.judge) if training.of == 0 else None
            number = len(self._study.trials)
            trial = TrialRecord(number, training.name, {}, config, fixed=True, origin=training.kind)
            self._study.add_trial(trial, begins=True)
            if made is None:
                return trial
            self._take_over(trial, made)

    def _take_over(self, trial: TrialRecord, made: Reused) -> None:
        """Record a training that an earlier confirmation has made."""
        self._study.patience("the predictions cannot be copied", partial(self._copy, trial, made))
        for report, decision in zip(made.trial.reports, made.trial.decisions, strict=True):
            order = self._study.next_order()
            here = decision.replace(attempt=1, order=order, at=time.time())
            self._study.add_report(trial, report, here)
        self._tell(f"  training {trial.number + 1} ({trial.name}) is taken from run {made.run}")

    def _copy(self, trial: TrialRecord, made: Reused) -> None:
        judged = made.predictions.read_judged(made.trial.number)
        if judged is not None:
            self._predictions.write_judged(trial.number, judged)

    def judge_of(self, trial: TrialRecord) -> Judge | None:
        race = race_of(self._plan, self._study.trials)
        return training_of(self._plan, trial.number, race.rival if race else None).judge
