"""BERT's tokenizer, as the files of a checkpoint describe it.

The files are read as ``transformers`` reads them: settings in ``tokenizer_config.json`` apply to
``vocab.txt`` and to ``tokenizer.json``. What it leaves open stays as ``tokenizer.json`` has it.
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
from .files import FindFile, check_content
from .tokenizer_files import (
    GENERAL_CLASSES,
    KINDS,
    NORMALIZING,
    SETTINGS_FILE,
    as_added,
    check_class,
    name_of,
    named_tokens,
    numbered_tokens,
    read_settings,
    read_vocabulary,
)

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")

_ONE_TOKENIZER = "take all files from one tokenizer"
# Texts that a normalizer leaves unchanged only if it does not do what the setting is about.
_PROBES = {"do_lower_case": "A", "strip_accents": "é", "tokenize_chinese_chars": "x漢y"}


def read_tokenizer(name: str, find: FindFile, rows: int) -> Tokenizer:
    """The tokenizer of a checkpoint; it neither truncates nor pads.

    Args:
        name: the checkpoint's name, for messages.
        find: finds its files.
        rows: number of tokens that the encoder knows. A special token that the files name without
            a number gets the next one, or is left out if the encoder has no row for it.

    Raises:
        InputError: a file is missing or damaged, or the kind of tokenizer is not supported.
    """
    settings = read_settings(find)
    class_name = check_class(find, settings)
    is_general = class_name in GENERAL_CLASSES
    named = named_tokens(settings)
    numbered = numbered_tokens(find, settings, {token.content for token in named})
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
        words = read_vocabulary(path)
        tokenizer = _from_vocabulary(str(path), words, settings, named, numbered, rows)
    else:
        raise InputError(
            f"encoder '{name}': there is neither {' nor '.join(TOKENIZER_FILES)}; copy the one of "
            "the encoder there"
        )
    model = tokenizer.model
    # An added token would not help: the model looks for it among its own words.
    if isinstance(model, models.WordPiece) and model.token_to_id(model.unk_token) is None:
        raise InputError(f"{path}: the vocabulary has no {model.unk_token}")
    if not is_general or _frame(tokenizer) is None:
        _set_frame(str(path), tokenizer, *(name_of(settings, kind) for kind in ("cls", "sep")))
    # A checkpoint's own truncation and padding, such as MiniLM's to 128, is not for packed tokens.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def wordpiece(where: str, vocabulary: dict[str, int]) -> Tokenizer:
    """BERT's tokenizer with the default settings, for a vocabulary."""
    tokenizer = _from_vocabulary(where, vocabulary, {}, [], {}, len(vocabulary))
    _set_frame(where, tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def check_row(name: str, token: str, number: int, rows: int) -> None:
    """Raise InputError if an encoder has no row for the number of a token."""
    if number >= rows:
        raise InputError(
            f"encoder '{name}': the tokenizer knows {number + 1} tokens, the last '{token}', but "
            f"vocab_size in config.json is {rows}; tokenizer and weights are not of one model"
        )


def frame_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """The numbers of the tokens before and after a sentence: [CLS] and [SEP] under any name.

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
    """The tokens that the tokenizer puts before and after a sentence, if it does."""
    # Of a copy, as padding would add more tokens.
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    ids = copy.encode("").ids
    return (ids[0], ids[1]) if len(ids) == 2 else None


def special_names(tokenizer: Tokenizer) -> dict[str, str]:
    """BERT's special tokens by their names in tokenizer_config.json, if the tokenizer has them."""
    names = {f"{kind}_token": f"[{kind.upper()}]" for kind in KINDS}
    for kind, number in zip(("cls", "sep"), frame_ids(tokenizer), strict=True):
        names[f"{kind}_token"] = tokenizer.id_to_token(number) or names[f"{kind}_token"]
    if isinstance(tokenizer.model, models.WordPiece):
        names["unk_token"] = tokenizer.model.unk_token
    return {key: token for key, token in names.items() if tokenizer.token_to_id(token) is not None}


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
        as_added(f"[{kind.upper()}]")
        for kind in KINDS
        if f"{kind}_token" not in settings and f"[{kind.upper()}]" in numbers
    ]
    for token in [*named, *defaults]:
        following = max(texts, default=-1) + 1
        if token.content in numbers or following < rows:
            texts[numbers.setdefault(token.content, following)] = token.content
            tokens.setdefault(token.content, token)
    for kind in ("unk", "cls", "sep"):
        if name_of(settings, kind) not in numbers:
            raise InputError(f"{where}: the vocabulary has no {name_of(settings, kind)}")
    unknown = name_of(settings, "unk")
    # Tokens are added after the model's words, or they would be pieces of other words. Only the
    # unknown token must be one of the model's words.
    end = 1 + max([numbers[unknown], *words.values()])
    # The library numbers by count, so free numbers get a text with a blank, which no word has.
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
            # U+FFFF is not a character, so no text contains it.
            tokens.get(texts.get(number, ""), AddedToken(f"\uffff{number}", normalized=False))
            for number in range(end, max(texts) + 1)
        ]
    )
    return tokenizer


def _load_json(path: Path) -> Tokenizer:
    check_content(path)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise InputError(f"{path}: not a tokenizer ({error})") from None


def _apply_settings(
    path: Path, tokenizer: Tokenizer, settings: dict[str, Any], class_name: str | None
) -> None:
    """Apply the settings; what they leave open stays as tokenizer.json has it."""
    model = tokenizer.model
    if class_name and not isinstance(model, models.WordPiece):
        raise InputError(
            f"{path}: its model is {type(model).__name__}, but the checkpoint names its tokenizer "
            f"{class_name}, which reads WordPiece alone; one of them is of another encoder"
        )
    if isinstance(model, models.WordPiece) and settings.get("unk_token"):
        model.unk_token = name_of(settings, "unk")
        tokenizer.model = model
    asked = {key: settings[key] for key in NORMALIZING if key in settings}
    if not asked:
        return
    normalizer = tokenizer.normalizer or normalizers.BertNormalizer()
    for part in _bert_normalizers(normalizer):
        for key, value in asked.items():
            setattr(part, NORMALIZING[key], value)
    tokenizer.normalizer = normalizer
    # A normalizer made of other parts has no such settings, so its result is checked.
    for key, value in asked.items():
        normal = unicodedata.normalize("NFC", normalizer.normalize_str(_PROBES[key]))
        if value is not None and value != (_PROBES[key] not in normal):
            raise InputError(
                f"{path}: its normalizer does not do what {SETTINGS_FILE} says, {key} "
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
    """Make the tokenizer put [CLS] before and [SEP] after a sentence, unless it does so already."""
    numbers = []
    for token in (cls, sep):
        number = tokenizer.token_to_id(token)
        if number is None:
            raise InputError(f"{where}: the vocabulary has no {token}")
        numbers.append(number)
    if _frame(tokenizer) != tuple(numbers):
        # Not a template, in which a blank or a colon in a token would mean something.
        tokenizer.post_processor = processors.BertProcessing((sep, numbers[1]), (cls, numbers[0]))
