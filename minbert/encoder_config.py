"""The shape of a BERT encoder, and what its checkpoint holds under Hugging Face's names."""

from dataclasses import dataclass
from typing import Any, Literal

# Hugging Face's names; gelu_new is the older name of gelu_pytorch_tanh.
Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of a BERT encoder."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    max_positions: int
    segments: int
    activation: Activation
    layer_norm_eps: float

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor of a checkpoint, under the names of Hugging Face's BertModel."""
        hidden, wide = self.hidden_size, self.intermediate_size
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocab_size, hidden),
            "embeddings.position_embeddings.weight": (self.max_positions, hidden),
            "embeddings.token_type_embeddings.weight": (self.segments, hidden),
            "embeddings.LayerNorm.weight": (hidden,),
            "embeddings.LayerNorm.bias": (hidden,),
        }
        for layer in range(self.layers):
            for name, (outputs, inputs) in {
                "attention.self.query": (hidden, hidden),
                "attention.self.key": (hidden, hidden),
                "attention.self.value": (hidden, hidden),
                "attention.output.dense": (hidden, hidden),
                "intermediate.dense": (wide, hidden),
                "output.dense": (hidden, wide),
            }.items():
                shapes[f"encoder.layer.{layer}.{name}.weight"] = (outputs, inputs)
                shapes[f"encoder.layer.{layer}.{name}.bias"] = (outputs,)
            for name in ("attention.output.LayerNorm", "output.LayerNorm"):
                shapes[f"encoder.layer.{layer}.{name}.weight"] = (hidden,)
                shapes[f"encoder.layer.{layer}.{name}.bias"] = (hidden,)
        shapes["pooler.dense.weight"] = (hidden, hidden)
        shapes["pooler.dense.bias"] = (hidden,)
        return shapes

    def hugging_face(self, dropout: float) -> dict[str, Any]:
        """The content of the ``config.json`` that goes with ``Encoder.hugging_face_state``."""
        return {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_positions,
            "type_vocab_size": self.segments,
            "hidden_act": self.activation,
            "layer_norm_eps": self.layer_norm_eps,
            "position_embedding_type": "absolute",
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }
