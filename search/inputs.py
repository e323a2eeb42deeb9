"""What all trials of a search share in memory: the data as arrays, and the encoder."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from minbert.config import InputSettings
from minbert.data import LabelledTest, load_dataset, load_labelled_test
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


# What judges a training of a confirmation: a fold that it leaves out, or the labelled test files.
Judge = Fold | Literal["test"]


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

    def judged_by(self, judge: Judge) -> tuple["LoadedInputs", dict[Task, Split]]:
        """The inputs of a training, and the examples that judge it; those of a fold are left out.

        If the labelled test files judge, these inputs are those of ``with_labelled_test``.
        """
        if judge == "test":
            return self, {task: splits["test"] for task, splits in self.dataset.splits.items()}
        from minbert.folds import leave_out

        dataset, left_out = leave_out(self.dataset, self.folds(judge.of), judge.number)
        return replace(self, dataset=dataset), left_out

    def labelled_test(self) -> LabelledTest:
        """The labelled test examples; InputError if the data have none."""
        train = {task: splits["train"] for task, splits in self.dataset.splits.items()}
        return load_labelled_test(self.settings, self.pretrained.tokenizer(), train)

    def with_labelled_test(self, test: LabelledTest) -> "LoadedInputs":
        """These inputs with the labelled test files as the test split, without their labels."""
        splits = {
            task: {**given, "test": replace(test.splits[task], labels=None)}
            for task, given in self.dataset.splits.items()
        }
        return replace(self, dataset=replace(self.dataset, splits=splits))


def load_inputs(settings: InputSettings) -> LoadedInputs:
    """Load the encoder and the data; InputError if either is missing or malformed."""
    pretrained = load_pretrained(settings.encoder, settings.encoder_layers)
    return LoadedInputs(settings, load_dataset(settings, pretrained.tokenizer()), pretrained)
