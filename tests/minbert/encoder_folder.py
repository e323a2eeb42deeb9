"""Weights under other names, and their comparison."""

import numpy as np
import torch

from minbert.hub import Pretrained

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "The", "film", "##s", "was", "café", "cafe", ",", "!", "漢"]


def assert_same_weights(one: Pretrained, other: Pretrained) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, array in one.weights.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, other.weights[name]), name


def old_names(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The names that the first BERT checkpoints have, and heads that no encoder needs."""
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): torch.from_numpy(array)
        for name, array in weights.items()
    }
    return old | {
        "cls.predictions.bias": torch.ones(3),
        "bert.embeddings.position_ids": torch.ones(3),
    }
