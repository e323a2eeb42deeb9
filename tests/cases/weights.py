"""Weights of encoders in shards, and as they are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from minbert.hub import load_pretrained

from .encoders import Tensors, write_files


def assert_weights(folder: Path, expected: Tensors) -> None:
    found = load_pretrained(str(folder)).weights
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor.numpy()), name


PICKLED = "pytorch_model.bin"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def save_shards(folder: Path, tensors: Tensors, index: Mapping[str, Any] | None = None) -> None:
    """Two files: the layers from the second on, the pooler apart, and all the rest."""
    last = [name for name in tensors if name.startswith("encoder.layer.1.")]
    table = {name: SHARDS[name in last] for name in tensors}
    for file in SHARDS:
        part = {name: tensors[name] for name in tensors if table[name] == file}
        safetensors.torch.save_file(part, folder / file, {"format": "pt"})
    content = {"metadata": {}, "weight_map": table} if index is None else index
    write_files(folder, {"model.safetensors.index.json": content})
