"""BERT (Devlin et al. 2018, arXiv 1810.04805) over packed tokens.

Everything but attention works on tokens end to end, (tokens, hidden), so padding costs nothing
there. Attention pads sequences of similar length together. The results equal those of the padded
model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .batching import Packed
from .dropout import Dropout, keep_mask
from .encoder_config import Activation, EncoderConfig
from .errors import InputError
from .linear import Linear
from .lookup import WordEmbedding
from .pretrained import Pretrained


class Encoder(nn.Module):
    """BERT: embeddings, layers, pooler.

    ``forward`` gives hidden states; ``pool_cls`` and ``pool_mean`` make one vector per sequence.
    A new encoder has BERT's random initial values: normal with standard deviation 0.02, biases 0.
    """

    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config, dropout)
        self.layers = nn.ModuleList(_Layer(config, dropout) for _ in range(config.layers))
        self.pooler = Linear(config.hidden_size, config.hidden_size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, pretrained: Pretrained, dropout: float) -> Self:
        """An encoder with the weights of a checkpoint (copied: they may be read-only)."""
        with torch.device("meta"), _NoInitialValues():
            encoder = cls(pretrained.config, dropout)
        thirds: dict[str, list[Tensor]] = {}
        own: dict[str, Tensor] = {}
        for name, part, theirs in _name_table(pretrained.config.layers):
            tensor = torch.tensor(pretrained.weights[theirs])
            if part is None:
                own[name] = tensor
            else:
                thirds.setdefault(name, []).append(tensor)
        own |= {name: torch.cat(parts) for name, parts in thirds.items()}
        encoder.load_state_dict(own, assign=True)
        return encoder

    def hugging_face_state(self) -> dict[str, Tensor]:
        """The weights under the names of Hugging Face's BertModel, detached and on the CPU."""
        own = self.state_dict()
        state = {}
        for name, part, theirs in _name_table(self.config.layers):
            tensor = own[name] if part is None else own[name].chunk(3)[part]
            state[theirs] = tensor.detach().cpu().clone()
        return state

    def depth_of(self, name: str) -> int:
        """Depth of a parameter: embeddings 0, first layer 1, ..., pooler ``layers + 1``.

        Args:
            name: as in ``named_parameters``.
        """
        module, _, rest = name.partition(".")
        if module == "embeddings":
            return 0
        if module == "layers":
            return int(rest.split(".")[0]) + 1
        if module == "pooler":
            return self.config.layers + 1
        raise ValueError(f"no parameter of the encoder: {name}")

    def forward(self, packed: Packed) -> Tensor:
        """Hidden states of the last layer: (tokens, hidden).

        Raises:
            InputError: a sequence is longer than the encoder's positions.
        """
        if packed.longest > self.config.max_positions:
            raise InputError(
                f"a sequence of {packed.longest} tokens exceeds the encoder's "
                f"{self.config.max_positions} positions; lower --max-length"
            )
        hidden: Tensor = self.embeddings(packed)
        layout = _layout(packed)
        for layer in self.layers:
            hidden = layer(hidden, layout)
        return hidden

    def pool_cls(self, hidden: Tensor, packed: Packed) -> Tensor:
        """BERT's pooler, a dense layer and tanh over [CLS]: (sequences, hidden)."""
        return torch.tanh(self.pooler(hidden.index_select(0, packed.starts[:-1])))

    def pool_mean(self, hidden: Tensor, packed: Packed) -> Tensor:
        """Mean over the tokens of each sequence, [CLS] and [SEP] included: (sequences, hidden)."""
        total = hidden.new_zeros(packed.sequences, hidden.shape[1])
        total = total.index_add(0, packed.sequence_of, hidden)
        return total / packed.starts.diff()[:, None]


# On the CPU, sequences whose lengths fall in the same span of this many tokens are padded together.
_LENGTH_SPAN = 16


@dataclass(frozen=True)
class _Layout:
    """How attention pads a batch: group by group, each to its own longest sequence.

    Attributes:
        slots: (tokens,) where each token goes in the padded tokens of all groups end to end.
        masks: for each group (sequences, longest), true where there is a token.
    """

    slots: Tensor
    masks: list[Tensor]

    @property
    def size(self) -> int:
        """Padded tokens of all groups."""
        return sum(mask.numel() for mask in self.masks)


def _layout(packed: Packed) -> _Layout:
    lengths = packed.starts.diff()
    device = lengths.device
    if device.type != "cpu":
        # One group: kernel launches cost more there than padding, and lengths stay on the device.
        real = torch.arange(packed.longest, device=device) < lengths[:, None]
        return _Layout(packed.sequence_of * packed.longest + packed.positions, [real])

    order = lengths.argsort(stable=True)
    spans = (lengths[order] - 1) // _LENGTH_SPAN
    counts = [count for count in torch.bincount(spans).tolist() if count]
    first_slots = torch.empty_like(lengths)
    masks = []
    size = 0
    for group in torch.split(order, counts):
        longest = int(lengths[group[-1]])
        masks.append(torch.arange(longest) < lengths[group, None])
        first_slots[group] = size + torch.arange(len(group)) * longest
        size += masks[-1].numel()
    return _Layout(first_slots[packed.sequence_of] + packed.positions, masks)


class _NoInitialValues(TorchFunctionMode):
    """Modules that are made inside get no initial values, as a checkpoint replaces them.

    Drawing them, even on the meta device, loads torch's compiler, which takes a second and tens of
    megabytes.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


class _Embeddings(nn.Module):
    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        self.words = WordEmbedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_positions, config.hidden_size)
        self.segments = nn.Embedding(config.segments, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, packed: Packed) -> Tensor:
        hidden = self.words(packed.ids)  # (tokens, hidden)
        hidden = hidden + self.positions(packed.positions) + self.segments(packed.segments)
        normed: Tensor = self.dropout(self.norm(hidden))
        return normed


class _Layer(nn.Module):
    """Attention and feed-forward, each with dropout, residual sum and LayerNorm after it."""

    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.heads = config.heads
        self.dropout = Dropout(dropout)
        # Queries, keys and values in one matrix product.
        self.qkv = Linear(hidden, 3 * hidden)
        self.attention_out = Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.up = Linear(hidden, config.intermediate_size)
        self.activation = _activation(config.activation)
        self.down = Linear(config.intermediate_size, hidden)
        self.norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, layout: _Layout) -> Tensor:
        attended = self.attention_out(self._attend(hidden, layout))
        hidden = self.attention_norm(self.dropout.add(hidden, attended))
        output = self.down(self.activation(self.up(hidden)))
        normed: Tensor = self.norm(self.dropout.add(hidden, output))
        return normed

    def _attend(self, hidden: Tensor, layout: _Layout) -> Tensor:
        """Multi-head attention within each sequence: (tokens, hidden) to (tokens, hidden)."""
        qkv = self.qkv(hidden)  # (tokens, 3 * hidden)
        padded = qkv.new_zeros(layout.size, qkv.shape[1]).index_copy(0, layout.slots, qkv)
        outputs = []
        groups = torch.split(padded, [mask.numel() for mask in layout.masks])
        for group, mask in zip(groups, layout.masks, strict=True):
            # 3 tensors of (sequences, heads, longest, head size)
            query, key, value = group.view(*mask.shape, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            output = _attention(query, key, value, mask, self.dropout.p if self.training else 0.0)
            outputs.append(output.transpose(1, 2).reshape(mask.numel(), -1))
        return torch.cat(outputs).index_select(0, layout.slots)


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Scaled dot-product attention, with dropout of the attention probabilities.

    Query, key and value are (sequences, heads, longest, head size); the mask is (sequences,
    longest), true where there is a token.
    """
    mask = mask[:, None, None, :]
    if not dropout or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout)
    # With dropout, torch's own function takes a slow path on a CPU.
    sequences, heads, longest, size = query.shape
    query, key, value = (part.reshape(-1, longest, size) for part in (query, key, value))
    bias = torch.zeros(mask.shape).masked_fill_(~mask, -math.inf)
    bias = bias.expand(-1, heads, -1, -1).reshape(-1, 1, longest)
    scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=1 / math.sqrt(size))
    probabilities = scores.softmax(-1)
    kept, scale = keep_mask(probabilities.shape, dropout)
    output = (probabilities * kept.mul_(scale)) @ value
    return output.view(sequences, heads, longest, size)


def _activation(name: Activation) -> nn.Module:
    if name == "relu":
        return nn.ReLU()
    return nn.GELU(approximate="none" if name == "gelu" else "tanh")


def _name_table(layers: int) -> list[tuple[str, int | None, str]]:
    """Each tensor here and in a checkpoint: our name, which third of it (or None), their name."""
    modules: list[tuple[str, int | None, str]] = [("embeddings.norm", None, "embeddings.LayerNorm")]
    for layer in range(layers):
        ours, theirs = f"layers.{layer}", f"encoder.layer.{layer}"
        modules += [
            (f"{ours}.qkv", 0, f"{theirs}.attention.self.query"),
            (f"{ours}.qkv", 1, f"{theirs}.attention.self.key"),
            (f"{ours}.qkv", 2, f"{theirs}.attention.self.value"),
            (f"{ours}.attention_out", None, f"{theirs}.attention.output.dense"),
            (f"{ours}.attention_norm", None, f"{theirs}.attention.output.LayerNorm"),
            (f"{ours}.up", None, f"{theirs}.intermediate.dense"),
            (f"{ours}.down", None, f"{theirs}.output.dense"),
            (f"{ours}.norm", None, f"{theirs}.output.LayerNorm"),
        ]
    modules.append(("pooler", None, "pooler.dense"))
    return [
        ("embeddings.words.weight", None, "embeddings.word_embeddings.weight"),
        ("embeddings.positions.weight", None, "embeddings.position_embeddings.weight"),
        ("embeddings.segments.weight", None, "embeddings.token_type_embeddings.weight"),
    ] + [
        (f"{ours}.{kind}", part, f"{theirs}.{kind}")
        for ours, part, theirs in modules
        for kind in ("weight", "bias")
    ]
