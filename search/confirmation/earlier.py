"""Trainings of the recipe that earlier confirmations have made, so that none is made twice."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from minbert.config import TrainConfig
from minbert.errors import InputError
from search.inputs import Judge
from search.record import TrialRecord
from search.storage.directory import LocalDirectory
from search.storage.folder import RunFolder
from search.storage.patience import STORAGE_ERRORS
from search.storage.predictions import DevPredictions
from search.storage.provenance import runs_of, versions
from search.storage.study import Study

from .ledger import Ledger
from .trainings import ConfirmationPlan, race_of, training_of


class Reused:
    """A training that an earlier confirmation has made.

    Attributes:
        trial: with its reports and decisions.
        predictions: of that confirmation.
        run: name of its search's run.
    """

    def __init__(self, trial: TrialRecord, predictions: DevPredictions, run: str):
        self.trial, self.predictions, self.run = trial, predictions, run


class EarlierTrainings:
    """Finished trainings of the confirmations beside a run, on the same data by the same program.

    Args:
        folder: of the run; runs beside it in the same folder are looked at. None are if it is in
            an object store.
        plan: of its confirmation.
        setup: of its study.
    """

    def __init__(self, folder: RunFolder, plan: ConfirmationPlan, setup: dict[str, object]):
        self._known: dict[tuple[TrainConfig, Judge | None], Reused] = {}
        for other in _runs_beside(folder):
            # What cannot be read is trained again.
            with contextlib.suppress(InputError, *STORAGE_ERRORS):
                self._read(other, plan, setup)

    def find(self, config: TrainConfig, judge: Judge | None) -> Reused | None:
        """The training of a configuration, which includes its seed; None if there is none."""
        return self._known.get((config, judge))

    def _read(self, folder: RunFolder, plan: ConfirmationPlan, setup: dict[str, object]) -> None:
        with contextlib.closing(folder.load_confirmation()) as study:
            noted = Ledger(study).content("plan")
            if noted is None or not _is_alike(study, setup):
                return
            other = ConfirmationPlan.model_validate(noted)
            if any(getattr(other, name) != getattr(plan, name) for name in _SAME):
                return
            race = race_of(other, study.trials)
            for trial in study.trials:
                training = training_of(other, trial.number, race.rival if race else None)
                if training.of == 0 and trial.state == "finished":
                    predictions = folder.confirmation_predictions
                    if training.judge is None or predictions.judged(trial.number) is not None:
                        key = trial.config, training.judge
                        self._known[key] = Reused(trial, predictions, folder.name)


# Fields of a plan on which the result of a training depends.
_SAME = ("rule", "judge", "folds", "folds_sha256", "data", "test")


def _is_alike(study: Study, setup: dict[str, object]) -> bool:
    """Whether a study was made with the same encoder, by the same versions."""
    runs = runs_of(study)
    same_inputs = all(study.setup.get(name) == setup.get(name) for name in ("encoder", "inputs"))
    return same_inputs and bool(runs) and all(run.versions == versions() for run in runs)


def _runs_beside(folder: RunFolder) -> Iterator[RunFolder]:
    if not isinstance(folder.directory, LocalDirectory):
        return
    for path in sorted(Path(folder.directory.path).parent.iterdir()):
        if path.name != folder.name and (path / "confirmation").is_dir():
            yield RunFolder(path)
