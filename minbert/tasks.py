"""The three tasks as one table: files, columns, labels, loss, metric."""

from dataclasses import dataclass
from typing import Literal

Task = Literal["sst", "para", "sts"]
SplitName = Literal["train", "dev", "test"]

TASK_NAMES: tuple[Task, ...] = ("sst", "para", "sts")


@dataclass(frozen=True)
class TaskSpec:
    """What distinguishes a task from the others.

    Attributes:
        title: the task's name in text.
        file_prefix: the start of the names of its files in the course layout.
        sentence_columns: one column for a single sentence, two for a pair.
        label_column: the column of the right answer; test files lack it.
        highest_label: the largest label allowed; None where the data decide (at least 1).
        whole_labels: labels are whole numbers (classes), not on a scale.
        metric: the name of the task score.
        prediction_column: the header of a predictions file's column, spelt as the course does.
        prediction_prefix: the start of the names of its predictions files.
    """

    name: Task
    title: str
    file_prefix: str
    sentence_columns: tuple[str, ...]
    label_column: str
    highest_label: float | None
    whole_labels: bool
    metric: str
    prediction_column: str
    prediction_prefix: str

    @property
    def is_pair(self) -> bool:
        return len(self.sentence_columns) == 2

    def file_name(self, split: SplitName) -> str:
        """Name of the task's file for a split in the course layout."""
        return f"{self.file_prefix}-{'test-student' if split == 'test' else split}.csv"

    @property
    def labelled_test_name(self) -> str:
        """Name of a file of test examples with labels, which a search never reads."""
        return f"{self.file_prefix}-test.csv"

    def predictions_file_name(self, split: SplitName) -> str:
        """Name of the predictions file for a split, as the course expects it."""
        return f"{self.prediction_prefix}-{split}-output.csv"


TASKS: dict[Task, TaskSpec] = {
    "sst": TaskSpec(
        name="sst",
        title="sentiment",
        file_prefix="ids-sst",
        sentence_columns=("sentence",),
        label_column="sentiment",
        highest_label=None,
        whole_labels=True,
        metric="accuracy",
        prediction_column="Predicted_Sentiment",
        prediction_prefix="sst",
    ),
    "para": TaskSpec(
        name="para",
        title="paraphrase",
        file_prefix="quora",
        sentence_columns=("sentence1", "sentence2"),
        label_column="is_duplicate",
        highest_label=1,
        whole_labels=True,
        metric="accuracy",
        prediction_column="Predicted_Is_Paraphrase",
        prediction_prefix="para",
    ),
    "sts": TaskSpec(
        name="sts",
        title="similarity",
        file_prefix="sts",
        sentence_columns=("sentence1", "sentence2"),
        label_column="similarity",
        highest_label=5,
        whole_labels=False,
        metric="Pearson",
        prediction_column="Predicted_Similiary",
        prediction_prefix="sts",
    ),
}
