"""Vocabularies and added tokens, held to what transformers makes of the same files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import models

from minbert.card import ModelInfo
from minbert.checkpoint import load_model, save_model
from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset, tokenize_texts
from minbert.encoder import Encoder
from minbert.hub import load_pretrained
from minbert.model import MultitaskModel
from minbert.report import Report
from minbert.tokenizer import frame_ids

from .encoders import SPECIAL, WORDS, refusal, write_encoder, write_files
from .tokenizer_files import CONFIG, VOCABULARY, added, tokenizer_json

# vocab.txt

HEAD = "".join(f"{token}\n" for token in SPECIAL)
VOCABULARY_FILES: dict[str, tuple[bytes, dict[str, int]]] = {
    "lines of Windows": (f"{HEAD}the\nfilm\n".replace("\n", "\r\n").encode(), {"film": 6}),
    "no line feed at the end": (f"{HEAD}the\nfilm".encode(), {"film": 6}),
    "an empty line at the end": (f"{HEAD}the\nfilm\n\n\n".encode(), {"film": 6}),
    "an empty line within": (f"{HEAD}the\n\nfilm\n".encode(), {"the": 5, "film": 7}),
    "a byte-order mark": (f"\ufeff{HEAD}the\nfilm\n".encode(), {"[PAD]": 0, "film": 6}),
    "a token twice": (f"{HEAD}the\nfilm\nthe\n".encode(), {"film": 6, "the": 7}),
    "blanks behind a token": (f"{HEAD}the \nfilm\t\n".encode(), {"the": 5, "film": 6}),
    "a line separator": (f"{HEAD}a\u2028b\nfilm\n".encode(), {"film": 6}),
    "only a line separator": (f"{HEAD}\u2028\nfilm\n".encode(), {"film": 6}),
    "a next line": (f"{HEAD}x\u0085y\nfilm\n".encode(), {"film": 6}),
    "a form feed": (f"{HEAD}x\x0cy\nfilm\x0b\nthe\n".encode(), {"film": 6, "the": 7}),
    "a file separator": (f"{HEAD}x\x1cy\x1dz\x1e\nfilm\n".encode(), {"film": 6}),
    "a carriage return within": (f"{HEAD}x\ry\nfilm\n".encode(), {"film": 6}),
    "a no-break space": (f"{HEAD}x\u00a0y\n\u00a0\nfilm\n".encode(), {"film": 7}),
}


@pytest.mark.parametrize("case", VOCABULARY_FILES)
def test_each_line_of_the_vocabulary_is_a_token(case: str, tmp_path: Path) -> None:
    content, expected = VOCABULARY_FILES[case]
    write_encoder(tmp_path, words=WORDS[:8], files={"vocab.txt": content})
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    assert {word: tokenizer.token_to_id(word) for word in expected} == expected
    assert tokenizer.token_to_id("") is None
    for word, number in expected.items():
        assert tokenizer.encode(word, add_special_tokens=False).ids == [number]
    if case != "a byte-order mark":  # which transformers takes for a part of the first token
        theirs = models.WordPiece.read_file(str(tmp_path / "vocab.txt"))
        assert {word: theirs[word] for word in expected} == expected


@pytest.mark.parametrize("text", ["[UNK]\n[CLS]\nthe\n", "[CLS]\n[SEP]\nthe\n", "\n\n"])
def test_a_vocabulary_without_what_every_bert_has_is_refused(text: str, tmp_path: Path) -> None:
    write_encoder(tmp_path, files={"vocab.txt": text})
    assert "vocab.txt: the vocabulary has no [" in refusal(tmp_path)


def test_tokenizer_json_without_its_own_unknown_token_is_refused(tmp_path: Path) -> None:
    text = tokenizer_json([word for word in WORDS if word != "[UNK]"]).replace("[UNK]", "<unk>")
    made = text.replace('"content":"<unk>"', '"content":"<other>"')
    # As an added token it is of no use to the model.
    for content in (made, text):
        write_encoder(tmp_path, files={"tokenizer.json": content}, vocab_size=len(WORDS) + 2)
        assert "tokenizer.json: the vocabulary has no <unk>" in refusal(tmp_path)


@pytest.mark.parametrize(("mark", "maker"), [("▁", "SentencePiece"), ("Ġ", "byte-level BPE")])
def test_words_of_another_kind_of_tokenizer_are_refused(
    mark: str, maker: str, tmp_path: Path
) -> None:
    words = [word.replace("##", mark) for word in WORDS]
    write_encoder(tmp_path, words=words)
    assert f"(its words begin with {mark} as those of {maker})" in refusal(tmp_path)
    # One such word beside WordPiece's own is a word like any other.
    write_encoder(tmp_path, words=[*WORDS, f"{mark}x"])
    load_pretrained(str(tmp_path))


# Numbers of added tokens


def test_an_added_token_has_the_number_that_its_file_gives(tmp_path: Path) -> None:
    count = len(WORDS)
    write_encoder(tmp_path, files={"added_tokens.json": {"<ent>": count + 5}}, vocab_size=count + 6)
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    encoded = tokenizer.encode("the <ent>", add_special_tokens=False)
    assert encoded.ids == [WORDS.index("the"), count + 5]


NUMBERS: dict[str, tuple[Mapping[Any, str], str]] = {
    "below 0": ({-1: "<ent>"}, "token '<ent>' has number -1, but they begin at 0"),
    "far beyond": ({10**30: "<ent>"}, f"knows {10**30 + 1} tokens, the last '<ent>', but vocab_si"),
    "of another token": ({0: "<ent>"}, " 0; take all files from one tokenizer"),
    "of another word": ({7: "<ent>"}, " 7; take all files from one tokenizer"),
    "shared": ({66: "<a>", "066": "<b>"}, "tokens '<a>' and '<b>' share number 66; give each its"),
}


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("source", [CONFIG, "added_tokens.json"])
@pytest.mark.parametrize("case", NUMBERS)
def test_a_number_that_cannot_be_is_refused(
    case: str, source: str, file: str, tmp_path: Path
) -> None:
    numbers, said = NUMBERS[case]
    if source == CONFIG:
        content = {"added_tokens_decoder": {str(n): added(text) for n, text in numbers.items()}}
        write_encoder(tmp_path, files={CONFIG: content}, vocab_size=70)
    else:
        listed = ", ".join(f'"{text}": {int(number)}' for number, text in numbers.items())
        write_encoder(tmp_path, files={source: f"{{{listed}}}"}, vocab_size=70)
    if file == "tokenizer.json":
        write_files(tmp_path, {file: tokenizer_json(WORDS)})
    assert said in refusal(tmp_path)


def test_added_tokens_keep_their_numbers_around_free_ones(tmp_path: Path) -> None:
    """Free are two rows between the words, and rows between the added tokens."""
    words = [*WORDS[:10], "", WORDS[10], "", *WORDS[11:]]
    count = len(words)
    numbers = {"ent": count, "<a>": count + 3, "b": WORDS.index("b"), "<c>": 12, "<d>": count + 5}
    files = {
        "added_tokens.json": numbers,
        CONFIG: {"additional_special_tokens": ["<next>", "<none>"]},
    }
    write_encoder(tmp_path, words=words, files=files, vocab_size=count + 7)
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    expected = {**numbers, "<next>": count + 6, "the": words.index("the")}
    assert {text: tokenizer.token_to_id(text) for text in expected} == expected
    text = " ".join(expected)
    assert tokenizer.encode(text, add_special_tokens=False).ids == list(expected.values())
    assert tokenizer.token_to_id("<none>") is None
    # Nothing that is written leads to a free row.
    for free in (10, count + 1, count + 2, count + 4):
        assert free not in tokenizer.encode(f"the {free} 10{free} a {free}").ids


def test_an_unknown_token_that_is_no_word_is_known_to_the_model(tmp_path: Path) -> None:
    count = len(WORDS)
    decoder = {str(count): added("<a>"), str(count + 1): added("<unk>")}
    files = {CONFIG: {"added_tokens_decoder": decoder, "unk_token": "<unk>"}}
    write_encoder(tmp_path, files=files, vocab_size=count + 2)
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    assert tokenizer.encode("漢 <a>", add_special_tokens=False).ids == [count + 1, count]


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
def test_two_numbers_for_one_token_are_refused(file: str, tmp_path: Path) -> None:
    write_encoder(tmp_path, files={"added_tokens.json": {"the": 3}})
    if file == "tokenizer.json":
        write_files(tmp_path, {file: tokenizer_json(WORDS)})
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path / file}: token 'the' is ")
    assert "number it 3" in said


def test_an_added_token_without_a_row_is_refused_and_a_special_one_left_out(tmp_path: Path) -> None:
    write_encoder(tmp_path, files={CONFIG: {"pad_token": "<pad>", "mask_token": "<mask>"}})
    assert load_pretrained(str(tmp_path)).tokenizer().token_to_id("<pad>") is None
    write_files(tmp_path, {"added_tokens.json": {"<ent>": len(WORDS)}})
    assert f"the tokenizer knows {len(WORDS) + 1} tokens, the last '<ent>'" in refusal(tmp_path)


# Other names all the way


@pytest.mark.parametrize("names", [("two words", "a:1"), ("$A", "$"), (":", " :2"), ("b", "b")])
def test_any_text_is_a_name_of_cls_and_sep(names: tuple[str, str], tmp_path: Path) -> None:
    count = len(VOCABULARY)
    settings = dict(zip(("cls_token", "sep_token"), names, strict=True))
    write_encoder(tmp_path, words=VOCABULARY, files={CONFIG: settings}, vocab_size=count + 2)
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    cls, sep = (tokenizer.token_to_id(name) for name in names)
    the, film = VOCABULARY.index("the"), VOCABULARY.index("film")
    encoded = tokenizer.encode("the film", "film")
    assert encoded.ids == [cls, the, film, sep, film, sep]
    assert encoded.type_ids == [0, 0, 0, 0, 1, 1]


def test_other_names_of_cls_and_sep_are_used_and_saved(tmp_path: Path, course_folder: Path) -> None:
    words = tuple({"[CLS]": "<s>", "[SEP]": "</s>", "[UNK]": "<unk>"}.get(w, w) for w in WORDS)
    names = {"cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    write_encoder(tmp_path / "encoder", words=words, files={CONFIG: names})
    pretrained = load_pretrained(str(tmp_path / "encoder"))
    inputs = InputSettings(data=str(course_folder), encoder=str(tmp_path / "encoder"))
    dataset = load_dataset(inputs, pretrained.tokenizer(), cache=None)
    assert (dataset.cls_id, dataset.sep_id) == (2, 3) == frame_ids(pretrained.tokenizer())

    config = TrainConfig()
    model = MultitaskModel(Encoder.from_pretrained(pretrained, 0.1), config, dataset.tasks, 5)
    scores = {"sst": 0.5, "para": 0.5, "sts": 0.5}
    counts = dict.fromkeys(("examples", "negatives", "tokens"), 1)
    numbers = dict.fromkeys(("epoch", "lr", "grad_norm", "train_seconds", "dev_seconds"), 1.0)
    report = Report.model_validate(
        {"step": 1, "scores": scores, "score": 0.5, "kept": True, "metrics": {}, "losses": {}}
        | counts
        | numbers
    )
    info = ModelInfo(
        inputs=inputs,
        config=config,
        recipe="strong",
        tasks=dataset.tasks,
        classes=5,
        files={},
        report=report,
    )
    save_model(tmp_path / "model", model, pretrained.tokenizer(), info)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert (theirs.cls_token, theirs.sep_token, theirs.unk_token) == ("<s>", "</s>", "<unk>")
    assert theirs("the 漢")["input_ids"] == [2, WORDS.index("the"), 1, 3]
    saved = load_model(tmp_path / "model")
    split = tokenize_texts("sst", [("the 漢",)], saved.tokenizer, 8)
    assert split.tokens.tolist() == [WORDS.index("the"), 1]
    assert frame_ids(saved.tokenizer) == (2, 3)
