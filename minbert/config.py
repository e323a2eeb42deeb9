"""TrainConfig: every choice of one training run, validated, JSON in and out."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .settings import PathText, Settings, choose
from .tasks import TASK_NAMES, Task
from .weights import EQUAL_WEIGHTS, SelectionRule, Weights, selected_index

Head = Literal["linear", "linear_cosine", "cosine", "difference"]
Precision = Literal["auto", "fp32", "bf16"]
# What multiplies matrices in fp32 on a CPU: torch's BLAS or its oneDNN.
Backend = Literal["blas", "onednn"]


def _split_at_commas(value: Any) -> Any:
    """Command lines give lists as ``1,1.5,1``."""
    return value.split(",") if isinstance(value, str) else value


def _as_three(value: Any) -> Any:
    value = _split_at_commas(value)
    if isinstance(value, (list, tuple)) and len(value) != 3:
        raise ValueError("give three weights for sst, para, sts, such as 1,1.5,1")
    return value


def _some_weight(weights: Weights) -> Weights:
    if sum(weights) == 0:
        raise ValueError("weights must not all be zero")
    return weights


def _in_table_order(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    if not tasks:
        raise ValueError("name at least one task")
    return tuple(task for task in TASK_NAMES if task in tasks)


def _none_as_text(value: Any) -> Any:
    return None if value == "none" else value


def _not_negative(weights: Weights) -> Weights:
    if not all(weight >= 0 for weight in weights) or not math.isfinite(sum(weights)):
        raise ValueError("weights must be finite numbers of at least 0")
    return weights


def _scaled(weights: Weights, tasks: Sequence[Task] = TASK_NAMES) -> Weights:
    """The weights of some tasks, scaled to sum 1, without differences too small to matter."""
    shares = weights.normalised(1.0, tasks)
    return Weights(*(round(shares.get(task, 0.0), 12) for task in TASK_NAMES))


TaskWeights = Annotated[
    Weights,
    BeforeValidator(_as_three),
    AfterValidator(_not_negative),
    AfterValidator(_some_weight),
]
TaskList = Annotated[
    tuple[Task, ...], BeforeValidator(_split_at_commas), AfterValidator(_in_table_order)
]


class InputSettings(Settings):
    """Data and encoder."""

    data: PathText = "toy"
    """'toy' (generated), 'glue' (from the Hugging Face Hub) or a folder in the course layout"""
    encoder: PathText = "minilm"
    """'minilm', 'tiny' (random, to try things out), a folder, or a name on the Hugging Face Hub"""
    layers: Annotated[int, Field(ge=1)] | None = None
    """keep the first N layers of the encoder (default: 2 with the toy data, otherwise all)"""
    tasks: TaskList = TASK_NAMES
    """tasks to load and score, such as sst,sts; only these count in the objective"""
    max_length: Annotated[int, Field(ge=4)] = 128
    """maximum length of a sentence in word pieces, without [CLS] and [SEP]; the rest is cut off"""
    train_limit: Annotated[int, Field(ge=1)] | None = None
    """train on a random sample of N examples per task (default: all)"""
    dev_limit: Annotated[int, Field(ge=1)] | None = None
    """score on a random sample of N dev examples per task (default: all)"""
    strict: bool = False
    """refuse data with any bad row or a gap in the classes (default: drop up to 1 % of bad rows)"""

    @property
    def encoder_layers(self) -> int | None:
        """Layers to keep once the default is applied; None for all."""
        if self.layers is None and self.data == "toy" and self.encoder == "minilm":
            return 2
        return self.layers


class TrainConfig(Settings):
    """How one model is trained."""

    renamed: ClassVar[Mapping[str, str]] = {"keep": "select", "keep_weights": "selection_weights"}

    train_tasks: TaskList = TASK_NAMES
    """tasks to train on"""
    pooling: Literal["cls", "mean"] = "mean"
    """how to get a sentence vector. cls: BERT's pooler over [CLS]; mean: mean over the tokens"""
    pair_encoding: Literal["separate", "joint"] = "separate"
    """how to encode a pair. separate: each sentence alone; joint: as [CLS] a [SEP] b [SEP]"""
    para_head: Head = "difference"
    """paraphrase head on the sentence vectors u and v. linear: of u and v; cosine: of their cosine;
    difference: of u, v, |u-v| and u*v; linear_cosine: for --sts-head only. Joint encoding needs
    linear"""
    para_hidden_layers: Annotated[int, Field(ge=0, le=2)] = 0
    """number of hidden layers in the paraphrase head, 0 to 2"""
    sts_head: Head = "cosine"
    """similarity head on the sentence vectors u and v. linear: of u and v; cosine: their cosine;
    difference: of u, v, |u-v| and u*v; linear_cosine: the cosine of one number for each, the
    paper's first attempt, which learns nothing. Joint encoding needs linear"""
    sts_hidden_layers: Annotated[int, Field(ge=0, le=2)] = 0
    """number of hidden layers in the similarity head, 0 to 2"""

    loss_weights: TaskWeights = EQUAL_WEIGHTS
    """weights of the sst, para and sts losses, of any scale; normalised to mean 1"""
    selection_weights: Annotated[TaskWeights | None, BeforeValidator(_none_as_text)] = None
    """weights of the dev scores in --select weighted, which they imply (default: loss weights)"""
    objective: TaskWeights = EQUAL_WEIGHTS
    """weights of the dev scores in the one score that compares models; normalised to sum 1"""
    select: SelectionRule = "objective"
    """checkpoint selection: which checkpoint to keep. any_task: replace it when any task improves,
    the paper's rule; weighted: the best by --selection-weights; objective: the best by
    --objective; last: the last one"""

    optimizer: Literal["adamw", "radam"] = "adamw"
    """AdamW or RAdam (Liu et al. 2020), both with decoupled weight decay"""
    lr: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """learning rate of the encoder's last layer; a full-size BERT needs 2e-5 to 5e-5"""
    head_lr_multiple: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """learning rate of the heads as a multiple of --lr"""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """learning rate of each encoder layer as a multiple of the rate of the layer above it"""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """weight decay; not applied to biases and LayerNorm"""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """warm-up: share of all steps in which the learning rate rises from 0"""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """learning rate after warm-up: constant, or a linear or cosine decay to 0 at the end"""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """clip gradients to this norm; 0 turns clipping off"""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    """examples per step, all of one task"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """dropout in the encoder and before each head"""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """number of epochs; an epoch has enough steps to see every training example once"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """random seed of the heads' initial values, the order of examples, negatives and dropout"""

    sampling: Literal["sequential", "proportional", "round_robin"] = "proportional"
    """order of the tasks' batches. sequential: one task after another; proportional: drawn at
    random by the size of the task; round_robin: in turn"""
    sampling_exponent: Annotated[float, Field(ge=0, le=1)] = 1.0
    """for --sampling proportional: a task is drawn in proportion to its size to this power, at the
    first step"""
    sampling_exponent_end: Annotated[float, Field(ge=0, le=1)] = 0.2
    """for --sampling proportional: the power at the last step; it changes linearly in between"""
    negatives: Annotated[float, Field(ge=0, le=4)] = 0.0
    """number of negative similarity pairs per true pair, 0 to 4"""
    negative_strategy: Literal["random", "hard"] = "random"
    """second sentence of a negative pair. random: any sentence; hard: a sentence that the untrained
    encoder puts near the first one"""

    reports_per_epoch: Annotated[int, Field(ge=1, le=100)] = 1
    """dev evaluations per epoch"""
    precision: Precision = "auto"
    """precision of matrix products; auto is bf16 on CUDA and fp32 on a CPU"""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not any(map(self.loss_weights.of, self.train_tasks)):
            tasks = ", ".join(self.train_tasks)
            raise ValueError(
                f"loss_weights: {self.loss_weights} gives no weight to any of: {tasks}"
            )
        if self.para_head == "linear_cosine":
            raise ValueError("para_head: linear_cosine is a similarity head only; take cosine")
        if self.pair_encoding == "joint":
            for name in ("para_head", "sts_head"):
                head = getattr(self, name)
                if head != "linear":
                    raise ValueError(
                        f"{name}: {head} needs pair_encoding separate; joint goes with linear"
                    )
        return self

    @classmethod
    def with_new_names(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that an earlier version may have saved, by the names that they have now."""
        return {cls.renamed.get(name, name): value for name, value in saved.items()}

    def replace(self, /, **changes: Any) -> Self:
        """A copy with some fields changed, and with what the changes imply."""
        return super().replace(**self.implied(changes))

    def implied(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes and what they imply: selection weights imply ``weighted``, as they would have no
        effect under ``objective``.
        """
        asked = changes.get("selection_weights") not in (None, "none")
        implies = asked and self.select == "objective"
        return {**({"select": "weighted"} if implies else {}), **changes}

    def effective(self) -> "TrainConfig":
        """The configuration without what has no effect: two that train the same way are equal.

        Fields that are not read get their defaults, and weights are scaled to sum 1.
        """
        usual = TrainConfig.model_fields
        unread: list[str] = []
        if self.sampling != "proportional":
            unread += ["sampling_exponent", "sampling_exponent_end"]
        if not self.negatives:
            unread.append("negative_strategy")
        changes: dict[str, Any] = {name: usual[name].default for name in unread}
        changes["selection_weights"] = None
        if self.select == "weighted":
            weights = _scaled(self.weights_to_select_by)
            if weights == _scaled(self.objective):
                changes["select"] = "objective"
            else:
                changes["selection_weights"] = weights
        changes["loss_weights"] = _scaled(self.loss_weights, self.train_tasks)
        return self.replace(**changes)

    def selects_last(self, history: Sequence[Mapping[Task, float]]) -> bool:
        """Whether a run selects the checkpoint of its last report so far.

        Args:
            history: task scores of all reports so far.
        """
        selected = selected_index(
            history,
            self.select,
            selection_weights=self.weights_to_select_by,
            objective=self.objective,
        )
        return selected == len(history) - 1

    @property
    def weights_to_select_by(self) -> Weights:
        """The selection weights; the loss weights unless ``selection_weights`` is set."""
        return self.selection_weights or self.loss_weights


# The defaults of TrainConfig are the `strong` recipe, so that --help shows what a run will do.

# The paper's best run: section 4, approaches 2 and 4, with the rule of section 4.1; its learning
# rate and epochs are in section 5. What the paper leaves open is as in the course's skeleton:
# [CLS] through the pooler, linear paraphrase head, dropout .3, no schedule, no clipping.
_PAPER = TrainConfig(
    pooling="cls",
    para_head="linear",
    sts_head="cosine",
    select="any_task",
    lr=1e-5,
    weight_decay=0.0,
    warmup=0.0,
    schedule="constant",
    clip_norm=0.0,
    batch_size=8,
    dropout=0.3,
    epochs=6,
    sampling="sequential",
    negatives=1.0,
)

RECIPES: dict[str, TrainConfig] = {
    "strong": TrainConfig(),
    "paper": _PAPER,
    "paper-weighted": _PAPER.replace(select="weighted", selection_weights=(1.5, 1, 1.5)),
}


def recipe(name: str) -> TrainConfig:
    """The recipe called ``name``; InputError for an unknown one."""
    return choose("recipe", name, RECIPES)
