"""What all trials of a search share in memory: the data as arrays, and the encoder."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.examples import Dataset, Split
from minbert.hub import Pretrained, load_pretrained
from minbert.tasks import Task

if TYPE_CHECKING:
    from minbert.folds import Folds


@dataclass(frozen=True)
class Fold:
    """A part of the training examples that a training leaves out, and is judged by afterwards.

    Attributes:
        number: from 0.
        of: the number of folds.
    """

    number: int
    of: int


@dataclass(frozen=True)
class LoadedInputs:
    """The data and the encoder of a search.

    Attributes:
        settings: where both come from.
    """

    settings: InputSettings
    dataset: Dataset
    pretrained: Pretrained

    def folds(self, count: int) -> "Folds":
        """The training examples of all tasks, divided into as many folds."""
        # Imports scipy, which a search's workers do not need.
        from minbert.folds import divide

        splits = self.dataset.splits
        return divide({task: splits[task]["train"] for task in self.dataset.tasks}, count)

    def without(self, fold: "Fold") -> tuple["LoadedInputs", dict[Task, Split]]:
        """The inputs of a training that leaves out a fold, and the examples of that fold."""
        from minbert.folds import leave_out

        dataset, left_out = leave_out(self.dataset, self.folds(fold.of), fold.number)
        return replace(self, dataset=dataset), left_out


def load_inputs(settings: InputSettings) -> LoadedInputs:
    """Load the encoder and the data; InputError if either is missing or malformed."""
    pretrained = load_pretrained(settings.encoder, settings.encoder_layers)
    return LoadedInputs(settings, load_dataset(settings, pretrained.tokenizer()), pretrained)
