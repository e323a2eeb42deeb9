"""Encoders that come with the package or lie in a folder, and the errors about unreadable ones."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from minbert import hub
from minbert.encoder import Encoder
from minbert.errors import InputError
from minbert.hub import Pretrained, load_pretrained

from .encoder_folder import WORDS, assert_same_weights, old_names


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save_weights(folder: Path, weights: dict[str, np.ndarray]) -> None:
    safetensors.numpy.save_file(weights, folder / "model.safetensors")


# minilm and tiny


def test_minilm_keeps_the_first_layers() -> None:
    whole, cut = load_pretrained("minilm"), load_pretrained("minilm", layers=2)
    assert (whole.config.layers, cut.config.layers) == (6, 2)
    assert whole.config.hidden_size == 384
    assert "encoder.layer.5.output.dense.weight" in whole.weights
    assert not any(name.startswith("encoder.layer.2.") for name in cut.weights)
    name = "encoder.layer.1.output.dense.weight"
    assert np.array_equal(whole.weights[name], cut.weights[name])


def test_minilm_tokenizer_neither_cuts_nor_pads() -> None:
    tokenizer = load_pretrained("minilm", layers=1).tokenizer()
    encoded = tokenizer.encode("Hello " * 300, add_special_tokens=False)
    assert encoded.ids == [7592] * 300
    assert [len(e.ids) for e in tokenizer.encode_batch(["hello", "hello hello"])] == [3, 4]


def test_minilm_of_other_content_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_find_installed", hub._find_in(folder))
    with pytest.raises(InputError, match=r"model\.safetensors: not the weights of all-MiniLM"):
        load_pretrained("minilm")


def test_tiny_is_always_the_same_and_survives_pickling(tiny: Pretrained) -> None:
    assert_same_weights(tiny, load_pretrained("tiny"))
    copy = pickle.loads(pickle.dumps(tiny))
    assert_same_weights(tiny, copy)
    assert copy.tokenizer().encode("a film").ids == tiny.tokenizer().encode("a film").ids


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=90))
def test_tiny_knows_all_printable_characters(text: str) -> None:
    tokenizer = load_pretrained("tiny").tokenizer()
    encoded = tokenizer.encode(text, add_special_tokens=False)
    if "[" not in text:  # the names of special tokens stand in brackets
        assert tokenizer.token_to_id("[UNK]") not in encoded.ids


# A folder


def test_folder_gives_back_what_was_saved(folder: Path, tiny: Pretrained) -> None:
    loaded = load_pretrained(str(folder))
    assert loaded.config == tiny.config
    assert_same_weights(loaded, tiny)
    assert loaded.name == str(folder)


def test_old_names_and_heads(folder: Path, tiny: Pretrained) -> None:
    safetensors.torch.save_file(old_names(tiny.weights), folder / "model.safetensors")
    assert_same_weights(load_pretrained(str(folder)), tiny)


def test_pytorch_bin(folder: Path, tiny: Pretrained) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(old_names(tiny.weights), folder / "pytorch_model.bin")
    assert_same_weights(load_pretrained(str(folder)), tiny)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(folder: Path, tiny: Pretrained, dtype: torch.dtype) -> None:
    halved = {name: torch.from_numpy(array).to(dtype) for name, array in tiny.weights.items()}
    safetensors.torch.save_file(halved, folder / "model.safetensors")
    for name, array in load_pretrained(str(folder)).weights.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, halved[name].float().numpy())


def test_what_transformers_saves_without_pooler(
    folder: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    config = transformers.BertConfig.from_pretrained(folder)
    saved = tmp_path / "saved"
    model: Any = transformers.BertForMaskedLM(config)
    model.save_pretrained(saved)
    (saved / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    loaded = load_pretrained(str(saved))
    assert "there is no pooler; made a new one" in caplog.text
    assert np.array_equal(
        loaded.weights["encoder.layer.1.output.dense.bias"],
        model.bert.encoder.layer[1].output.dense.bias.detach().numpy(),
    )
    again = load_pretrained(str(saved))
    assert_same_weights(loaded, again)
    Encoder.from_pretrained(loaded, dropout=0.0)


@pytest.mark.parametrize("lowercase", [True, False])
def test_vocabulary_file_tokenises_as_transformers_does(folder: Path, lowercase: bool) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    ours = load_pretrained(str(folder)).tokenizer()
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    theirs = transformers.BertTokenizer(vocab=vocabulary, do_lower_case=lowercase)
    texts = [("The films, was café!漢", None), ("the FILM", "café [MASK] films")]
    for text, second in texts:
        encoded = ours.encode(text, second)
        expected = theirs(text, second)
        assert encoded.ids == expected["input_ids"]
        assert encoded.type_ids == expected["token_type_ids"]
    the = ours.encode("The", add_special_tokens=False).tokens
    assert the == (["the"] if lowercase else ["The"])


# What is refused


def without(name: str) -> Callable[[Path, Pretrained], None]:
    def change(folder: Path, tiny: Pretrained) -> None:
        save_weights(folder, {key: array for key, array in tiny.weights.items() if key != name})

    return change


def with_shape(name: str, *shape: int) -> Callable[[Path, Pretrained], None]:
    def change(folder: Path, tiny: Pretrained) -> None:
        save_weights(folder, tiny.weights | {name: np.zeros(shape, dtype=np.float32)})

    return change


def with_config(**changes: Any) -> Callable[[Path, Pretrained], None]:
    return lambda folder, _: edit_config(folder, **changes)


def with_file(name: str, content: str | None) -> Callable[[Path, Pretrained], None]:
    def change(folder: Path, _: Pretrained) -> None:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(content)

    return change


NAME = "encoder.layer.1.attention.self.key.bias"
REFUSED = {
    "missing tensor": (without(NAME), f"model.safetensors: tensor '{NAME}' is missing"),
    "wrong shape": (with_shape(NAME, 31), f"tensor '{NAME}' has shape (31,), but config.json"),
    "small vocabulary": (with_config(vocab_size=100), "but vocab_size in config.json is 100"),
    "large vocabulary": (
        with_config(vocab_size=900),
        "tensor 'embeddings.word_embeddings.weight' has shape (425, 32)",
    ),
    "not a bert": (with_config(model_type="roberta"), "not a BERT (model_type is 'roberta')"),
    "activation": (with_config(hidden_act="silu"), "hidden_act 'silu' is not supported"),
    "positions": (
        with_config(position_embedding_type="relative_key"),
        "position_embedding_type 'relative_key' is not supported",
    ),
    "heads": (with_config(num_attention_heads=5), "hidden_size 32 is no multiple of"),
    "text as size": (with_config(hidden_size="x"), "hidden_size must be a whole number above 0"),
    "no config": (with_file("config.json", None), "there is no config.json"),
    "config is a list": (with_file("config.json", "[]"), "config.json: not a JSON object"),
    "broken config": (with_file("config.json", "{"), "config.json: not readable as JSON"),
    "no weights": (
        with_file("model.safetensors", None),
        "there is neither model.safetensors nor pytorch_model.bin",
    ),
    "broken weights": (with_file("model.safetensors", "x"), "not readable as safetensors"),
    "no tokenizer": (
        with_file("tokenizer.json", None),
        "there is neither tokenizer.json nor vocab.txt",
    ),
    "broken tokenizer": (with_file("tokenizer.json", "{}"), "tokenizer.json: not a tokenizer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named_in_one_line(case: str, folder: Path, tiny: Pretrained) -> None:
    change, message = REFUSED[case]
    change(folder, tiny)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_pretrained(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[UNK]\n[SEP]\nfilm\n", "vocab.txt: the vocabulary has no [CLS]"),
        (b"\xff\xfe", "vocab.txt: not readable as text"),
    ],
)
def test_vocabulary_file_that_cannot_be_used(folder: Path, content: bytes, message: str) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        load_pretrained(str(folder))


@pytest.mark.parametrize("name", ["tiny", "minilm"])
def test_more_layers_than_there_are(name: str) -> None:
    with pytest.raises(InputError, match=r"7 layers asked for, but the encoder has [26]"):
        load_pretrained(name, layers=7)


@pytest.mark.parametrize("name", ["no/such/folder", "./nowhere", ""])
def test_unknown_names_are_told_what_there_is(name: str) -> None:
    with pytest.raises(InputError, match="give minilm, tiny, a folder, or a name on the Hugging"):
        load_pretrained(name)


class Hostile:
    """Creates a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_are_not_run(folder: Path, tmp_path: Path, zipped: bool) -> None:
    proof = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    weights = folder / "pytorch_model.bin"
    if zipped:
        torch.save({"bert.pooler.dense.bias": Hostile(proof)}, weights)
    else:
        weights.write_bytes(pickle.dumps(Hostile(proof), protocol=2))
    with pytest.raises(InputError, match=r"pytorch_model\.bin: not readable as plain weights") as e:
        load_pretrained(str(folder))
    assert not proof.exists()
    assert "\n" not in str(e.value)
    torch.load(weights, weights_only=False) if zipped else pickle.loads(weights.read_bytes())
    assert proof.exists()  # it was hostile
