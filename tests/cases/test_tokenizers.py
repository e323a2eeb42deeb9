"""A tokenizer does what the files of its checkpoint say, as transformers reads them."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors

from minbert.card import ModelInfo
from minbert.checkpoint import load_model, save_model
from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset, tokenize_texts
from minbert.encoder import Encoder
from minbert.hub import load_pretrained
from minbert.model import MultitaskModel
from minbert.report import Report
from minbert.tokenizer import frame_ids
from minbert.tokenizer_files import BERT_CLASSES

from .encoders import SPECIAL, WORDS, refusal, write_encoder, write_files

TEXTS = (
    "möchte Möchte MÖCHTE",
    unicodedata.normalize("NFD", "möchte Crème Brûlée ñandú"),
    "İstanbul ISPARTA ılık i̇",
    "Straße GROẞ ﬁn Ⅷ",
    "漢字 日本語 x漢y 𠀀",
    "ひらがな カタカナ ｶﾞｷﾞ が",
    "한국어 한국어",
    "हिन्दी ภาษาไทย العربيّة",
    "good 😀👍🏽 film👩‍👩‍👧",
    "zero\u200bwidth \u200d joiner \ufeffmark",
    "con\x00trol \x07bell \x1fx \x7f \x85 \ufffd",
    "no\u00a0break\u2009thin\u3000wide\u2028line",
    "w" * 99 + " " + "w" * 100 + " " + "w" * 101,
    "it's... (well), $5 — «so» “on” ¿no?",
    "a#b ##b c_d e-f @g [h] <ent> <ENT><ent>x",
    "Mixed CASE cAsE",
    "the [MASK] film [mask] [ MASK ] [UNK]x [SEP]",
    "Σίσυφος ΣΊΣΥΦΟΣ ἀρχή",
    "",
    " \t\n ",
    "films theFilm",
    "enter ent Ent ENTER entent ent-ent xent",
)


def alphabet() -> tuple[str, ...]:
    """Every character that a reading of the texts may come to, at a word's start and within it."""
    seen = set()
    for text in TEXTS:
        for case in (text, text.lower()):
            for form in ("NFC", "NFD"):
                seen |= set(unicodedata.normalize(form, case))
    plain = sorted(c for c in seen if not c.isspace() and unicodedata.category(c) != "Cc")
    return (*plain, *(f"##{c}" for c in plain))


VOCABULARY = (*SPECIAL, *alphabet(), "the", "The", "film", "möchte", "mochte", "漢字")
ENT = len(VOCABULARY)
assert len(set(VOCABULARY)) == ENT


def added(text: str, **changes: Any) -> dict[str, Any]:
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {"content": text, **flags, "special": True, **changes}


ENT_ALONE = added("ent", single_word=True, __type="AddedToken")
CONFIG = "tokenizer_config.json"
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


def tokenizer_json(words: Sequence[str] = VOCABULARY, **normalizer: Any) -> str:
    """What transformers saves beside the settings, here with a normalizer of its own."""
    vocabulary = {word: number for number, word in enumerate(words)}
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(**normalizer)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(SPECIAL))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.enable_truncation(5)
    made.enable_padding(length=9)
    return made.to_str()


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
