"""Small BERT checkpoints in the Hugging Face layout, with what a test needs changed in them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from minbert.encoder_config import EncoderConfig
from minbert.errors import InputError
from minbert.hub import load_pretrained

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz.,"
WORDS = (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "film")

Tensors = dict[str, torch.Tensor]


def shape_of(words: Sequence[str], **changes: int) -> EncoderConfig:
    sizes: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": 8,
        "layers": 2,
        "heads": 2,
        "intermediate_size": 12,
        "max_positions": 512,
        "segments": 2,
    }
    return EncoderConfig(**{**sizes, **changes}, activation="gelu", layer_norm_eps=1e-12)


def make_tensors(config: EncoderConfig) -> Tensors:
    """Random weights, the same for the same shape."""
    random = np.random.default_rng(0)
    return {
        name: torch.from_numpy(random.normal(0, 0.02, shape).astype(np.float32))
        for name, shape in config.tensor_shapes().items()
    }


def write_encoder(
    folder: Path,
    *,
    words: Sequence[str] = WORDS,
    files: Mapping[str, Any] | None = None,
    weights: Callable[[Path, Tensors], None] | None = None,
    drop: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    **shape: int,
) -> Tensors:
    """Write a checkpoint; returns its weights.

    Args:
        folder: where to; made here.
        words: the vocabulary, written to vocab.txt.
        files: more files by name: text, bytes, or an object for JSON.
        weights: writes the weights; by default to model.safetensors.
        drop: keys that config.json lacks.
        config: keys that config.json has beside its own.
        shape: fields of the encoder's shape.
    """
    made = shape_of(words, **shape)
    tensors = make_tensors(made)
    content = {**made.hugging_face(dropout=0.1), **(config or {})}
    write_files(
        folder,
        {
            "config.json": {key: value for key, value in content.items() if key not in drop},
            "vocab.txt": "\n".join(words) + "\n",
            **(files or {}),
        },
    )
    (weights or save_safetensors)(folder, tensors)
    return tensors


def write_files(folder: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_bytes(text.encode())


def save_safetensors(folder: Path, tensors: Tensors) -> None:
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def save_pickled(folder: Path, content: object) -> None:
    torch.save(content, folder / "pytorch_model.bin")


def refusal(name: Path | str, layers: int | None = None) -> str:
    """What is said of an encoder that is refused, in one line that gives no advice to unpickle."""
    with pytest.raises(InputError) as caught:
        load_pretrained(str(name), layers)
    said = str(caught.value)
    assert "\n" not in said
    for advice in ("weights_only", "add_safe_globals", "pickle.load", "trust"):
        assert advice not in said
    return said
