"""A checkpoint is checked before anything starts: its files, its weights, and its positions."""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from minbert.__main__ import main as minbert_main
from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.encoder_config import EncoderConfig
from minbert.errors import InputError
from minbert.examples import Dataset
from minbert.hub import load_pretrained
from minbert.positions import check_positions
from minbert.train import Trainer
from search.plan import make_plan
from search.propose.spaces import load_space
from search.session import Session
from search.settings import StudySettings
from tests.conftest import write_course_folder

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


def assert_weights(folder: Path, expected: Tensors) -> None:
    found = load_pretrained(str(folder)).weights
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor.numpy()), name


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


# Sharded weights

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


# Positions


@pytest.fixture(scope="module")
def long_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Course files: one long dev sentence of 24 word pieces, and test pairs of 41 and 40."""
    folder = write_course_folder(tmp_path_factory.mktemp("long") / "data", train=10, dev=6, test=3)
    rewrite(folder / "ids-sst-dev.csv", 4, [" ".join("a" * 24)])
    rewrite(folder / "sts-test-student.csv", 2, [" ".join("b" * 41), " ".join("c" * 40)])
    return folder


def rewrite(path: Path, line: int, texts: list[str]) -> None:
    """Replace the sentences of one line of a file."""
    lines = path.read_text().splitlines()
    cells = lines[line].split("\t")
    cells[2 : 2 + len(texts)] = texts
    lines[line] = "\t".join(cells)
    path.write_text("\n".join(lines) + "\n")


def load(folder: Path, **inputs: Any) -> Dataset:
    tokenizer = load_pretrained("tiny").tokenizer()
    return load_dataset(InputSettings(data=str(folder), **inputs), tokenizer, cache=None)


def with_positions(positions: int, segments: int = 2) -> EncoderConfig:
    return shape_of(WORDS, max_positions=positions, segments=segments)


SENTIMENT = TrainConfig(train_tasks=("sst",))
JOINT = TrainConfig(pair_encoding="joint", para_head="linear", sts_head="linear")


def test_the_longest_sentence_is_held_against_the_positions(long_data: Path) -> None:
    dataset = load(long_data, tasks=("sst",))
    check_positions(dataset, with_positions(26), [SENTIMENT])
    with pytest.raises(
        InputError,
        match=r"^ids-sst-dev\.csv: a sentence of 24 word pieces needs 26 positions with "
        r"\[CLS\] and \[SEP\], but the encoder has 25; give --max-length 23$",
    ):
        check_positions(dataset, with_positions(25), [SENTIMENT])
    check_positions(load(long_data, tasks=("sst",), max_length=23), with_positions(25), [SENTIMENT])


def lengths(dataset: Dataset, task: Any, name: Any) -> tuple[np.ndarray, np.ndarray]:
    split = dataset.splits[task][name]
    counts = np.diff(split.offsets)
    assert split.second is not None
    return counts[split.first], counts[split.second]


def test_pairs_that_are_encoded_together_are_held_against_the_positions(long_data: Path) -> None:
    dataset = load(long_data, tasks=("para", "sts"))
    config = JOINT.replace(train_tasks=("para", "sts"))
    needed = max(
        int((first + second).max()) + 3
        for task in ("para", "sts")
        for name in ("train", "dev", "test")
        for first, second in [lengths(dataset, task, name)]
    )
    check_positions(dataset, with_positions(needed), [config])
    with pytest.raises(InputError, match=r"word pieces needs \d+ positions .*joint") as caught:
        check_positions(dataset, with_positions(needed - 1), [TrainConfig(), config])
    longest = int(re.findall(r"--max-length (\d+)", str(caught.value))[0])
    assert longest == (needed - 4) // 2
    cut = load(long_data, tasks=("para", "sts"), max_length=longest)
    check_positions(cut, with_positions(needed - 1), [TrainConfig(), config])


def test_a_test_split_counts(long_data: Path) -> None:
    """Its predictions are written at a search's end."""
    dataset = load(long_data, tasks=("sts",))
    config = JOINT.replace(train_tasks=("sts",))
    with pytest.raises(InputError, match=r"sts-test-student\.csv: a pair of 41 and 40 word pieces"):
        check_positions(dataset, with_positions(83), [config])
    check_positions(dataset, with_positions(84), [config])
    # Rows that a sample leaves out are never encoded.
    splits = dataset.splits["sts"]
    splits["test"] = splits["test"].select(np.array([0, 2]))
    check_positions(dataset, with_positions(83), [config])


def test_training_rows_of_a_task_that_is_not_trained_on_do_not_count(tmp_path: Path) -> None:
    folder = write_course_folder(tmp_path / "data", train=6, dev=4, test=2)
    rewrite(folder / "sts-train.csv", 3, [" ".join("a" * 60), "b"])
    dataset = load(folder)
    check_positions(dataset, with_positions(61), [SENTIMENT])
    with pytest.raises(InputError, match=r"sts-train\.csv: a sentence of 60 word pieces"):
        check_positions(dataset, with_positions(61), [SENTIMENT, TrainConfig()])


def test_negatives_may_put_any_two_sentences_together(tmp_path: Path) -> None:
    folder = write_course_folder(tmp_path / "data", train=6, dev=4, test=2)
    for line, texts in ((1, ["a " * 30, "b"]), (2, ["c " * 25, "d"])):
        rewrite(folder / "sts-train.csv", line, texts)
    dataset = load(folder, tasks=("sts",))
    config = JOINT.replace(train_tasks=("sts",))
    first, second = lengths(dataset, "sts", "train")
    pairs = int((first + second).max()) + 3
    check_positions(dataset, with_positions(max(pairs, 34)), [config])
    with pytest.raises(InputError, match=r"a negative pair of 30 and 25 word pieces needs 58"):
        check_positions(dataset, with_positions(57), [config.replace(negatives=0.5)])
    check_positions(dataset, with_positions(58), [config.replace(negatives=0.5)])


def test_an_encoder_of_one_segment_is_refused_for_joint_pairs(long_data: Path) -> None:
    dataset = load(long_data)
    check_positions(dataset, with_positions(512, segments=1), [TrainConfig()])
    with pytest.raises(InputError, match="pair_encoding: the encoder knows one segment only"):
        check_positions(dataset, with_positions(512, segments=1), [TrainConfig(), JOINT])
    # Without pairs there is nothing that needs the second segment.
    sentences = load(long_data, tasks=("sst",))
    check_positions(sentences, with_positions(512, segments=1), [JOINT])


def test_no_length_helps_an_encoder_with_too_few_positions(long_data: Path) -> None:
    with pytest.raises(InputError, match=r"has 5; take an encoder with more positions$"):
        check_positions(load(long_data), with_positions(5), [TrainConfig()])


def few_positions(folder: Path, positions: int) -> str:
    write_encoder(folder, max_positions=positions)
    return str(folder)


def test_train_refuses_what_is_too_long_before_it_writes_anything(
    tmp_path: Path, long_data: Path
) -> None:
    encoder = few_positions(tmp_path / "encoder", 16)
    out = tmp_path / "model"
    argv = ["train", "--data", str(long_data), "--encoder", encoder, "--out", str(out)]
    with pytest.raises(InputError, match=r"\.csv: a sentence of .* has 16; give --max-length 14$"):
        minbert_main(argv)
    assert not out.exists()


SPACE = """
def space(trial):
    kind = trial.suggest_categorical("pair_encoding", CHOICES)
    if kind == "joint":
        return {"pair_encoding": kind, "para_head": "linear", "sts_head": "linear"}
    return {"pair_encoding": kind, "para_head": "difference", "sts_head": "cosine"}
"""


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        ("lr", {}, None),
        ("mine.py", {}, "(pair_encoding joint), but the encoder has 50; give --max-length 23"),
        (
            "separate.py",
            {"try_": ("pair_encoding=joint,para_head=linear,sts_head=linear",)},
            "(pair_encoding joint), but the encoder has 50; give --max-length 23",
        ),
    ],
)
def test_a_search_refuses_what_its_space_may_propose_before_anything_starts(
    space: str, more: dict[str, Any], said: str | None, tmp_path: Path, long_data: Path
) -> None:
    if space.endswith(".py"):
        choices = '["separate"]' if space == "separate.py" else '["separate", "joint"]'
        (tmp_path / space).write_text(SPACE.replace("CHOICES", choices))
        space = str(tmp_path / space)
    search = {"space": space, "trials": 3, "out": str(tmp_path / "runs"), **more}
    settings = StudySettings.check(search)
    encoder = few_positions(tmp_path / "encoder", 50)
    inputs = InputSettings(data=str(long_data), encoder=encoder)
    plan = make_plan(settings, inputs, load_space(settings.space))
    pretrained = load_pretrained(encoder)
    dataset = load_dataset(inputs, pretrained.tokenizer(), cache=None)
    if said is None:
        check_positions(dataset, pretrained.config, plan.configs)
        return
    with pytest.raises(InputError, match=re.escape(said)):
        Session(data=str(long_data), encoder=encoder, **search).run()
    assert not list((tmp_path / "runs").iterdir())


def test_a_configuration_that_slips_through_fails_with_one_line(
    tmp_path: Path, long_data: Path
) -> None:
    pretrained = load_pretrained(few_positions(tmp_path / "encoder", 16))
    dataset = load_dataset(InputSettings(data=str(long_data)), pretrained.tokenizer(), cache=None)
    trainer = Trainer(TrainConfig(epochs=1, batch_size=4), dataset, pretrained, "cpu")
    with pytest.raises(InputError, match="lower --max-length") as caught:
        trainer.next_report()
    assert "\n" not in str(caught.value)


def test_a_saved_model_refuses_other_data_that_are_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_course_folder(tmp_path / "data", train=8, dev=6, test=2)
    joint = ["--pair-encoding", "joint", "--para-head", "linear", "--sts-head", "linear"]
    encoder = few_positions(tmp_path / "encoder", 128)
    model = str(tmp_path / "model")
    argv = ["train", "--data", str(data), "--encoder", encoder, "--out", model, "--epochs", "1"]
    assert minbert_main([*argv, *joint]) == 0
    text = " ".join("a" * 90)
    rewrite(data / "sts-dev.csv", 2, [text, text])
    for command in (
        ["evaluate", "--data", str(data)],
        ["predict", "--data", str(data), "--out", str(tmp_path / "predictions")],
    ):
        with pytest.raises(
            InputError, match=r"^sts-dev\.csv: a pair of 90 and 90 .* has 128; shorten it, or"
        ):
            minbert_main([command[0], "--model", model, *command[1:]])
    with pytest.raises(InputError, match=r"^para test: a pair of 90 and 90 word pieces"):
        minbert_main(["predict", "--model", model, "--text", text, "--text2", text])
    capsys.readouterr()
