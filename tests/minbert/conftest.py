"""A small tokenizer, and a folder with the tiny encoder."""

import json
from pathlib import Path

import pytest
import safetensors.numpy
import safetensors.torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from minbert.hub import Pretrained

from .data_files import WORDS


@pytest.fixture
def folder(tiny: Pretrained, tmp_path: Path) -> Path:
    """The tiny encoder in the Hugging Face layout."""
    path = tmp_path / "encoder"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(tiny.config.hugging_face(dropout=0.1)))
    (path / "tokenizer.json").write_text(tiny.tokenizer_json)
    safetensors.numpy.save_file(tiny.weights, path / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Switched on as in some published files, and to be left alone.
    made.enable_truncation(2)
    made.enable_padding(length=9)
    return made
