"""BERT's tokenizer, as the files of a checkpoint describe it.

The reading is that of ``transformers``: settings that ``tokenizer_config.json`` names hold for
``vocab.txt`` and for ``tokenizer.json``. What no file names stays as ``tokenizer.json`` has it.
"""

import unicodedata
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from .errors import InputError
from .files import FindFile, check_content, read_json

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")

# Classes of transformers that are BertTokenizer, without or with "Fast" behind.
BERT_CLASSES = (
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
)
# These take tokenizer.json as it is, whatever model it holds.
_GENERAL_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")

_ONE_TOKENIZER = "take all files from one tokenizer"
_KINDS = ("unk", "sep", "pad", "cls", "mask")
_SETTINGS_FILE = "tokenizer_config.json"
# Settings of BertTokenizer, and what they are called in BertNormalizer.
_NORMALIZING = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# Texts that a normalizer leaves as they are only where it does not do what the setting is about.
_PROBES = {"do_lower_case": "A", "strip_accents": "é", "tokenize_chinese_chars": "x漢y"}


def read_tokenizer(name: str, find: FindFile, rows: int) -> Tokenizer:
    """The tokenizer of a checkpoint; it neither truncates nor pads.

    Args:
        name: what the checkpoint is called.
        find: where its files are.
        rows: tokens that the encoder knows. A special token that the files name without a number
            gets the next one, or is left out where the encoder has no row for it.

    Raises:
        InputError: a file is missing or damaged, or it is not a tokenizer that is read here.
    """
    settings = _read_settings(find)
    class_name = _check_class(find, settings)
    is_general = class_name in _GENERAL_CLASSES
    named = _named_tokens(settings)
    numbered = _numbered_tokens(find, settings, {token.content for token in named})
    for number, token in numbered.items():
        check_row(name, token.content, number, rows)
    if path := find("tokenizer.json"):
        tokenizer = _load_json(path)
        if not is_general:
            _apply_settings(path, tokenizer, settings, class_name)
        _add_named(tokenizer, named, rows)
        _add_numbered(path, tokenizer, numbered)
    elif path := find("vocab.txt"):
        if is_general:
            raise InputError(
                f"{path}: tokenizer_class {class_name} is read from tokenizer.json, which is not "
                "there; save the tokenizer with transformers' save_pretrained"
            )
        words = _read_vocabulary(path)
        tokenizer = _from_vocabulary(str(path), words, settings, named, numbered, rows)
    else:
        raise InputError(
            f"encoder '{name}': there is neither {' nor '.join(TOKENIZER_FILES)}; copy the one of "
            "the encoder there"
        )
    model = tokenizer.model
    # As an added token it would be of no use: the model looks for it among its own.
    if isinstance(model, models.WordPiece) and model.token_to_id(model.unk_token) is None:
        raise InputError(f"{path}: the vocabulary has no {model.unk_token}")
    if not is_general or _frame(tokenizer) is None:
        _set_frame(str(path), tokenizer, *(_name_of(settings, kind) for kind in ("cls", "sep")))
    # A checkpoint's own cutting and padding, such as MiniLM's to 128, is not for packed tokens.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def wordpiece(where: str, vocabulary: dict[str, int]) -> Tokenizer:
    """BERT's tokenizer over a vocabulary with the usual settings."""
    tokenizer = _from_vocabulary(where, vocabulary, {}, [], {}, len(vocabulary))
    _set_frame(where, tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def check_row(name: str, token: str, number: int, rows: int) -> None:
    """InputError where an encoder has no row for the number of a token."""
    if number >= rows:
        raise InputError(
            f"encoder '{name}': the tokenizer knows {number + 1} tokens, the last '{token}', but "
            f"vocab_size in config.json is {rows}; tokenizer and weights are not of one model"
        )


def frame_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """The numbers of the tokens before and after a sentence: [CLS] and [SEP], however named.

    Raises:
        InputError: there are no such tokens.
    """
    if (frame := _frame(tokenizer)) is not None:
        return frame
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if cls is None or sep is None:
        missing = "[CLS]" if cls is None else "[SEP]"
        raise InputError(f"the encoder's tokenizer has no {missing}; take a BERT encoder")
    return cls, sep


def _frame(tokenizer: Tokenizer) -> tuple[int, int] | None:
    """The token that the tokenizer puts before a sentence and the one after it, if it does."""
    # Of a copy, as a tokenizer that pads would add more.
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    ids = copy.encode("").ids
    return (ids[0], ids[1]) if len(ids) == 2 else None


def special_names(tokenizer: Tokenizer) -> dict[str, str]:
    """What tokenizer_config.json calls BERT's special tokens, for a tokenizer that has them."""
    names = {f"{kind}_token": f"[{kind.upper()}]" for kind in _KINDS}
    for kind, number in zip(("cls", "sep"), frame_ids(tokenizer), strict=True):
        names[f"{kind}_token"] = tokenizer.id_to_token(number) or names[f"{kind}_token"]
    if isinstance(tokenizer.model, models.WordPiece):
        names["unk_token"] = tokenizer.model.unk_token
    return {key: token for key, token in names.items() if tokenizer.token_to_id(token) is not None}


# What the files say


def _read_settings(find: FindFile) -> dict[str, Any]:
    """tokenizer_config.json, with special_tokens_map.json where that is still read."""
    settings_file = find(_SETTINGS_FILE)
    settings = read_json(settings_file) if settings_file else {}
    if "added_tokens_decoder" not in settings and (path := find("special_tokens_map.json")):
        settings |= read_json(path)
    where = settings_file or _SETTINGS_FILE
    for key in _NORMALIZING:
        value = settings.get(key, True)
        if not isinstance(value, bool) and not (key == "strip_accents" and value is None):
            raise InputError(f"{where}: {key} must be true or false (got {value!r})")
    _check_splitting(str(where), settings)
    return settings


def _check_splitting(where: str, settings: dict[str, Any]) -> None:
    """Refuse what transformers' tokenizers of today ignore and older ones did not."""
    if settings.get("do_basic_tokenize") is False:
        raise InputError(
            f"{where}: do_basic_tokenize false is not supported; remove it to read the words as "
            "transformers does today"
        )
    if settings.get("split_special_tokens"):
        raise InputError(f"{where}: split_special_tokens is not supported; remove it")
    special = {_text_of(settings.get(f"{kind}_token", f"[{kind.upper()}]")) for kind in _KINDS}
    kept = settings.get("never_split") or ()
    if not isinstance(kept, list | tuple) or not special.issuperset(map(_text_of, kept)):
        raise InputError(
            f"{where}: never_split {kept!r} is not supported; remove it to read the words as "
            "transformers does today"
        )


def _check_class(find: FindFile, settings: dict[str, Any]) -> str | None:
    """The tokenizer's class, where the files name it; InputError for one that is not BERT's."""
    found = [(path, settings) for path in [find(_SETTINGS_FILE)] if path]
    # Checkpoints of before tokenizer_config.json name their tokenizer in config.json.
    found += [(path, read_json(path)) for path in [find("config.json")] if path]
    for path, content in found:
        name = content.get("tokenizer_class")
        for key, plain in (
            ("word_tokenizer_type", "basic"),
            ("subword_tokenizer_type", "wordpiece"),
        ):
            if content.get(key) not in (None, plain):
                what = f"{key} {content[key]!r}"
                raise _not_bert(path, what if name is None else f"tokenizer_class {name}, {what}")
        for key in ("mecab_kwargs", "sudachi_kwargs", "jumanpp_kwargs"):
            if name is None and content.get(key):
                raise _not_bert(path, f"it has {key}")
        if name is None:
            continue
        known = (*_GENERAL_CLASSES, *BERT_CLASSES, *(f"{known}Fast" for known in BERT_CLASSES))
        if name not in known:
            raise _not_bert(path, f"tokenizer_class {name}")
        # As in transformers, the class in config.json counts only where the other names none.
        return str(name)
    return None


def _not_bert(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: not BERT's tokenizer ({what}), so it would cut texts into other pieces than the "
        f"encoder knows; take an encoder with {BERT_CLASSES[0]}"
    )


def _numbered_tokens(
    find: FindFile, settings: dict[str, Any], special: set[str]
) -> dict[int, AddedToken]:
    """Added tokens for which the files give a number; no two of them share text or number."""
    where = find(_SETTINGS_FILE) or _SETTINGS_FILE
    if "added_tokens_decoder" in settings:
        listed = _added_tokens_decoder(str(where), settings["added_tokens_decoder"])
    elif path := find("added_tokens.json"):
        where, listed = path, _added_tokens_json(path, special)
    else:
        return {}
    tokens: dict[int, AddedToken] = {}
    numbers: dict[str, int] = {}
    for number, token in listed:
        text = token.content
        if number < 0:
            raise InputError(f"{where}: token '{text}' has number {number}, but they begin at 0")
        if (other := tokens.setdefault(number, token).content) != text:
            raise InputError(
                f"{where}: tokens '{other}' and '{text}' share number {number}; give each its own"
            )
        if (first := numbers.setdefault(text, number)) != number:
            raise InputError(
                f"{where}: token '{text}' has two numbers, {first} and {number}; keep one of them"
            )
    return tokens


def _added_tokens_json(path: Path, special: set[str]) -> list[tuple[int, AddedToken]]:
    listed = []
    for text, number in read_json(path).items():
        if type(number) is not int:
            raise InputError(f"{path}: '{text}' has no number (got {number!r})")
        flags = {"normalized": text not in special, "special": text in special}
        try:
            listed.append((number, _as_added({"content": text, **flags})))
        except ValueError:
            raise InputError(f"{path}: {text!r} is no text of a token; remove it") from None
    return listed


def _added_tokens_decoder(where: str, content: Any) -> list[tuple[int, AddedToken]]:
    try:
        return [(int(number), _as_added(token)) for number, token in content.items()]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{where}: added_tokens_decoder must give each number a token with its content"
        ) from None


def _as_added(token: Any) -> AddedToken:
    """A token of a file: a text, which is special, or an object that says what it is.

    Raises:
        KeyError: there is no text.
        TypeError: text or flags are of another type.
        ValueError: the text is empty, or no Unicode.
    """
    if isinstance(token, str):
        token = {"content": token, "special": True}
    if token["content"] == "":
        raise ValueError
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(token["content"], **{name: token[name] for name in names if name in token})


def _text_of(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) and "content" in token else str(token)


def _name_of(settings: dict[str, Any], kind: str) -> str:
    """The text of a token without which there is no BERT: unk, cls or sep."""
    return _text_of(settings.get(f"{kind}_token") or "") or f"[{kind.upper()}]"


def _named_tokens(settings: dict[str, Any]) -> list[AddedToken]:
    """The special tokens that the files name, but give no number."""
    listed = [
        value
        for key, value in settings.items()
        if key.endswith("_token") and isinstance(value, str | dict)
    ]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key) or []
        if not isinstance(more, list | dict):
            raise InputError(f"{_SETTINGS_FILE}: {key} must be a list of tokens (got {more!r})")
        listed += more.values() if isinstance(more, dict) else more
    try:
        return [
            _as_added(token if isinstance(token, str) else {**token, "special": True})
            for token in listed
            if _text_of(token)  # an empty text stands for none
        ]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{_SETTINGS_FILE}: a special token must be a text or have one") from None


# The tokenizer


def _read_vocabulary(path: Path) -> dict[str, int]:
    """One token a line: its number is that of the line, and of a token given twice the last.

    Only a line feed ends a line: other characters at which texts are split are tokens.
    """
    check_content(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as text ({error})") from None
    # As in transformers, blanks behind a token are none of it, the \r of Windows among them.
    stripped = (line.rstrip() for line in lines)
    vocabulary = {token: number for number, token in enumerate(stripped) if token}
    for mark, maker in (("▁", "SentencePiece"), ("Ġ", "byte-level BPE")):
        marked = any(len(token) > 1 and token.startswith(mark) for token in vocabulary)
        if marked and not any(token.startswith("##") for token in vocabulary):
            raise _not_bert(path, f"its words begin with {mark} as those of {maker}")
    return vocabulary


def _from_vocabulary(
    where: str,
    words: dict[str, int],
    settings: dict[str, Any],
    named: list[AddedToken],
    numbered: dict[int, AddedToken],
    rows: int,
) -> Tokenizer:
    numbers = dict(words)
    texts = {number: word for word, number in words.items()}
    for number, token in numbered.items():
        text = token.content
        if numbers.setdefault(text, number) != number:
            raise InputError(
                f"{where}: token '{text}' is in line {numbers[text] + 1}, but the files of the "
                f"tokenizer number it {number}; {_ONE_TOKENIZER}"
            )
        if (word := texts.setdefault(number, text)) != text:
            raise InputError(
                f"{where}: line {number + 1} is '{word}', but the files of the tokenizer number "
                f"'{text}' {number}; {_ONE_TOKENIZER}"
            )
    tokens = {token.content: token for token in numbered.values()}
    defaults = [
        _as_added(f"[{kind.upper()}]")
        for kind in _KINDS
        if f"{kind}_token" not in settings and f"[{kind.upper()}]" in numbers
    ]
    for token in [*named, *defaults]:
        following = max(texts, default=-1) + 1
        if token.content in numbers or following < rows:
            texts[numbers.setdefault(token.content, following)] = token.content
            tokens.setdefault(token.content, token)
    for kind in ("unk", "cls", "sep"):
        if _name_of(settings, kind) not in numbers:
            raise InputError(f"{where}: the vocabulary has no {_name_of(settings, kind)}")
    unknown = _name_of(settings, "unk")
    # Tokens are added behind the model's words, or they would be pieces of other words. Only the
    # unknown token must be the model's own.
    end = 1 + max([numbers[unknown], *words.values()])
    # The library numbers by count, so free numbers get texts: no word has a blank in it.
    vocabulary = {texts.get(number, f" {number}"): number for number in range(end)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_tokens([token for text, token in tokens.items() if numbers[text] < end])
    tokenizer.add_tokens(
        [
            # U+FFFF is no character, so no text has it.
            tokens.get(texts.get(number, ""), AddedToken(f"\uffff{number}", normalized=False))
            for number in range(end, max(texts) + 1)
        ]
    )
    return tokenizer


def _load_json(path: Path) -> Tokenizer:
    check_content(path)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise InputError(f"{path}: not a tokenizer ({error})") from None


def _apply_settings(
    path: Path, tokenizer: Tokenizer, settings: dict[str, Any], class_name: str | None
) -> None:
    """What the settings name holds; what they leave open stays as tokenizer.json has it."""
    model = tokenizer.model
    if class_name and not isinstance(model, models.WordPiece):
        raise InputError(
            f"{path}: its model is {type(model).__name__}, but the checkpoint names its tokenizer "
            f"{class_name}, which reads WordPiece alone; one of them is of another encoder"
        )
    if isinstance(model, models.WordPiece) and settings.get("unk_token"):
        model.unk_token = _name_of(settings, "unk")
        tokenizer.model = model
    asked = {key: settings[key] for key in _NORMALIZING if key in settings}
    if not asked:
        return
    normalizer = tokenizer.normalizer or normalizers.BertNormalizer()
    for part in _bert_normalizers(normalizer):
        for key, value in asked.items():
            setattr(part, _NORMALIZING[key], value)
    tokenizer.normalizer = normalizer
    # One made of other parts says in its own words what it does.
    for key, value in asked.items():
        normal = unicodedata.normalize("NFC", normalizer.normalize_str(_PROBES[key]))
        if value is not None and value != (_PROBES[key] not in normal):
            raise InputError(
                f"{path}: its normalizer does not do what {_SETTINGS_FILE} says, {key} "
                f"{str(value).lower()}; remove {key} there, or {_ONE_TOKENIZER}"
            )


def _bert_normalizers(normalizer: normalizers.Normalizer) -> list[normalizers.BertNormalizer]:
    if isinstance(normalizer, normalizers.BertNormalizer):
        return [normalizer]
    if not isinstance(normalizer, normalizers.Sequence):
        return []
    parts = (normalizer[place] for place in range(len(normalizer)))
    return [found for part in parts for found in _bert_normalizers(part)]


def _add_named(tokenizer: Tokenizer, named: list[AddedToken], rows: int) -> None:
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for token in named:
        is_word = tokenizer.token_to_id(token.content) is not None
        if token.content not in known and (is_word or tokenizer.get_vocab_size() < rows):
            tokenizer.add_tokens([token])


def _add_numbered(path: Path, tokenizer: Tokenizer, numbered: dict[int, AddedToken]) -> None:
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    tokenizer.add_tokens(
        [numbered[n] for n in sorted(numbered) if numbered[n].content not in known]
    )
    for number, token in numbered.items():
        there = tokenizer.token_to_id(token.content)
        if there != number:
            raise InputError(
                f"{path}: token '{token.content}' is number {there}, but the other files of the "
                f"tokenizer number it {number}; {_ONE_TOKENIZER}"
            )


def _set_frame(where: str, tokenizer: Tokenizer, cls: str, sep: str) -> None:
    """Put [CLS] before and [SEP] after a sentence, unless the tokenizer does so."""
    numbers = []
    for token in (cls, sep):
        number = tokenizer.token_to_id(token)
        if number is None:
            raise InputError(f"{where}: the vocabulary has no {token}")
        numbers.append(number)
    if _frame(tokenizer) != tuple(numbers):
        # Not a template, in which a blank or a colon in a token would mean something.
        tokenizer.post_processor = processors.BertProcessing((sep, numbers[1]), (cls, numbers[0]))
