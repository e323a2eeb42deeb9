"""A BERT checkpoint in memory: read from files in the Hugging Face layout, or made up."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from .encoder import Activation, EncoderConfig
from .errors import InputError

log = logging.getLogger(__name__)

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")

# Gives the path of a file of a checkpoint by its name, or None where there is no such file.
FindFile = Callable[[str], Path | None]


@dataclass(frozen=True)
class Pretrained:
    """A BERT checkpoint as plain arrays, picklable, so Ray's object store maps it zero-copy.

    Attributes:
        name: what it was asked for as.
        config: the encoder's shape, its layers cut to what is kept.
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
        name: what to call it.
        find: where its files are.
        layers: keep the first so many layers; None keeps all.

    Raises:
        InputError: a file is missing, damaged, or not of a BERT that ``Encoder`` can run.
    """
    config_file = find("config.json")
    if config_file is None:
        raise InputError(
            f"encoder '{name}': there is no config.json; is it a folder saved by transformers?"
        )
    config = _read_config(config_file, layers)
    tokenizer = _read_tokenizer(name, find)
    _check_vocabulary(name, tokenizer, config)
    weights = _read_weights(name, find, config)
    return Pretrained(name, config, weights, tokenizer.to_str())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def _read_config(path: Path, layers: int | None) -> EncoderConfig:
    content = _read_json(path)
    model_type = content.get("model_type")
    if model_type != "bert":
        raise InputError(f"{path}: not a BERT (model_type is {model_type!r}); only BERT is read")
    positions = content.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise InputError(f"{path}: position_embedding_type {positions!r} is not supported")
    activation = content.get("hidden_act", "gelu")
    if activation not in get_args(Activation):
        known = ", ".join(get_args(Activation))
        raise InputError(f"{path}: hidden_act {activation!r} is not supported (there are: {known})")

    def size(key: str) -> int:
        value = content.get(key)
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{path}: {key} must be a whole number above 0 (got {value!r})")
        return value

    try:
        layer_norm_eps = float(content.get("layer_norm_eps", 1e-12))
    except (TypeError, ValueError):
        raise InputError(f"{path}: layer_norm_eps must be a number") from None
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
        layer_norm_eps=layer_norm_eps,
    )


def _layers_kept(where: str, asked: int | None, there: int) -> int:
    if asked is not None and not 1 <= asked <= there:
        raise InputError(f"{where}: {asked} layers asked for, but the encoder has {there}")
    return asked or there


def _read_tokenizer(name: str, find: FindFile) -> tokenizers.Tokenizer:
    if path := find("tokenizer.json"):
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special
            raise InputError(f"{path}: not a tokenizer ({error})") from None
    elif path := find("vocab.txt"):
        settings_file = find("tokenizer_config.json")
        settings = _read_json(settings_file) if settings_file else {}
        try:
            words = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable as text ({error})") from None
        lowercase = bool(settings.get("do_lower_case", True))
        tokenizer = _wordpiece(str(path), {word: i for i, word in enumerate(words)}, lowercase)
    else:
        raise InputError(f"encoder '{name}': there is neither {' nor '.join(TOKENIZER_FILES)}")
    for token in ("[CLS]", "[SEP]"):
        if tokenizer.token_to_id(token) is None:
            raise InputError(f"{path}: the vocabulary has no {token}")
    # A checkpoint's own cutting and padding, such as MiniLM's to 128, is not for packed tokens.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _wordpiece(where: str, vocabulary: dict[str, int], lowercase: bool) -> tokenizers.Tokenizer:
    """BERT's tokenizer over a vocabulary."""
    for token in ("[UNK]", "[CLS]", "[SEP]"):
        if token not in vocabulary:
            raise InputError(f"{where}: the vocabulary has no {token}")
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    special = [word for word in vocabulary if re.fullmatch(r"\[(PAD|UNK|CLS|SEP|MASK)\]", word)]
    tokenizer.add_special_tokens(special)
    return tokenizer


def _check_vocabulary(name: str, tokenizer: tokenizers.Tokenizer, config: EncoderConfig) -> None:
    needed = max(tokenizer.get_vocab().values()) + 1
    if needed > config.vocab_size:
        raise InputError(
            f"encoder '{name}': the tokenizer knows {needed} tokens, but vocab_size in config.json "
            f"is {config.vocab_size}; tokenizer and weights are not of one model"
        )


def _read_weights(name: str, find: FindFile, config: EncoderConfig) -> dict[str, np.ndarray]:
    if path := find("model.safetensors"):
        found = _read_safetensors(path, set(config.tensor_shapes()))
    elif path := find("pytorch_model.bin"):
        found = _read_pickled(path)
    else:
        raise InputError(f"encoder '{name}': there is neither {' nor '.join(WEIGHT_FILES)}")

    weights = {}
    for wanted, shape in config.tensor_shapes().items():
        tensor = found.get(wanted)
        if tensor is None:
            if wanted.startswith("pooler."):
                continue
            raise InputError(f"{path}: tensor '{wanted}' is missing")
        if tuple(tensor.shape) != shape:
            raise InputError(
                f"{path}: tensor '{wanted}' has shape {tuple(tensor.shape)}, but config.json "
                f"makes it {shape}"
            )
        weights[wanted] = tensor.to(torch.float32).numpy()
    if len(weights) < len(config.tensor_shapes()):
        log.warning("%s: there is no pooler; made a new one from a fixed seed", path)
        weights |= _new_pooler(config.hidden_size)
    return weights


def _read_safetensors(path: Path, wanted: set[str]) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = {_plain_name(stored): stored for stored in file.keys()}  # noqa: SIM118 - not a dict
            return {
                plain: file.get_tensor(stored) for plain, stored in names.items() if plain in wanted
            }
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not readable as safetensors ({error})") from None


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or hostile files raise many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not readable as plain weights ({reason})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not readable as plain weights (not a table of tensors)")
    return {
        _plain_name(stored): tensor
        for stored, tensor in content.items()
        if isinstance(stored, str) and isinstance(tensor, Tensor)
    }


def _plain_name(stored: str) -> str:
    """BertModel's name of a stored tensor, of older and of larger models too."""
    plain = stored.removeprefix("bert.")
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", plain))


def _new_pooler(hidden: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "pooler.dense.weight": _normal(random, (hidden, hidden)),
        "pooler.dense.bias": np.zeros(hidden, dtype=np.float32),
    }


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """BERT's first values: normal with deviation 0.02."""
    return (0.02 * random.standard_normal(shape)).astype(np.float32)


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
    """A random two-layer encoder that needs no files, for trying things and for tests."""
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
            weights[name] = _normal(random, shape)
    tokenizer = _wordpiece("encoder 'tiny'", vocabulary, lowercase=True)
    return Pretrained("tiny", config, weights, tokenizer.to_str())
