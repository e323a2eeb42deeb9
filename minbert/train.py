"""Trainer: trains one configuration and yields a Report at each dev evaluation."""

import hashlib
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .batching import Packed, move, pack_sentences
from .config import Backend, TrainConfig
from .encoder import Encoder
from .errors import InputError
from .evaluate import autocast, embed_sentences, evaluate
from .examples import Dataset, Split
from .hub import Pretrained
from .linear import check_backend, fastest_backend, use_backend
from .model import MultitaskModel
from .negatives import NegativePairs
from .optim import make_optimizer, schedule_factor
from .output import counted
from .process import prepare_process
from .random_state import RandomState
from .report import Report
from .sampling import batch_rows, generator, steps_per_epoch, task_order
from .tasks import TASKS, Task
from .weights import weighted_score


class DivergedError(Exception):
    """Training produced numbers that are not finite; the message says where."""


class Trainer:
    """Trains one configuration, report by report.

    The same configuration, data, encoder, device and number of threads give the same weights bit
    for bit on a CPU, interrupted or not.

    Args:
        config: what to train.
        dataset: all its tasks are scored; those in ``config.train_tasks`` are trained on.
        pretrained: the encoder to start from.
        device: where to train; by default CUDA if available, otherwise the CPU.
        micro_batch: largest number of examples at once; a larger batch is split into several, with
            the same gradient but other dropout masks. By default a whole batch.
        kept: folder on this machine where trainers share what takes long to compute and depends
            only on encoder and data: which sentences are near each other, for hard negatives.

    Attributes:
        linear: the library for matrix products in linear layers on a CPU.
        predictions: dev predictions (examples,) of each task at the last report.

    Raises:
        InputError: the data lack a task to train on, or the configuration does not fit them.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        pretrained: Pretrained,
        device: torch.device | str | None = None,
        micro_batch: int | None = None,
        kept: Path | None = None,
    ):
        _check_fits(config, dataset, pretrained)
        self.config = config
        self.dataset = dataset
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._micro_batch = micro_batch or config.batch_size
        prepare_process(self.device.type)
        self._random = RandomState(config.seed, self.device)
        with self._random.in_use():
            self._make_model(pretrained)
        self._choose_examples(pretrained, kept)
        self._plan_steps()
        self.step = 0
        self.reports: list[Report] = []
        self.predictions: dict[Task, np.ndarray] = {}
        self._examples = 0
        self._negatives_seen = 0
        self._start_epoch(0)
        self._start_interval()

    @property
    def finished(self) -> bool:
        return len(self.reports) == self.config.epochs * self.config.reports_per_epoch

    @property
    def at_report(self) -> bool:
        """The last report is of the current weights."""
        return bool(self.reports) and self.step == self._step_of_report(len(self.reports))

    @property
    def tokens_per_second(self) -> float:
        """Training tokens per second since the last report."""
        return self._tokens / self._seconds if self._seconds else 0.0

    @property
    def kept(self) -> Report | None:
        """The report whose checkpoint the run keeps so far."""
        return next((report for report in reversed(self.reports) if report.kept), None)

    def next_report(self, on_step: Callable[["Trainer"], None] | None = None) -> Report:
        """Train up to the next dev evaluation, and evaluate.

        Args:
            on_step: called after every optimizer step. It may raise: the trainer is then between
                two steps, and its state can be saved.

        Raises:
            DivergedError: the losses, gradients or predictions are no longer finite.
        """
        if self.finished:
            raise RuntimeError("all epochs are trained")
        goal = self._step_of_report(len(self.reports) + 1)
        with self._random.in_use():
            while self.step < goal:
                self._train_step()
                if on_step is not None:
                    on_step(self)
        report = self._make_report()
        self.reports.append(report)
        self._start_interval()
        return report

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, as tensors and plain values."""
        return {
            "config": self.config.model_dump_json(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "chance": self._random.state_dict(),
            "linear": self.linear,
            "step": self.step,
            "examples": self._examples,
            "negatives": self._negatives_seen,
            "interval": {
                "losses": dict(self._losses),
                "batches": dict(self._batches),
                "grad_norms": self._grad_norms,
                "tokens": self._tokens,
                "seconds": self._seconds,
            },
            "reports": [report.model_dump_json() for report in self.reports],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a trainer of the same configuration, data and encoder.

        Raises:
            InputError: the state is of another configuration.
        """
        if TrainConfig.model_validate_json(state["config"]) != self.config:
            raise InputError("the saved state is of another configuration; train again")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._random.load_state_dict(state["chance"])
        # A run keeps its back-end, so that an interruption changes no bit.
        self._use_backend(check_backend(state.get("linear", "blas")))
        self.step = state["step"]
        self._examples = state["examples"]
        self._negatives_seen = state["negatives"]
        self.reports = [Report.model_validate_json(report) for report in state["reports"]]
        self._start_epoch(min(self.step // self.steps_per_epoch, self.config.epochs - 1))
        self._start_interval()
        interval = state["interval"]
        self._losses = {task: loss.to(self.device) for task, loss in interval["losses"].items()}
        self._batches = dict(interval["batches"])
        self._grad_norms = interval["grad_norms"].to(self.device)
        self._tokens = interval["tokens"]
        self._seconds = interval["seconds"]

    def _make_model(self, pretrained: Pretrained) -> None:
        encoder = Encoder.from_pretrained(pretrained, self.config.dropout)
        data = self.dataset
        self.model = MultitaskModel(encoder, self.config, data.tasks, data.classes)
        self.model.to(self.device).train()
        shape = encoder.config
        on_cpu = self.device.type == "cpu"
        self._use_backend(
            fastest_backend(shape.hidden_size, shape.intermediate_size) if on_cpu else "blas"
        )
        self.optimizer = make_optimizer(self.model, self.config)

    def _use_backend(self, backend: Backend) -> None:
        self.linear = backend
        use_backend(self.model, backend)

    def _choose_examples(self, pretrained: Pretrained, kept: Path | None) -> None:
        """The examples and negatives of each task trained on, and the weight of its loss."""
        tasks = self.config.train_tasks
        self._loss_weights = self.config.loss_weights.normalised(len(tasks), tasks)
        self._train = {task: self.dataset.splits[task]["train"] for task in tasks}
        self._negatives = self._make_negatives(pretrained, kept)
        self._sizes = {task: len(split) for task, split in self._train.items()}
        if self._negatives is not None:
            self._sizes["sts"] += self._negatives.count

    def _plan_steps(self) -> None:
        self.steps_per_epoch = steps_per_epoch(self._sizes, self.config.batch_size)
        if self.steps_per_epoch < self.config.reports_per_epoch:
            raise InputError(
                f"reports_per_epoch: an epoch has only {counted(self.steps_per_epoch, 'step')}, "
                f"too few for {counted(self.config.reports_per_epoch, 'report')}"
            )
        self.steps = self.config.epochs * self.steps_per_epoch

    def _make_negatives(self, pretrained: Pretrained, kept: Path | None) -> NegativePairs | None:
        config = self.config
        if config.negatives == 0 or "sts" not in config.train_tasks:
            return None
        split = self._train["sts"]
        if config.negative_strategy == "random":
            return NegativePairs(split, config.negatives)
        # The encoder is still untrained here.
        embed = partial(embed_sentences, self.model, self.dataset, split)
        if kept is not None:
            kept = kept / self._hash_of_embeddings(pretrained, split)
        return NegativePairs(split, config.negatives, embed, kept)

    def _hash_of_embeddings(self, pretrained: Pretrained, split: Split) -> str:
        """A hash of all that the untrained encoder's vectors of a split depend on, to the last bit.

        The hardware and the threads count too: sums in another order differ in their last bits.
        """
        on_cuda = self.device.type == "cuda"
        card = torch.cuda.get_device_name(self.device) if on_cuda else None
        computed_by = (torch.__version__, card, self.linear, torch.get_num_threads())
        frame = (self.dataset.cls_id, self.dataset.sep_id)
        digest = hashlib.sha256(
            repr((computed_by, self.config.precision, frame, pretrained.config)).encode()
        )
        assert split.second is not None
        arrays = [split.tokens, split.offsets, split.first, split.second]
        arrays += [weights for _, weights in sorted(pretrained.weights.items())]
        for array in arrays:
            digest.update(repr((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _step_of_report(self, number: int) -> int:
        """Optimizer step after which report ``number`` (from 1) is made."""
        epochs, part = divmod(number, self.config.reports_per_epoch)
        within = math.ceil(part * self.steps_per_epoch / self.config.reports_per_epoch)
        return epochs * self.steps_per_epoch + within

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._task_order = task_order(self.config, self._sizes, epoch)
        # Number of each step among the steps of its own task.
        counts = dict.fromkeys(self._sizes, -1)
        self._batch_of_task = []
        for task in self._task_order:
            counts[task] += 1
            self._batch_of_task.append(counts[task])
        if self._negatives is not None:
            self._drawn = self._negatives.draw(generator(self.config.seed, 2, epoch))

    def _start_interval(self) -> None:
        """Reset the sums since the last report."""
        zero = torch.zeros((), device=self.device)
        self._losses = {task: zero.clone() for task in self._sizes}
        self._batches = dict.fromkeys(self._sizes, 0)
        self._grad_norms = zero.clone()
        self._tokens = 0
        self._seconds = 0.0

    def _train_step(self) -> None:
        start = time.perf_counter()
        epoch, within = divmod(self.step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._start_epoch(epoch)
        task = self._task_order[within]
        size = self._sizes[task]
        rows = batch_rows(self.config, task, size, epoch, self._batch_of_task[within])
        self.optimizer.zero_grad()
        for start_row in range(0, len(rows), self._micro_batch):
            part = rows[start_row : start_row + self._micro_batch]
            packed, labels = self._make_batch(task, part)
            tokens = len(packed.ids)
            packed, labels = move(packed, labels, self.device)
            with autocast(self.device, self.config.precision):
                outputs = self.model(task, packed)
            share = len(part) / len(rows)
            loss = self.model.loss(task, outputs, labels) * share
            (loss * self._loss_weights[task]).backward()  # type: ignore[no-untyped-call]  # torch's own
            # Sums stay on the device: reading them each step would make it wait.
            self._losses[task] += loss.detach()
            self._tokens += tokens
        factor = schedule_factor(self.step, self.steps, self.config)
        self._grad_norms += self.optimizer.step(factor, self.config.clip_norm)
        self._batches[task] += 1
        self._examples += len(rows)
        self.step += 1
        self._seconds += time.perf_counter() - start

    def _make_batch(self, task: Task, rows: np.ndarray) -> tuple[Packed, torch.Tensor]:
        """Packed sequences and labels (E,) of rows; rows from len(split) on are negatives."""
        split = self._train[task]
        assert split.labels is not None
        true = rows[rows < len(split)]
        first = split.first[true]
        second = None if split.second is None else split.second[true]
        labels = np.zeros(len(rows), dtype=np.float32)
        labels[: len(true)] = split.labels[true]
        if len(true) < len(rows) and second is not None:
            drawn = rows[rows >= len(split)] - len(split)
            first = np.concatenate([first, self._drawn[0][drawn]])
            second = np.concatenate([second, self._drawn[1][drawn]])
            self._negatives_seen += len(drawn)
        packed = pack_sentences(
            split.tokens,
            split.offsets,
            first,
            second,
            self.model.is_joint,
            self.dataset.cls_id,
            self.dataset.sep_id,
        )
        return packed, torch.from_numpy(labels)

    def _make_report(self) -> Report:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        losses = {
            task: float(self._losses[task]) / batches
            for task, batches in self._batches.items()
            if batches
        }
        grad_norm = float(self._grad_norms) / max(1, sum(self._batches.values()))
        where = f"by step {self.step} of {self.steps}; a lower lr or a longer warmup may help"
        for task, loss in losses.items():
            if not math.isfinite(loss):
                raise DivergedError(f"the {task} loss became {loss} {where}")
        if not math.isfinite(grad_norm):
            raise DivergedError(f"the gradient norm became {grad_norm} {where}")
        start = time.perf_counter()
        results = evaluate(self.model, self.dataset)
        dev_seconds = time.perf_counter() - start
        self.predictions = {task: result.predictions for task, result in results.items()}
        scores = {task: result.score for task, result in results.items()}
        if not all(map(math.isfinite, scores.values())):
            raise DivergedError(f"the dev scores became {scores} {where}")
        history = [*(report.scores for report in self.reports), scores]
        return Report(
            step=len(history),
            epoch=self.step / self.steps_per_epoch,
            examples=self._examples,
            scores=scores,
            score=weighted_score(scores, self.config.objective),
            kept=self.config.selects_last(history),
            metrics={task: result.metrics for task, result in results.items()},
            losses=losses,
            negatives=self._negatives_seen,
            lr=self.config.lr * schedule_factor(self.step - 1, self.steps, self.config),
            grad_norm=grad_norm,
            tokens=self._tokens,
            train_seconds=self._seconds,
            dev_seconds=dev_seconds,
            linear=self.linear,
        )


def _check_fits(config: TrainConfig, dataset: Dataset, pretrained: Pretrained) -> None:
    """Raise InputError where the data or the encoder lack what the configuration needs."""
    missing = [task for task in config.train_tasks if task not in dataset.tasks]
    if missing:
        raise InputError(
            f"train_tasks: the data have no {missing[0]}; they have: {', '.join(dataset.tasks)}"
        )
    has_pairs = any(TASKS[task].is_pair for task in dataset.tasks)
    if config.pair_encoding == "joint" and has_pairs and pretrained.config.segments < 2:
        raise InputError(
            f"pair_encoding: encoder '{pretrained.name}' knows one segment only and cannot "
            "encode pairs jointly; take separate"
        )
    for name, weights, tasks in (
        ("loss_weights", config.loss_weights, config.train_tasks),
        ("selection_weights", config.weights_to_select_by, dataset.tasks),
        ("objective", config.objective, dataset.tasks),
    ):
        if sum(map(weights.of, tasks)) == 0:
            raise InputError(f"{name}: {weights} gives no weight to any of: {', '.join(tasks)}")
