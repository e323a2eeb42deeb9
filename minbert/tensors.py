"""The weights of a checkpoint: from one file or several, under the names of BertModel."""

import logging
import re
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from .encoder_config import EncoderConfig
from .errors import InputError
from .files import FindFile, check_content, read_json, text_of

log = logging.getLogger(__name__)

# In the order in which transformers looks for them.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"
# Of other frameworks; looked for only if there are no weights.
_OTHER_FILES = ("tf_model.h5", "flax_model.msgpack", "bert_model.ckpt.index")

_FIRST = "embeddings.word_embeddings.weight"
# What holds an encoder: a model for a task, or sentence-transformers.
_HOLDERS = {"bert", "model", "encoder", "auto_model", "0"}
# What wraps a module, anywhere: DataParallel, torch.compile, FSDP, activation checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Keys under which a training checkpoint holds the weights beside other things.
_STATES = ("state_dict", "model_state_dict", "model", "module")

_SAVE_PLAIN = (
    "in the program that made it, save the weights alone with safetensors.torch.save_file as "
    "model.safetensors"
)


def read_weights(name: str, find: FindFile, config: EncoderConfig) -> dict[str, np.ndarray]:
    """Float32 arrays for the tensors of ``config``; a missing pooler is drawn at random.

    Args:
        name: the checkpoint's name, for messages.
        find: finds its files.
        config: the encoder's shape, with the number of layers that are kept.

    Raises:
        InputError: a file or tensor is missing, damaged, of another shape, or not finite.
    """
    path, stored = _open(name, find)
    names = _plain_names(path, stored)
    weights = {}
    for wanted, shape in config.tensor_shapes().items():
        if wanted not in names:
            if wanted.startswith("pooler."):
                continue
            raise InputError(f"{path}: tensor '{wanted}' is missing")
        if len(twice := names[wanted]) > 1:
            listed = " and ".join(f"'{name}'" for name in twice)
            raise InputError(
                f"{path}: tensor '{wanted}' is there more than once, as {listed}; keep one of them"
            )
        file, read = stored[names[wanted][0]]
        weights[wanted] = _checked(file, wanted, read(), shape)
    if len(weights) < len(config.tensor_shapes()):
        log.warning("%s: there is no pooler; made a new one from a fixed seed", path)
        weights |= _new_pooler(config.hidden_size)
    return weights


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """BERT's initial values: normal with standard deviation 0.02."""
    return (0.02 * random.standard_normal(shape)).astype(np.float32)


def _new_pooler(hidden: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "pooler.dense.weight": normal(random, (hidden, hidden)),
        "pooler.dense.bias": np.zeros(hidden, dtype=np.float32),
    }


def _checked(file: Path, name: str, tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    if tensor.is_meta:
        raise InputError(
            f"{file}: tensor '{name}' has a shape but no values (it was saved on the meta device); "
            "load the model onto the CPU and save it again"
        )
    if tensor.is_nested:
        raise InputError(f"{file}: tensor '{name}' is nested, not one array; save it as one array")
    if tuple(tensor.shape) != shape:
        raise InputError(
            f"{file}: tensor '{name}' has shape {tuple(tensor.shape)}, but config.json makes it "
            f"{shape}"
        )
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        kind = str(tensor.dtype if tensor.layout == torch.strided else tensor.layout)
        raise InputError(
            f"{file}: tensor '{name}' holds {kind.removeprefix('torch.')} and not plain floating "
            "point numbers; take the weights from before they were quantized or packed"
        )
    array: np.ndarray = tensor.detach().to(torch.float32).numpy()
    finite = np.isfinite(array)
    if not finite.all():
        raise InputError(
            f"{file}: tensor '{name}' holds nan or inf in {np.sum(~finite):,} of {array.size:,} "
            "values, so nothing can be trained from it; take a checkpoint from before that"
        )
    return array


# Files. Each stored name maps to the file that holds the tensor and a function that reads it.

Stored = dict[str, tuple[Path, Callable[[], Tensor]]]


def _open(name: str, find: FindFile) -> tuple[Path, Stored]:
    for file in WEIGHT_FILES:
        if path := find(file):
            return path, _open_file(path)
        if index := find(file + _INDEX):
            return index, _open_shards(index, find)
    for other in _OTHER_FILES:
        if find(other):
            raise InputError(
                f"encoder '{name}': its weights are only in {other}, which is not a PyTorch file; "
                f"take a checkpoint with {WEIGHT_FILES[0]}"
            )
    raise InputError(
        f"encoder '{name}': there is neither {' nor '.join(WEIGHT_FILES)}; copy the weights there, "
        f"or {WEIGHT_FILES[0]}{_INDEX} with its shards"
    )


def _open_file(path: Path) -> Stored:
    check_content(path)
    is_safetensors = path.suffix == ".safetensors"
    if (text := text_of(path)) is not None:
        kind = "safetensors" if is_safetensors else "plain weights"
        raise InputError(
            f"{path}: not readable as {kind} (a text that begins '{text}'); download it again"
        )
    return _open_safetensors(path) if is_safetensors else _open_pickled(path)


def _open_shards(index: Path, find: FindFile) -> Stored:
    """Tensors of the files that an index names; a file is opened when one of its is read."""
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise InputError(f"{index}: there is no weight_map that gives each tensor its file")
    for file in table.values():
        # Only a plain name: the index may come from anyone, and must not lead out of the folder.
        if not re.fullmatch(r"[\w-][\w.-]*\.(safetensors|bin)", file):
            raise InputError(f"{index}: '{file}' is not the name of a shard in its folder")
    opened: dict[str, Stored] = {}

    def read(stored: str, file: str) -> Tensor:
        if file not in opened:
            path = find(file)
            if path is None:
                raise InputError(
                    f"{index}: the shard {file} is not there; copy or download it again"
                )
            opened[file] = _open_file(path)
        if stored not in opened[file]:
            raise InputError(f"{index}: tensor '{stored}' is not in {file}, as it says")
        return opened[file][stored][1]()

    return {
        stored: (index.with_name(file), partial(read, stored, file))
        for stored, file in table.items()
    }


def _open_safetensors(path: Path) -> Stored:
    # Kept open, so that only the needed part of a large file is read.
    file: Any = _in_safetensors(path, partial(safetensors.safe_open, path, framework="pt"))

    def read(stored: str) -> Tensor:
        tensor: Tensor = _in_safetensors(path, partial(file.get_tensor, stored))
        return tensor

    names: list[str] = _in_safetensors(path, lambda: list(file.keys()))
    return {stored: (path, partial(read, stored)) for stored in names}


def _in_safetensors(path: Path, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not readable as safetensors ({error}); download or copy it again"
        ) from None


def _open_pickled(path: Path) -> Stored:
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or hostile files raise many kinds
        # In our words: torch's message advises to load the file anyway.
        found = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error))
        if found:
            raise InputError(
                f"{path}: not readable as plain weights (it holds Python objects, such as "
                f"{found[1]}, whose loading could run anything); {_SAVE_PLAIN}"
            ) from None
        raise InputError(
            f"{path}: not readable as plain weights (damaged, cut off, or not saved by PyTorch); "
            f"download it again, or {_SAVE_PLAIN}"
        ) from None
    tensors = _state_in(content)
    if not tensors:
        raise InputError(
            f"{path}: not readable as plain weights (not a table of tensors); {_SAVE_PLAIN}"
        )
    return {stored: (path, partial(tensors.__getitem__, stored)) for stored in tensors}


def _state_in(content: object) -> dict[str, Tensor]:
    """The table of tensors in what was loaded: all of it, or a part of a training checkpoint.

    A table with the word embeddings comes first, as a checkpoint may keep other tensors at its top.
    """
    if not isinstance(content, dict):
        return {}
    tables = [
        {
            name: tensor
            for name, tensor in part.items()
            if isinstance(name, str) and isinstance(tensor, Tensor)
        }
        for part in (content, *(content.get(key) for key in _STATES))
        if isinstance(part, dict)
    ]
    holding = (table for table in tables if any(_is_first(name) for name in table))
    return next(holding, None) or next(filter(None, tables), {})


# Names


def _is_first(name: str) -> bool:
    return name == _FIRST or name.endswith("." + _FIRST)


def _plain_names(path: Path, stored: Iterable[str]) -> dict[str, list[str]]:
    """Stored names by BertModel's names, for older, larger and wrapped models too."""
    bare = {
        name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in stored
    }
    prefix = _prefix(path, list(bare.values()))
    names: dict[str, list[str]] = {}
    for name, plain in bare.items():
        if plain.startswith(prefix):
            today = re.sub(
                r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", plain[len(prefix) :])
            )
            names.setdefault(today, []).append(name)
    return names


def _prefix(path: Path, names: list[str]) -> str:
    """The prefix before BertModel's names.

    Raises:
        InputError: it is not a known one, or there are several.
    """
    # Each once: a tensor that is there twice is not a second encoder.
    found = list(dict.fromkeys(name.removesuffix(_FIRST) for name in names if _is_first(name)))
    known = [prefix for prefix in found if _HOLDERS.issuperset(prefix.split(".")[:-1])]
    if len(known) == 1:
        return known[0]
    if not found:
        example = f" (its first is '{min(names)}')" if names else ""
        raise InputError(f"{path}: tensor '{_FIRST}' is missing{example}")
    listed = ", ".join(f"'{prefix}'" for prefix in known or found)
    if len(known) > 1:
        raise InputError(
            f"{path}: holds several encoders, whose names begin with {listed}; keep one of them"
        )
    raise InputError(
        f"{path}: the names of its tensors begin with {listed}, where a BERT's begin with 'bert.' "
        "or nothing; if it is a BERT, rename them"
    )
