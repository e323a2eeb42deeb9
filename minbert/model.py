"""The multitask model: one shared encoder, one head per task.

Shapes: E examples, S sequences, T tokens, H the encoder's hidden size. A pair encoded separately
is two sequences, the E first sentences before the E second ones; otherwise S = E.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batching import Packed
from .config import TrainConfig
from .dropout import Dropout
from .encoder import Encoder
from .tasks import Task

HIGHEST_SIMILARITY = 5.0


def _perceptron(
    inputs: int, hidden: int, hidden_layers: int, outputs: int, dropout: float
) -> nn.Module:
    """Hidden layers with GELU, then a linear layer; dropout before every linear layer."""
    layers: list[nn.Module] = []
    for _ in range(hidden_layers):
        layers += [Dropout(dropout), nn.Linear(inputs, hidden), nn.GELU()]
        inputs = hidden
    layers += [Dropout(dropout), nn.Linear(inputs, outputs)]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class LinearHead(nn.Module):
    """Class scores or one number from the concatenated vectors of an example."""

    def __init__(self, vectors: int, hidden: int, hidden_layers: int, outputs: int, dropout: float):
        super().__init__()
        self.layers = _perceptron(vectors * hidden, hidden, hidden_layers, outputs, dropout)

    def forward(self, *vectors: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat(vectors, dim=-1))  # (E, outputs)
        return out


class DifferenceHead(nn.Module):
    """One number from u, v, |u−v| and u∗v (Reimers and Gurevych 2019, section 6, with u∗v)."""

    def __init__(self, hidden: int, hidden_layers: int, dropout: float):
        super().__init__()
        self.layers = _perceptron(4 * hidden, hidden, hidden_layers, 1, dropout)

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([u, v, (u - v).abs(), u * v], dim=-1))  # (E, 1)
        return out


class CosineHead(nn.Module):
    """Cosine of u and v, each first sent through the same layers if there are any.

    With ``to_one_number`` both become one number before the cosine, as in the paper's first
    attempt (section 5, approach 2). The prediction is then the sign of their
    product, without gradient.
    With ``as_logit`` the cosine c becomes a·c + b with a and b learned.
    """

    def __init__(
        self,
        hidden: int,
        hidden_layers: int,
        dropout: float,
        *,
        to_one_number: bool = False,
        as_logit: bool = False,
    ):
        super().__init__()
        self.layers: nn.Module = nn.Identity()
        if to_one_number or hidden_layers:
            width = 1 if to_one_number else hidden
            self.layers = _perceptron(hidden, hidden, hidden_layers, width, dropout)
        # A logit of ±5 at cosines 1 and 0: neither flat nor saturated at the start.
        self.scale_and_shift = nn.Parameter(torch.tensor([10.0, -5.0])) if as_logit else None

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        cosine = F.cosine_similarity(self.layers(u).float(), self.layers(v).float(), dim=-1)
        if self.scale_and_shift is not None:
            cosine = self.scale_and_shift[0] * cosine + self.scale_and_shift[1]
        return cosine[:, None]  # (E, 1)


class MultitaskModel(nn.Module):
    """Encoder and heads, with the loss and the predictions that go with each head.

    Args:
        encoder: the shared encoder.
        config: pooling, pair encoding, heads and dropout are read here.
        tasks: the tasks that get a head, also those that are only scored.
        classes: number of sentiment classes.
    """

    def __init__(self, encoder: Encoder, config: TrainConfig, tasks: Sequence[Task], classes: int):
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.tasks = tuple(tasks)
        self.classes = classes
        self.heads = nn.ModuleDict({task: self._make_head(task) for task in tasks})

    def _make_head(self, task: Task) -> nn.Module:
        config, hidden = self.config, self.encoder.config.hidden_size
        if task == "sst":
            return LinearHead(1, hidden, 0, self.classes, config.dropout)
        kind = config.para_head if task == "para" else config.sts_head
        depth = config.para_hidden_layers if task == "para" else config.sts_hidden_layers
        if kind == "linear":
            return LinearHead(1 if self.is_joint else 2, hidden, depth, 1, config.dropout)
        if kind == "difference":
            return DifferenceHead(hidden, depth, config.dropout)
        return CosineHead(
            hidden,
            depth,
            config.dropout,
            to_one_number=kind == "linear_cosine",
            as_logit=task == "para",
        )

    @property
    def is_joint(self) -> bool:
        return self.config.pair_encoding == "joint"

    @property
    def _similarity_is_cosine(self) -> bool:
        return self.config.sts_head in ("cosine", "linear_cosine")

    def embed(self, packed: Packed) -> Tensor:
        """Sequence vectors (S, H)."""
        hidden = self.encoder(packed)  # (T, H)
        if self.config.pooling == "cls":
            return self.encoder.pool_cls(hidden, packed)
        return self.encoder.pool_mean(hidden, packed)

    def forward(self, task: Task, packed: Packed) -> Tensor:
        """The output of the task's head for a batch.

        Returns:
            Class logits (E, classes) for sst; logits (E,) for para; for sts cosines (E,) in
            [−1, 1] with a cosine head, otherwise similarities (E,) of any size.
        """
        vectors = self.embed(packed)
        head = self.heads[task]
        if task == "sst":
            return cast(Tensor, head(vectors))
        if self.is_joint:
            return cast(Tensor, head(vectors)).squeeze(-1)
        u, v = vectors.chunk(2)  # (E, H) each
        return cast(Tensor, head(u, v)).squeeze(-1)

    def loss(self, task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the examples: cross entropy (sst), BCE (para), squared error (sts).

        Args:
            task: the task whose head gave ``outputs``.
            outputs: as ``forward`` returns them.
            labels: (E,) as in the files; a cosine head is trained towards similarity / 5.
        """
        outputs = outputs.float()
        if task == "sst":
            return F.cross_entropy(outputs, labels.long())
        if task == "para":
            return F.binary_cross_entropy_with_logits(outputs, labels)
        if self._similarity_is_cosine:
            labels = labels / HIGHEST_SIMILARITY
        return F.mse_loss(outputs, labels)

    def predictions(self, task: Task, outputs: Tensor) -> Tensor:
        """Predictions (E,): a class (sst), the probability of a paraphrase (para), 0 to 5 (sts)."""
        outputs = outputs.float()
        if task == "sst":
            return outputs.argmax(dim=-1).float()
        if task == "para":
            return outputs.sigmoid()
        if self._similarity_is_cosine:
            outputs = outputs * HIGHEST_SIMILARITY
        return outputs.clamp(0.0, HIGHEST_SIMILARITY)
