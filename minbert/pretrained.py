"""A BERT checkpoint in memory: read from files in the Hugging Face layout, or random."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tokenizers

from .encoder_config import Activation, EncoderConfig
from .errors import InputError
from .files import FindFile, read_json, read_json_list
from .output import counted
from .tensors import normal, read_weights
from .tokenizer import check_row, read_tokenizer, wordpiece

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


@dataclass(frozen=True)
class Pretrained:
    """A BERT checkpoint as plain arrays, picklable, so Ray's object store maps it zero-copy.

    Attributes:
        name: the name by which it was requested.
        config: the encoder's shape, with the number of layers that are kept.
        weights: float32 arrays under the names of Hugging Face's BertModel, the pooler included.
        tokenizer_json: the tokenizer as text; it neither truncates nor pads.
    """

    name: str
    config: EncoderConfig
    weights: dict[str, np.ndarray]
    tokenizer_json: str

    def tokenizer(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self.tokenizer_json)


def read_checkpoint(name: str, find: FindFile, layers: int | None) -> Pretrained:
    """Read a checkpoint of ``config.json``, weights and tokenizer.

    Args:
        name: the checkpoint's name, for messages.
        find: finds its files.
        layers: number of layers to keep, from the first; None keeps all.

    Raises:
        InputError: a file is missing, damaged, or not of a BERT that ``Encoder`` can run.
    """
    find = _find_encoder(name, find)
    config_file = find("config.json")
    if config_file is None:
        raise InputError(
            f"encoder '{name}': there is no config.json; is it a folder saved by transformers?"
        )
    config = _read_config(config_file, layers)
    tokenizer = read_tokenizer(name, find, config.vocab_size)
    _check_vocabulary(name, tokenizer, config)
    weights = read_weights(name, find, config)
    return Pretrained(name, config, weights, tokenizer.to_str())


def _find_encoder(name: str, find: FindFile) -> FindFile:
    """Find the encoder's files, which a sentence-transformers folder may hold one level down."""
    config_file = find("config.json")
    if config_file is not None:
        content = read_json(config_file)
        if "model_type" in content or any(key in content for key in _SIZES):
            return find
    modules_file = find("modules.json")
    if modules_file is None:
        return find
    modules = read_json_list(modules_file)
    if not modules:
        raise InputError(f"{modules_file}: there are no modules in it; copy the folder again")
    first = modules[0] if isinstance(modules[0], dict) else {}
    kind, path = first.get("type"), first.get("path")
    if not isinstance(kind, str):
        raise InputError(f"{modules_file}: the first module has no type; copy the folder again")
    # The module's own config.json says what it holds. In 2019 a module was named by its model.
    if kind.rpartition(".")[2] not in ("Transformer", "BERT"):
        raise InputError(
            f"{modules_file}: the first module is {kind}, not a Transformer; only BERT is read"
        )
    if not isinstance(path, str) or not re.fullmatch(r"([\w-][\w.-]*/?)?", path):
        raise InputError(f"{modules_file}: '{path}' is not the name of a folder beside it")
    folder = path.rstrip("/")
    if not folder:
        return find
    if find(f"{folder}/config.json") is None:
        raise InputError(
            f"encoder '{name}': {modules_file.name} says that the encoder is in {folder}, but "
            f"there is no {folder}/config.json"
        )
    return lambda file: find(f"{folder}/{file}")


def _check_model_type(path: Path, content: dict[str, Any]) -> None:
    model_type = content.get("model_type")
    if model_type is None:
        # The first BERT checkpoints have no model_type, but all of BERT's sizes.
        missing = [key for key in _SIZES if key not in content]
        architectures = content.get("architectures") or []
        if not isinstance(architectures, list):
            architectures = [architectures]
        foreign = [name for name in architectures if not str(name).startswith("Bert")]
        if not missing and not foreign:
            return
        why = f"and there is no {missing[0]}" if missing else f"architectures are {architectures}"
        raise InputError(f"{path}: not a BERT (no model_type, {why}); only BERT is read")
    if model_type != "bert":
        raise InputError(f"{path}: not a BERT (model_type is {model_type!r}); only BERT is read")


def _read_config(path: Path, layers: int | None) -> EncoderConfig:
    content = read_json(path)
    _check_model_type(path, content)
    positions = content.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise InputError(f"{path}: position_embedding_type {positions!r} is not supported")
    if content.get("is_decoder"):
        raise InputError(f"{path}: is_decoder is true; only a BERT that is an encoder is read")
    activation = content.get("hidden_act", "gelu")
    if activation not in get_args(Activation):
        known = ", ".join(get_args(Activation))
        raise InputError(f"{path}: hidden_act {activation!r} is not supported (there are: {known})")

    def size(key: str) -> int:
        value = content.get(key)
        if type(value) is not int or value < 1:
            raise InputError(f"{path}: {key} must be a whole number above 0 (got {value!r})")
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    if hidden % heads:
        raise InputError(
            f"{path}: hidden_size {hidden} is no multiple of num_attention_heads {heads}"
        )
    return EncoderConfig(
        vocab_size=size("vocab_size"),
        hidden_size=hidden,
        layers=_layers_kept(str(path), layers, size("num_hidden_layers")),
        heads=heads,
        intermediate_size=size("intermediate_size"),
        max_positions=size("max_position_embeddings"),
        segments=size("type_vocab_size"),
        activation=activation,
        layer_norm_eps=_layer_norm_eps(path, content.get("layer_norm_eps", 1e-12)),
    )


def _layer_norm_eps(path: Path, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < 1:
        raise InputError(
            f"{path}: layer_norm_eps must be a number above 0 and below 1 (got {value!r})"
        )
    return number


def _layers_kept(where: str, asked: int | None, there: int) -> int:
    if asked is not None and not 1 <= asked <= there:
        raise InputError(
            f"{where}: {counted(asked, 'layer')} asked for, but the encoder has {there}"
        )
    return asked or there


def _check_vocabulary(name: str, tokenizer: tokenizers.Tokenizer, config: EncoderConfig) -> None:
    last, number = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    check_row(name, last, number, config.vocab_size)


# The tiny encoder

_TINY_WORDS = """
a about after again all also always am an and another any are as ask at away back bad be because
been before being best better big book boy bring but buy by call came can car change child city
come could country day did different do does done down eat end even every family far fast father
feel few film find first food for found friend from full fun funny game get girl give go good got
great group had hand happy has have he head help her here him his home hot house how i idea if in
interesting into is it its job just keep kind know language large last later learn leave left less
let life like line little live long look lost love made make man many may me mean men money more
most mother movie much music must my name near need never new next night no not nothing now of off
old on once one only open or other our out over own page part people phone place plan play point
problem put question quick read real really right room run sad said same saw say school see seem
she should show side sister slow small so some song start still stop story such sure take talk
teacher tell than thank that the their them then there these they thing think this those thought
three through time to today together too took tree try turn two under until up us use used very
walk want was watch water way we week well went were what when where which while white who why will
win with without woman word work world would write wrong year yes yet you young your
"""


def make_tiny(layers: int | None) -> Pretrained:
    """A random two-layer encoder that needs no files, for tests and for trying things out."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    words = special + characters + ["##" + character for character in characters]
    words += [word for word in _TINY_WORDS.split() if len(word) > 1]
    vocabulary = {word: number for number, word in enumerate(words)}
    config = EncoderConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        layers=_layers_kept("encoder 'tiny'", layers, 2),
        heads=2,
        intermediate_size=64,
        max_positions=512,
        segments=2,
        activation="gelu",
        layer_norm_eps=1e-12,
    )
    random = np.random.default_rng(0)
    weights = {}
    for name, shape in config.tensor_shapes().items():
        if name.endswith("LayerNorm.weight"):
            weights[name] = np.ones(shape, dtype=np.float32)
        elif name.endswith(".bias"):
            weights[name] = np.zeros(shape, dtype=np.float32)
        else:
            weights[name] = normal(random, shape)
    tokenizer = wordpiece("encoder 'tiny'", vocabulary)
    return Pretrained("tiny", config, weights, tokenizer.to_str())
