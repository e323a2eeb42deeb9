"""Models and training states on disk: saved whole or not at all, loaded without running code.

A saved model is a folder in the Hugging Face layout, which ``transformers.AutoModel`` loads,
with our heads beside it:

    config.json, model.safetensors          the encoder
    tokenizer.json, tokenizer_config.json   its tokenizer
    heads.safetensors                       one head per task
    minbert.json                            ModelInfo
    README.md                               the model card
"""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from tokenizers import Tokenizer

from .card import ModelInfo, model_card
from .encoder import Encoder
from .errors import DamagedError, InputError, first_line
from .files import replacing, write_whole
from .hub import load_pretrained
from .model import MultitaskModel
from .tokenizer import special_names

_ENCODER, _HEADS, INFO = "model.safetensors", "heads.safetensors", "minbert.json"


def save_model(folder: Path, model: MultitaskModel, tokenizer: Tokenizer, info: ModelInfo) -> None:
    """Save a model in a folder, replacing one that is there.

    Each file is replaced in one step. The last one, ``minbert.json``, holds the checksums of the
    weights, so that ``load_model`` recognises a folder whose saving was interrupted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = model.encoder
    heads = {name: tensor.detach().cpu() for name, tensor in model.heads.state_dict().items()}
    weights = {
        _ENCODER: safetensors.torch.save(encoder.hugging_face_state(), {"format": "pt"}),
        _HEADS: safetensors.torch.save(heads, {"format": "pt"}),
    }
    info = info.replace(sha256={name: _sha256(content) for name, content in weights.items()})
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.config.max_positions,
        **special_names(tokenizer),
    }
    files = {
        **weights,
        "config.json": _json(encoder.config.hugging_face(model.config.dropout)),
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": _json(tokenizer_config),
        "README.md": model_card(info).encode(),
        INFO: info.model_dump_json(indent=2).encode(),
    }
    for name, content in files.items():
        write_whole(folder / name, content)


@dataclass(frozen=True)
class SavedModel:
    """A loaded model with its tokenizer and origin, ready to predict."""

    model: MultitaskModel
    tokenizer: Tokenizer
    info: ModelInfo


def load_model(folder: Path) -> SavedModel:
    """Load a model that ``save_model`` saved, on the CPU, ready to predict.

    Raises:
        InputError: there is no saved model, or it is damaged.
    """
    info = read_info(folder)
    for name in (_ENCODER, _HEADS):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing; the model cannot be used, save it again")
        if _sha256(path.read_bytes()) != info.sha256.get(name):
            raise InputError(f"{path} is damaged or of another model; save the model again")
    pretrained = load_pretrained(str(folder))
    encoder = Encoder.from_pretrained(pretrained, info.config.dropout)
    model = MultitaskModel(encoder, info.config, info.tasks, info.classes)
    try:
        model.heads.load_state_dict(safetensors.torch.load_file(folder / _HEADS))
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / _HEADS}: {first_line(error)}") from None
    return SavedModel(model.eval(), pretrained.tokenizer(), info)


def read_info(folder: Path) -> ModelInfo:
    """The ModelInfo of a saved model; InputError if there is none."""
    path = folder / INFO
    if not path.is_file():
        raise InputError(f"{folder} holds no saved model (there is no {INFO} in it)")
    try:
        return ModelInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        raise InputError(f"{path} is damaged at {where}: {first['msg']}") from None


def with_confirmation(read: Callable[[str], bytes], words: str) -> dict[str, bytes]:
    """The files of a saved model that say what a confirmation showed, with these words in them.

    Args:
        read: reads a file of the model by its name.
        words: of the confirmation.

    Returns:
        The new contents by name.

    Raises:
        OSError: a file cannot be read.
        ValidationError: the model's file is damaged.
    """
    info = ModelInfo.model_validate_json(read(INFO)).replace(confirmation=words)
    return {
        "README.md": model_card(info).encode(),
        INFO: info.model_dump_json(indent=2).encode(),
    }


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Save a trainer's state in one step: the file holds all of it, or what it held before."""
    with replacing(path) as file:
        torch.save(state, file)


def load_state(path: Path) -> dict[str, Any]:
    """Load a trainer's state: tensors and plain values only, so that no code is run.

    Raises:
        InputError: the file is missing, torn, or holds anything else.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"{path} is missing; there is no interrupted run to resume") from None
    return read_state(content, str(path))


def read_state(content: bytes, name: str) -> dict[str, Any]:
    """A trainer's state from the content of a file; DamagedError if it is not one."""
    damaged = DamagedError(f"{name} is damaged; train again in another folder")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # damaged or hostile files raise many kinds
        raise damaged from None
    if not isinstance(state, dict):
        raise damaged
    return state


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
