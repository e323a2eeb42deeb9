"""Weights of a checkpoint: shards, names of tensors, training checkpoints, values."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minbert.hub import load_pretrained

from .encoders import (
    WORDS,
    Tensors,
    make_tensors,
    refusal,
    save_pickled,
    save_safetensors,
    shape_of,
    write_encoder,
    write_files,
)
from .weights import PICKLED, SHARDS, assert_weights, save_shards

# Sharded weights


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    assert_weights(tmp_path, write_encoder(tmp_path, weights=save_shards))


@pytest.mark.parametrize("size", ["2KB", "1GB"])
def test_shards_that_transformers_saves(size: str, tmp_path: Path) -> None:
    write_encoder(tmp_path)
    model = transformers.BertModel.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size=size)
    assert (tmp_path / "model.safetensors").exists() == (size == "1GB")
    assert_weights(tmp_path, make_tensors(shape_of(WORDS)))


def test_pickled_shards(tmp_path: Path) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        table = {name: f"pytorch_model-{len(name) % 2}.bin" for name in tensors}
        for file in set(table.values()):
            torch.save({n: t for n, t in tensors.items() if table[n] == file}, folder / file)
        write_files(folder, {f"{PICKLED}.index.json": {"weight_map": table}})

    assert_weights(tmp_path, write_encoder(tmp_path, weights=save))


def test_a_missing_shard_is_named_where_its_tensors_are_wanted(tmp_path: Path) -> None:
    write_encoder(tmp_path, weights=save_shards)
    (tmp_path / SHARDS[1]).unlink()
    assert f"model.safetensors.index.json: the shard {SHARDS[1]} is not there" in refusal(tmp_path)
    assert load_pretrained(str(tmp_path), layers=1).config.layers == 1


@pytest.mark.parametrize(
    "file", ["../model.safetensors", "/etc/model.bin", "a/b.bin", "..", "x.py"]
)
def test_an_index_does_not_lead_out_of_its_folder(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    tensors = write_encoder(folder, weights=save_shards)
    save_safetensors(tmp_path, tensors)
    write_files(
        folder, {"model.safetensors.index.json": {"weight_map": dict.fromkeys(tensors, file)}}
    )
    assert f"'{file}' is not the name of a shard in its folder" in refusal(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {"a": 1}}])
def test_an_index_without_a_map_is_refused(index: dict[str, Any], tmp_path: Path) -> None:
    write_encoder(tmp_path, weights=lambda folder, tensors: save_shards(folder, tensors, index))
    assert "there is no weight_map that gives each tensor its file" in refusal(tmp_path)


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path: Path) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        save_shards(folder, tensors, {"weight_map": dict.fromkeys(tensors, SHARDS[0])})

    write_encoder(tmp_path, weights=save)
    assert f"is not in {SHARDS[0]}, as it says" in refusal(tmp_path)


# Names of tensors


def renamed(prefix: str) -> Callable[[Path, Tensors], None]:
    return lambda folder, tensors: save_pickled(
        folder, {prefix + name: tensor for name, tensor in tensors.items()} | {"cls.bias": ONE}
    )


ONE = torch.ones(1)
MEANINGLESS = (
    "module.",
    "_orig_mod.",
    "module.bert.",
    "_orig_mod.bert.",
    "module._orig_mod.bert.",
    "_orig_mod.module.module.",
    "model.",
    "model.bert.",
    "encoder.",
    "encoder.module.",
    "0.auto_model.",
    "_fsdp_wrapped_module.",
)


@pytest.mark.parametrize("prefix", MEANINGLESS)
def test_a_prefix_that_means_nothing_is_taken_off(prefix: str, tmp_path: Path) -> None:
    assert_weights(tmp_path, write_encoder(tmp_path, weights=renamed(prefix)))


def test_a_wrapper_within_the_model_is_taken_off(tmp_path: Path) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        inner = {
            "bert.module." + re.sub(r"^encoder\.layer\.1\.", r"\g<0>_orig_mod.", name): tensor
            for name, tensor in tensors.items()
        }
        save_pickled(folder, inner)

    assert_weights(tmp_path, write_encoder(tmp_path, weights=save))


@pytest.mark.parametrize("prefix", ["roberta.", "student.bert.", "distilbert."])
def test_a_prefix_that_is_not_known_is_named(prefix: str, tmp_path: Path) -> None:
    write_encoder(tmp_path, weights=renamed(prefix))
    assert f"the names of its tensors begin with '{prefix}'" in refusal(tmp_path)


def test_two_encoders_in_one_file_are_refused(tmp_path: Path) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        both = {f"{part}.{n}": t for part in ("encoder", "model") for n, t in tensors.items()}
        save_pickled(folder, both)

    write_encoder(tmp_path, weights=save)
    assert "holds several encoders, whose names begin with 'encoder.', 'model.'" in refusal(
        tmp_path
    )


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("embeddings.word_embeddings.weight", "module.embeddings.word_embeddings.weight"),
        ("embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma"),
        ("encoder.layer.1.output.dense.bias", "encoder.layer.1._orig_mod.output.dense.bias"),
    ],
)
def test_a_tensor_that_is_there_twice_is_named(name: str, copy: str, tmp_path: Path) -> None:
    write_encoder(
        tmp_path,
        weights=lambda folder, tensors: save_pickled(folder, {**tensors, copy: tensors[name]}),
    )
    assert refusal(tmp_path) == (
        f"{tmp_path / PICKLED}: tensor '{name}' is there more than once, as '{name}' and '{copy}'; "
        "keep one of them"
    )


def test_names_of_something_else_are_shown(tmp_path: Path) -> None:
    write_encoder(tmp_path, weights=lambda folder, _: save_pickled(folder, {"wte.weight": ONE}))
    said = refusal(tmp_path)
    assert "tensor 'embeddings.word_embeddings.weight' is missing (its first is 'wte." in said


# Training checkpoints


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "module"])
def test_the_weights_in_a_training_checkpoint_are_found(key: str, tmp_path: Path) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        state = {f"bert.{name}": tensor for name, tensor in tensors.items()}
        save_pickled(folder, {key: state, "epoch": 3, "optimizer": {"lr": 1e-5}})

    assert_weights(tmp_path, write_encoder(tmp_path, weights=save))


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model", "module"])
@pytest.mark.parametrize("beside", [{"global_step": ONE}, {"state_dict": {"scale": ONE}}, {}])
def test_other_tensors_beside_the_weights_do_not_hide_them(
    key: str, beside: dict[str, Any], tmp_path: Path
) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        save_pickled(folder, {**beside, key: tensors})

    assert_weights(tmp_path, write_encoder(tmp_path, weights=save))


class Anything:
    """An object of a program's own."""


@pytest.mark.parametrize(
    "extra", [argparse.Namespace(lr=1e-5), Anything(), Path("x"), np.float64(1)]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_objects_beside_the_weights_are_refused_without_advice_to_load_them(
    extra: object, zipped: bool, tmp_path: Path
) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        content = {"model": tensors, "args": extra}
        torch.save(content, folder / PICKLED, _use_new_zipfile_serialization=zipped)

    write_encoder(tmp_path, weights=save)
    said = refusal(tmp_path)
    assert f"{PICKLED}: not readable as plain weights (it holds Python objects, such as " in said
    assert said.endswith("with safetensors.torch.save_file as model.safetensors")


# Values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("save", [save_safetensors, save_pickled, save_shards])
def test_values_that_are_not_finite_are_named(
    save: Callable[[Path, Tensors], None], value: float, tmp_path: Path
) -> None:
    name = "encoder.layer.1.output.dense.weight"

    def spoil(folder: Path, tensors: Tensors) -> None:
        tensors[name][3, 5] = value
        save(folder, tensors)

    write_encoder(tmp_path, weights=spoil)
    said = refusal(tmp_path)
    assert f": tensor '{name}' holds nan or inf in 1 of 96 values" in said
    assert (SHARDS[1] in said) == (save is save_shards)
    assert load_pretrained(str(tmp_path), layers=1).config.layers == 1


def test_values_too_large_for_float32_are_not_finite(tmp_path: Path) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        large = {"pooler.dense.bias": torch.full((8,), 1e300, dtype=torch.float64)}
        save_safetensors(folder, tensors | large)

    write_encoder(tmp_path, weights=save)
    assert "tensor 'pooler.dense.bias' holds nan or inf in 8 of 8" in refusal(tmp_path)


def test_weights_that_are_parameters_are_read(tmp_path: Path) -> None:
    def save(folder: Path, tensors: Tensors) -> None:
        save_pickled(folder, {n: torch.nn.Parameter(tensor) for n, tensor in tensors.items()})

    assert_weights(tmp_path, write_encoder(tmp_path, weights=save))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tensor: tensor.to("meta"), "has a shape but no values (it was saved on the meta"),
        (
            lambda tensor: torch.nested.nested_tensor(list(tensor), layout=torch.jagged),
            "is nested, not one array;",
        ),
        (lambda tensor: tensor.to(torch.int8), "holds int8 and not plain floating point numbers"),
        (lambda tensor: tensor.to_sparse(), "holds sparse_coo and not plain floating"),
    ],
)
def test_weights_that_are_packed_are_refused(
    make: Callable[[torch.Tensor], torch.Tensor], said: str, tmp_path: Path
) -> None:
    name = "encoder.layer.0.output.dense.weight"
    write_encoder(
        tmp_path,
        weights=lambda folder, tensors: save_pickled(folder, tensors | {name: make(tensors[name])}),
    )
    assert f"tensor '{name}' {said}" in refusal(tmp_path)
