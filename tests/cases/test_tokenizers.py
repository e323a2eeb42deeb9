"""Settings and classes of tokenizers, held to what transformers makes of the same files."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from tokenizers import models, normalizers, pre_tokenizers

from minbert.hub import load_pretrained
from minbert.tokenizer_files import BERT_CLASSES

from .encoders import WORDS, refusal, write_encoder, write_files
from .tokenizer_files import CONFIG, TEXTS, VOCABULARY, added, tokenizer_json

ENT = len(VOCABULARY)
assert len(set(VOCABULARY)) == ENT

ENT_ALONE = added("ent", single_word=True, __type="AddedToken")
SETTINGS: dict[str, dict[str, Any]] = {
    "no settings": {},
    "lower case": {CONFIG: {"do_lower_case": True}},
    "cased": {CONFIG: {"do_lower_case": False}},
    "accents kept": {CONFIG: {"strip_accents": False}},
    "accents stripped": {CONFIG: {"strip_accents": True}},
    "accents by case": {CONFIG: {"strip_accents": None}},
    "cased, accents stripped": {CONFIG: {"do_lower_case": False, "strip_accents": True}},
    "cased, accents kept": {CONFIG: {"do_lower_case": False, "strip_accents": False}},
    "Chinese in words": {CONFIG: {"tokenize_chinese_chars": False}},
    "Chinese in words, accents kept": {
        CONFIG: {"tokenize_chinese_chars": False, "strip_accents": False}
    },
    "added token": {"added_tokens.json": {"<ent>": ENT}},
    "added token, cased": {"added_tokens.json": {"<ent>": ENT}, CONFIG: {"do_lower_case": False}},
    "decoder": {CONFIG: {"added_tokens_decoder": {str(ENT): added("<ent>")}}},
    "decoder, normalized": {
        CONFIG: {"added_tokens_decoder": {str(ENT): added("<ent>", normalized=True, special=False)}}
    },
    "decoder, single word": {
        CONFIG: {"added_tokens_decoder": {str(ENT): added("<ent>", single_word=True)}}
    },
    **{
        f"decoder, a word: {name}": {
            CONFIG: {"added_tokens_decoder": {str(ENT): added("ent", **flags)}}
        }
        for name, flags in (
            ("alone", {"single_word": True}),
            ("alone, any case", {"single_word": True, "normalized": True, "special": False}),
            ("in words", {}),
        )
    },
    "added word": {"added_tokens.json": {"ent": ENT}},
    "special word": {
        "added_tokens.json": {"ent": ENT},
        CONFIG: {"additional_special_tokens": ["ent"]},
    },
    "additional word": {CONFIG: {"additional_special_tokens": [ENT_ALONE]}},
    "additional": {CONFIG: {"additional_special_tokens": ["<ent>"]}},
    "empty texts": {CONFIG: {"additional_special_tokens": ["", "<ent>"]}},
    "extra": {CONFIG: {"extra_special_tokens": ["<ent>"]}},
    "special tokens map": {"special_tokens_map.json": {"additional_special_tokens": ["<ent>"]}},
    "map, objects": {"special_tokens_map.json": {"mask_token": added("[MASK]", lstrip=True)}},
    "other names": {CONFIG: {"unk_token": "a", "cls_token": "b", "sep_token": "c"}},
    "names as objects": {CONFIG: {"cls_token": added("b", __type="AddedToken")}},
    "names in the map": {"special_tokens_map.json": {"cls_token": "b", "unk_token": "a"}},
    "all at once": {
        CONFIG: {
            "do_lower_case": False,
            "strip_accents": True,
            "tokenize_chinese_chars": False,
            "tokenizer_class": "BertTokenizerFast",
            "model_max_length": 4,
            "never_split": ["[MASK]"],
            "do_basic_tokenize": True,
        }
    },
}


def assert_parity(folder: Path) -> None:
    """The same numbers as transformers' for every text, alone and as a pair."""
    ours = load_pretrained(str(folder)).tokenizer()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        expected = theirs(text)["input_ids"]
        assert ours.encode(text).ids == expected, (text, theirs.tokenize(text))
        pair = theirs(text, "the film")
        encoded = ours.encode(text, "the film")
        assert encoded.ids == pair["input_ids"]
        assert encoded.type_ids == pair.get("token_type_ids", encoded.type_ids)


@pytest.mark.parametrize("case", SETTINGS)
def test_vocabulary_file_is_read_as_transformers_reads_it(case: str, tmp_path: Path) -> None:
    write_encoder(tmp_path, words=VOCABULARY, files=SETTINGS[case], vocab_size=ENT + 1)
    assert_parity(tmp_path)


NAMED = {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False}
JSON_SETTINGS: dict[str, dict[str, Any]] = {
    "other case": {**NAMED, "do_lower_case": True},
    "all named": NAMED,
    "accents by case": {**NAMED, "do_lower_case": True, "strip_accents": None},
    "class of BERT": {**NAMED, "tokenizer_class": "BertTokenizer"},
    "general class": {**NAMED, "tokenizer_class": "PreTrainedTokenizerFast"},
    "other names": {**NAMED, "cls_token": "b", "sep_token": "c", "unk_token": "a"},
}


@pytest.mark.parametrize("case", JSON_SETTINGS)
def test_settings_hold_for_tokenizer_json_as_in_transformers(case: str, tmp_path: Path) -> None:
    files = {"tokenizer.json": tokenizer_json(lowercase=True), CONFIG: JSON_SETTINGS[case]}
    write_encoder(tmp_path, words=VOCABULARY, files=files)
    # transformers keeps the truncation of tokenizer.json, which is not for packed tokens.
    ours = load_pretrained(str(tmp_path)).tokenizer()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path).backend_tokenizer
    theirs.no_truncation()
    theirs.no_padding()
    for text in TEXTS:
        assert ours.encode(text).ids == theirs.encode(text).ids, text


def test_tokenizer_json_keeps_what_the_settings_leave_open(tmp_path: Path) -> None:
    """Transformers would take defaults there; the file itself knows better."""
    text = tokenizer_json(lowercase=False, strip_accents=False, handle_chinese_chars=False)
    write_encoder(tmp_path, words=VOCABULARY, files={"tokenizer.json": text})
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    assert tokenizer.encode("The möchte 漢字", add_special_tokens=False).tokens == [
        *("The", "möchte", "漢字")
    ]
    write_files(tmp_path, {CONFIG: {"do_lower_case": True}})
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    assert tokenizer.encode("The möchte 漢字", add_special_tokens=False).tokens == [
        *("the", "möchte", "漢字")
    ]


NFC_AND_BERT = normalizers.Sequence([normalizers.NFC(), normalizers.BertNormalizer()])
STRIPPING = normalizers.Sequence(
    [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
)


def with_normalizer(normalizer: normalizers.Normalizer) -> str:
    made = tokenizers.Tokenizer.from_str(tokenizer_json())
    made.normalizer = normalizer
    return made.to_str()


@pytest.mark.parametrize(
    ("normalizer", "settings", "tokens"),
    [
        (NFC_AND_BERT, {}, ["the", "mochte"]),
        (NFC_AND_BERT, {"do_lower_case": False}, ["The", "möchte"]),
        (NFC_AND_BERT, {"strip_accents": False}, ["the", "möchte"]),
        (
            normalizers.Sequence([NFC_AND_BERT, normalizers.NFC()]),
            {"do_lower_case": False, "strip_accents": True},
            ["The", "mochte"],
        ),
        (normalizers.Lowercase(), {"do_lower_case": True}, ["the", "möchte"]),
        (normalizers.Lowercase(), {"strip_accents": None}, ["the", "möchte"]),
        (STRIPPING, {"do_lower_case": True, "strip_accents": True}, ["the", "mochte"]),
        (
            normalizers.Lowercase(),
            {"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"},
            ["the", "möchte"],
        ),
    ],
)
def test_settings_hold_within_a_normalizer_of_other_parts(
    normalizer: normalizers.Normalizer,
    settings: dict[str, Any],
    tokens: list[str],
    tmp_path: Path,
) -> None:
    files = {"tokenizer.json": with_normalizer(normalizer), CONFIG: settings}
    write_encoder(tmp_path, words=VOCABULARY, files=files)
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    text = unicodedata.normalize("NFC", "The möchte")
    assert tokenizer.encode(text, add_special_tokens=False).tokens == tokens


@pytest.mark.parametrize(
    ("normalizer", "key", "value"),
    [
        (normalizers.Lowercase(), "do_lower_case", False),
        (normalizers.NFC(), "do_lower_case", True),
        (STRIPPING, "strip_accents", False),
        (normalizers.Lowercase(), "strip_accents", True),
        (normalizers.Lowercase(), "tokenize_chinese_chars", True),
        (
            normalizers.Sequence([normalizers.Lowercase(), normalizers.BertNormalizer()]),
            "do_lower_case",
            False,
        ),
    ],
)
def test_a_normalizer_that_contradicts_a_setting_is_refused(
    normalizer: normalizers.Normalizer, key: str, value: bool, tmp_path: Path
) -> None:
    settings = {key: value, "tokenizer_class": "BertTokenizer"}
    files = {"tokenizer.json": with_normalizer(normalizer), CONFIG: settings}
    write_encoder(tmp_path, words=VOCABULARY, files=files)
    assert refusal(tmp_path) == (
        f"{tmp_path / 'tokenizer.json'}: its normalizer does not do what {CONFIG} says, {key} "
        f"{str(value).lower()}; remove {key} there, or take all files from one tokenizer"
    )


# Classes


@pytest.mark.parametrize("name", [*BERT_CLASSES, *(f"{name}Fast" for name in BERT_CLASSES)])
def test_classes_that_are_berts_are_read(name: str, tmp_path: Path) -> None:
    assert issubclass(getattr(transformers, name), transformers.BertTokenizer)
    files = {CONFIG: {"tokenizer_class": name, "strip_accents": False}}
    write_encoder(tmp_path, words=VOCABULARY, files=files)
    assert_parity(tmp_path)


MECAB = {"word_tokenizer_type": "mecab", "subword_tokenizer_type": "wordpiece"}
FOREIGN: dict[str, tuple[Mapping[str, Any], str]] = {
    "Japanese": ({"tokenizer_class": "BertJapaneseTokenizer", **MECAB}, "BertJapaneseTokenizer"),
    "Japanese, class left out": (MECAB, "word_tokenizer_type 'mecab'"),
    "characters": ({"subword_tokenizer_type": "character"}, "subword_tokenizer_type 'character'"),
    "RoBERTa": ({"tokenizer_class": "RobertaTokenizerFast"}, "RobertaTokenizerFast"),
    "Herbert": ({"tokenizer_class": "HerbertTokenizer"}, "HerbertTokenizer"),
    "SentencePiece": ({"tokenizer_class": "BertGenerationTokenizer"}, "BertGenerationTokenizer"),
    "of a stranger": ({"tokenizer_class": "KoBertTokenizer"}, "KoBertTokenizer"),
    "Japanese, only its dictionary": (
        {"mecab_kwargs": {"mecab_dic": "ipadic"}},
        "has mecab_kwargs",
    ),
    "no name": ({"tokenizer_class": 7}, "tokenizer_class 7"),
}


@pytest.mark.parametrize("where", [CONFIG, "config.json"])
@pytest.mark.parametrize("case", FOREIGN)
def test_a_class_that_is_not_berts_is_refused_by_name(
    case: str, where: str, tmp_path: Path
) -> None:
    settings, named = FOREIGN[case]
    write_encoder(tmp_path, files={"tokenizer.json": tokenizer_json(WORDS)})
    if where == CONFIG:
        write_files(tmp_path, {CONFIG: settings})
    else:
        write_encoder(tmp_path, config=settings)
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path / where}: not BERT's tokenizer (")
    assert named in said


def bpe_json() -> str:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made.to_str()


def test_a_general_class_takes_tokenizer_json_whatever_its_model(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}
    write_encoder(tmp_path, files={"tokenizer.json": bpe_json(), CONFIG: settings})
    tokenizer = load_pretrained(str(tmp_path)).tokenizer()
    assert tokenizer.encode("film T").tokens == ["[CLS]", "f", "i", "l", "m", "[UNK]", "[SEP]"]
    (tmp_path / "tokenizer.json").unlink()
    assert "PreTrainedTokenizerFast is read from tokenizer.json" in refusal(tmp_path)


def test_a_class_of_bert_over_another_model_is_refused(tmp_path: Path) -> None:
    files = {"tokenizer.json": bpe_json(), CONFIG: {"tokenizer_class": "BertTokenizer"}}
    write_encoder(tmp_path, files=files)
    assert "tokenizer.json: its model is BPE, but" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"do_lower_case": "false"}, "do_lower_case must be true or false (got 'false')"),
        ({"do_lower_case": None}, "do_lower_case must be true or false (got None)"),
        ({"strip_accents": 0}, "strip_accents must be true or false (got 0)"),
        ({"tokenize_chinese_chars": []}, "tokenize_chinese_chars must be true or false (got [])"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize false is not supported"),
        ({"split_special_tokens": True}, "split_special_tokens is not supported"),
        ({"never_split": ["film"]}, "never_split ['film'] is not supported"),
        ({"added_tokens_decoder": {"x": {}}}, "added_tokens_decoder must give each number"),
        ({"added_tokens_decoder": {"60": added("")}}, "added_tokens_decoder must give each number"),
        ({"added_tokens_decoder": {"60": {}}}, "added_tokens_decoder must give each number"),
        (
            {"added_tokens_decoder": {"66": added("<a>"), "67": added("<a>")}},
            "token '<a>' has two numbers, 66 and 67; keep one of them",
        ),
        ({"additional_special_tokens": [7]}, "a special token must be a text"),
        ({"additional_special_tokens": ["\ud800"]}, "a special token must be a text"),
        ({"unk_token": "\ud800"}, "a special token must be a text"),
        (
            {"additional_special_tokens": "<ent>"},
            "additional_special_tokens must be a list of tokens (got '<ent>')",
        ),
        ({"extra_special_tokens": 7}, "extra_special_tokens must be a list of tokens (got 7)"),
        ({"extra_special_tokens": True}, "extra_special_tokens must be a list of tokens (got True"),
    ],
)
def test_settings_that_cannot_be_followed_are_named(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    write_encoder(tmp_path, files={CONFIG: settings})
    assert said in refusal(tmp_path)
