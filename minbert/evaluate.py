"""Predictions of a model, their scores, and files of predictions in the course's format."""

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .batching import batches_by_tokens, pack, pack_sentences
from .config import InputSettings, Precision
from .errors import InputError
from .examples import Dataset, Split
from .model import MultitaskModel
from .settings import command_of
from .tasks import TASKS, SplitName, Task

# Tokens per batch, with padding: enough to keep the processor busy, few enough to fit.
_TOKENS_AT_ONCE = {"cpu": 4_096, "cuda": 65_536}


@dataclass(frozen=True)
class TaskResult:
    """A task's predictions and their scores.

    Attributes:
        score: accuracy (sst, para) or Pearson correlation (sts); the task score.
        metrics: macro F1 and confusion (sst; rows are labels, columns predictions), F1 (para),
            Spearman (sts); ``constant`` is True if all predictions are the same.
        predictions: (examples,) float32, as ``predict_split`` returns them.
    """

    score: float
    metrics: dict[str, Any]
    predictions: np.ndarray


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """bf16 arithmetic for ``bf16``, and for ``auto`` on CUDA; otherwise float32."""
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@torch.inference_mode()
def predict_split(model: MultitaskModel, dataset: Dataset, split: Split) -> np.ndarray:
    """The model's predictions for a split, without dropout.

    Returns:
        (examples,) float32: classes (sst), probabilities of a paraphrase (para), 0 to 5 (sts).
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    predictions = np.empty(len(split), dtype=np.float32)
    lengths = np.diff(split.offsets)[split.first]
    if split.second is not None:
        lengths = lengths + np.diff(split.offsets)[split.second]
    for rows in batches_by_tokens(lengths + 3, _TOKENS_AT_ONCE[device.type]):
        packed = pack(split, rows, model.is_joint, dataset.cls_id, dataset.sep_id).to(device)
        with autocast(device, model.config.precision):
            outputs = model(split.task, packed)
        predictions[rows] = model.predictions(split.task, outputs).cpu().numpy()
    model.train(was_training)
    return predictions


@torch.inference_mode()
def embed_sentences(
    model: MultitaskModel, dataset: Dataset, split: Split, sentences: np.ndarray
) -> np.ndarray:
    """Mean-pooled encoder vectors (n, H) of n of a split's sentences, without dropout."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    lengths = np.diff(split.offsets)[sentences]
    vectors = np.empty((len(lengths), model.encoder.config.hidden_size), dtype=np.float32)
    for rows in batches_by_tokens(lengths + 2, _TOKENS_AT_ONCE[device.type]):
        packed = pack_sentences(
            split.tokens,
            split.offsets,
            sentences[rows],
            None,
            False,
            dataset.cls_id,
            dataset.sep_id,
        ).to(device)
        with autocast(device, model.config.precision):
            hidden = model.encoder(packed)  # (T, H)
        vectors[rows] = model.encoder.pool_mean(hidden, packed).float().cpu().numpy()
    model.train(was_training)
    return vectors


def grade(task: Task, predictions: np.ndarray, labels: np.ndarray, classes: int) -> TaskResult:
    """Score predictions (examples,) against labels (examples,) on the same scale."""
    constant = bool(np.ptp(predictions) == 0)
    if task == "sst":
        confusion = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(confusion, (labels.astype(np.int64), predictions.astype(np.int64)), 1)
        accuracy = float((predictions == labels).mean())
        metrics: dict[str, Any] = {
            "macro_f1": _macro_f1(confusion),
            "confusion": confusion.tolist(),
        }
        return TaskResult(accuracy, {**metrics, "constant": constant}, predictions)
    if task == "para":
        yes, truly = predictions > 0.5, labels > 0.5
        found = float((yes & truly).sum())
        f1 = 2 * found / max(1.0, float(yes.sum() + truly.sum()))
        metrics = {"f1": f1, "constant": constant}
        return TaskResult(float((yes == truly).mean()), metrics, predictions)
    # A correlation with a constant is undefined; it scores 0.
    undefined = constant or bool(np.ptp(labels) == 0)
    pearson = 0.0 if undefined else _correlation(predictions, labels)
    spearman = 0.0 if undefined else _correlation(_ranks(predictions), _ranks(labels))
    return TaskResult(pearson, {"spearman": spearman, "constant": constant}, predictions)


# Not scipy.stats, which each worker would take most of a second to import.
def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (n,) from the smallest value up; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = np.cumsum(counts) - (counts - 1) / 2
    return ranks[places]


def _macro_f1(confusion: np.ndarray) -> float:
    """Mean of 2·right / (predicted + labelled) over the classes that are predicted or labelled."""
    right = np.diag(confusion).astype(np.float64)
    seen = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * right[seen > 0] / seen[seen > 0]))


def evaluate(
    model: MultitaskModel, dataset: Dataset, split_name: SplitName = "dev"
) -> dict[Task, TaskResult]:
    """The results of every task whose split has labels."""
    if dataset.classes > model.classes and "sst" in dataset.tasks:
        raise InputError(
            f"the data have {dataset.classes} sentiment classes, the model {model.classes}"
        )
    results = {}
    for task in dataset.tasks:
        split = dataset.splits[task].get(split_name)
        if split is not None and split.labels is not None:
            predictions = predict_split(model, dataset, split)
            results[task] = grade(task, predictions, split.labels, model.classes)
    return results


def evaluate_command(model: str | Path, inputs: InputSettings) -> str:
    """The command that computes a saved model's dev scores again, on the data of its training."""
    words = f"--model {shlex.quote(str(model))} --data {shlex.quote(inputs.data)}"
    limit = f" --dev-limit {inputs.dev_limit}" if inputs.dev_limit else ""
    return f"{command_of('minbert')} evaluate {words}{limit}"


def predict(
    model: MultitaskModel, dataset: Dataset, split_name: SplitName
) -> dict[Task, np.ndarray]:
    """The predictions for every task that has the split."""
    return {
        task: predict_split(model, dataset, splits[split_name])
        for task, splits in dataset.splits.items()
        if split_name in splits
    }


def write_predictions(
    folder: Path, dataset: Dataset, split_name: SplitName, predictions: Mapping[Task, np.ndarray]
) -> list[Path]:
    """Write one file per task as the course's graders read it: ``id , value `` per line.

    Returns:
        The files written. Paraphrases are 0 or 1, similarities have three decimals.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for task, values in predictions.items():
        path = folder / TASKS[task].predictions_file_name(split_name)
        lines = [f"id \t {TASKS[task].prediction_column} \n"]
        for id_, value in zip(dataset.splits[task][split_name].ids, values, strict=True):
            lines.append(f"{id_} , {_as_prediction(task, value)} \n")
        path.write_text("".join(lines), encoding="utf-8")
        paths.append(path)
    return paths


def _as_prediction(task: Task, value: float) -> str:
    if task == "sst":
        return str(int(value))
    return str(int(value > 0.5)) if task == "para" else f"{value:.3f}"
