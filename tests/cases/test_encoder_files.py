"""Files of a checkpoint that are unusual, are not what their names say, or lie elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from .encoders import refusal, write_encoder, write_files
from .weights import PICKLED, SHARDS, assert_weights, save_shards

# config.json


def test_a_config_of_before_model_types_is_read(tmp_path: Path) -> None:
    drop = ("model_type", "architectures", "layer_norm_eps", "hidden_act")
    tensors = write_encoder(tmp_path, drop=drop)
    assert_weights(tmp_path, tensors)
    write_files(tmp_path, {"config.json": json.dumps(_config(tmp_path) | {"model_type": None})})
    assert_weights(tmp_path, tensors)


def _config(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


@pytest.mark.parametrize(
    ("config", "drop", "said"),
    [
        ({"model_type": "roberta"}, (), "model_type is 'roberta'"),
        (
            {"architectures": ["RobertaModel"]},
            ("model_type",),
            "architectures are ['RobertaModel']",
        ),
        ({}, ("model_type", "type_vocab_size"), "no model_type, and there is no type_vocab_size"),
        ({"model_type": 7}, (), "model_type is 7"),
        ({"is_decoder": True}, (), "is_decoder is true; only a BERT that is an encoder is read"),
        ({"architectures": 5}, ("model_type",), "no model_type, architectures are [5]"),
        ({"architectures": "GPT2"}, ("model_type",), "no model_type, architectures are ['GPT2']"),
    ],
)
def test_another_model_is_refused_by_name(
    config: dict[str, Any], drop: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    write_encoder(tmp_path, config=config, drop=drop)
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(
    "value",
    [float("nan"), "nan", -1e-12, 0, 1e9, pytest.param(10**400, id="huge"), True, None, []],
)
def test_a_layer_norm_eps_that_is_no_small_number_is_refused(value: Any, tmp_path: Path) -> None:
    write_encoder(tmp_path, config={"layer_norm_eps": value})
    assert "config.json: layer_norm_eps must be a number above 0 and below 1 (got" in refusal(
        tmp_path
    )


@pytest.mark.parametrize("key", ["num_hidden_layers", "type_vocab_size", "num_attention_heads"])
def test_true_is_not_a_size(key: str, tmp_path: Path) -> None:
    write_encoder(tmp_path, config={key: True})
    assert f"{key} must be a whole number above 0 (got True)" in refusal(tmp_path)


# What stands in the place of a file

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 440473133\n"
STAND_INS = {
    "a Git LFS pointer": (POINTER, "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    "a web page": ("\n<!DOCTYPE html>\n<html><body>404</body></html>", "a web page, not the file"),
    "a short web page": ("<HTML><title>Sign in</title>", "a web page, not the file itself"),
    "nothing": ("", "the file is empty; download it again"),
}
FILES = (
    "config.json",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("case", STAND_INS)
def test_what_stands_in_the_place_of_a_file_is_named(case: str, file: str, tmp_path: Path) -> None:
    content, said = STAND_INS[case]
    write_encoder(tmp_path)
    if "model" in file:
        (tmp_path / "model.safetensors").unlink()
    write_files(tmp_path, {file: content})
    assert refusal(tmp_path).startswith(f"{tmp_path / file}: {said}")


@pytest.mark.parametrize("text", ["Entry not found", '{"error": "Invalid credentials"}', "überall"])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_text_in_place_of_weights_is_shown(text: str, file: str, tmp_path: Path) -> None:
    write_encoder(tmp_path, weights=lambda folder, _: write_files(folder, {file: text}))
    assert f"(a text that begins '{text}'); download it again" in refusal(tmp_path)


def test_weights_of_another_framework_are_named(tmp_path: Path) -> None:
    write_encoder(tmp_path, weights=lambda folder, _: write_files(folder, {"tf_model.h5": b"\x89"}))
    assert "its weights are only in tf_model.h5, which is not a PyTorch file" in refusal(tmp_path)


@pytest.mark.parametrize("file", ["model.pt", "model.fp16.safetensors", "without index"])
def test_weights_that_have_another_name_are_told_where_they_belong(
    file: str, tmp_path: Path
) -> None:
    write_encoder(tmp_path, weights=save_shards)
    (tmp_path / "model.safetensors.index.json").unlink()
    if file != "without index":
        (tmp_path / SHARDS[0]).rename(tmp_path / file)
    assert refusal(tmp_path).endswith(
        ": there is neither model.safetensors nor pytorch_model.bin; copy the weights there, or "
        "model.safetensors.index.json with its shards"
    )


def test_a_shard_that_is_a_pointer_is_named(tmp_path: Path) -> None:
    write_encoder(tmp_path, weights=save_shards)
    write_files(tmp_path, {SHARDS[1]: POINTER})
    assert f"{SHARDS[1]}: a Git LFS pointer" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"Entry not found",
            "not readable as plain weights (a text that begins 'Entry not found')",
        ),
        (b"\x80\x04N.", "not readable as plain weights (damaged, cut off, or not saved by"),
        (b"PK\x03\x04 torn", "not readable as plain weights (damaged, cut off, or not saved by"),
        (b"\x80\x02}q\x00.", "not readable as plain weights ("),
    ],
)
def test_a_file_that_torch_cannot_read_is_refused_in_our_words(
    content: bytes, said: str, tmp_path: Path
) -> None:
    write_encoder(tmp_path, weights=lambda folder, _: write_files(folder, {PICKLED: content}))
    assert f"{PICKLED}: {said}" in refusal(tmp_path)


# A sentence-transformers folder

KIND = "sentence_transformers.models.Transformer"


def modules(path: Any, kind: Any = KIND) -> str:
    return json.dumps([{"idx": 0, "name": "0", "path": path, "type": kind}])


@pytest.mark.parametrize("kind", [KIND, "sentence_transformers.models.BERT"])
@pytest.mark.parametrize("root_config", [{"config.json": {"__version__": "0.3.8"}}, {}])
def test_the_encoder_of_a_sentence_transformers_folder_is_found(
    root_config: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    tensors = write_encoder(tmp_path / "0_Transformer")
    write_files(tmp_path, {"modules.json": modules("0_Transformer", kind), **root_config})
    assert_weights(tmp_path, tensors)


def test_a_sentence_transformers_folder_with_the_encoder_at_its_root(tmp_path: Path) -> None:
    assert_weights(tmp_path, write_encoder(tmp_path, files={"modules.json": modules("")}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (modules("../encoder"), "'../encoder' is not the name of a folder beside it"),
        (modules("/etc"), "'/etc' is not the name of a folder beside it"),
        (modules(None), "'None' is not the name of a folder beside it"),
        (modules("1_Other"), "the encoder is in 1_Other, but there is no 1_Other/config.json"),
        (modules("", "sentence_transformers.models.CLIPModel"), "models.CLIPModel, not a Transf"),
        ("[]", "modules.json: there are no modules in it; copy the folder again"),
        ("[5]", "modules.json: the first module has no type; copy the folder again"),
        (modules("", None), "modules.json: the first module has no type; copy the folder again"),
        ("{}", "modules.json: not a JSON list"),
    ],
)
def test_a_modules_file_that_leads_to_no_encoder(content: str, said: str, tmp_path: Path) -> None:
    write_encoder(tmp_path / "encoder")
    write_encoder(tmp_path / "root" / "0_Transformer")
    write_files(tmp_path / "root", {"modules.json": content})
    assert said in refusal(tmp_path / "root")
