"""What the files of a checkpoint say about its tokenizer: settings, classes, tokens and words.

Each function raises InputError for a file that is damaged or asks for what is not supported.
"""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from .errors import InputError
from .files import FindFile, check_content, read_json

# Classes of transformers that equal BertTokenizer, with or without "Fast" at the end.
BERT_CLASSES = (
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
)
# These take tokenizer.json as it is, whatever model it holds.
GENERAL_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")

KINDS = ("unk", "sep", "pad", "cls", "mask")
SETTINGS_FILE = "tokenizer_config.json"
# Settings of BertTokenizer, and their names in BertNormalizer.
NORMALIZING = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def read_settings(find: FindFile) -> dict[str, Any]:
    """tokenizer_config.json, with special_tokens_map.json if that is still read."""
    settings_file = find(SETTINGS_FILE)
    settings = read_json(settings_file) if settings_file else {}
    if "added_tokens_decoder" not in settings and (path := find("special_tokens_map.json")):
        settings |= read_json(path)
    where = settings_file or SETTINGS_FILE
    for key in NORMALIZING:
        value = settings.get(key, True)
        if not isinstance(value, bool) and not (key == "strip_accents" and value is None):
            raise InputError(f"{where}: {key} must be true or false (got {value!r})")
    _check_splitting(str(where), settings)
    return settings


def _check_splitting(where: str, settings: dict[str, Any]) -> None:
    """Refuse settings that today's transformers ignores and older versions did not."""
    if settings.get("do_basic_tokenize") is False:
        raise InputError(
            f"{where}: do_basic_tokenize false is not supported; remove it to read the words as "
            "transformers does today"
        )
    if settings.get("split_special_tokens"):
        raise InputError(f"{where}: split_special_tokens is not supported; remove it")
    special = {_text_of(settings.get(f"{kind}_token", f"[{kind.upper()}]")) for kind in KINDS}
    kept = settings.get("never_split") or ()
    if not isinstance(kept, list | tuple) or not special.issuperset(map(_text_of, kept)):
        raise InputError(
            f"{where}: never_split {kept!r} is not supported; remove it to read the words as "
            "transformers does today"
        )


def check_class(find: FindFile, settings: dict[str, Any]) -> str | None:
    """The tokenizer's class, if the files name it; InputError for one that is not BERT's."""
    found = [(path, settings) for path in [find(SETTINGS_FILE)] if path]
    # Checkpoints older than tokenizer_config.json name their tokenizer in config.json.
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
        known = (*GENERAL_CLASSES, *BERT_CLASSES, *(f"{known}Fast" for known in BERT_CLASSES))
        if name not in known:
            raise _not_bert(path, f"tokenizer_class {name}")
        # As in transformers, the class in config.json counts only if the other names none.
        return str(name)
    return None


def _not_bert(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: not BERT's tokenizer ({what}), so it would cut texts into other pieces than the "
        f"encoder knows; take an encoder with {BERT_CLASSES[0]}"
    )


def numbered_tokens(
    find: FindFile, settings: dict[str, Any], special: set[str]
) -> dict[int, AddedToken]:
    """Added tokens for which the files give a number; no two of them share text or number."""
    where = find(SETTINGS_FILE) or SETTINGS_FILE
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
            listed.append((number, as_added({"content": text, **flags})))
        except ValueError:
            raise InputError(f"{path}: {text!r} cannot be the text of a token; remove it") from None
    return listed


def _added_tokens_decoder(where: str, content: Any) -> list[tuple[int, AddedToken]]:
    try:
        return [(int(number), as_added(token)) for number, token in content.items()]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{where}: added_tokens_decoder must give each number a token with its content"
        ) from None


def as_added(token: Any) -> AddedToken:
    """A token in a file: a text, which makes it special, or an object with text and flags.

    Raises:
        KeyError: there is no text.
        TypeError: text or flags are of another type.
        ValueError: the text is empty, or not valid Unicode.
    """
    if isinstance(token, str):
        token = {"content": token, "special": True}
    if token["content"] == "":
        raise ValueError
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(token["content"], **{name: token[name] for name in names if name in token})


def _text_of(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) and "content" in token else str(token)


def name_of(settings: dict[str, Any], kind: str) -> str:
    """The text of a token that every BERT needs: unk, cls or sep."""
    return _text_of(settings.get(f"{kind}_token") or "") or f"[{kind.upper()}]"


def named_tokens(settings: dict[str, Any]) -> list[AddedToken]:
    """The special tokens that the files name, but give no number."""
    listed = [
        value
        for key, value in settings.items()
        if key.endswith("_token") and isinstance(value, str | dict)
    ]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key) or []
        if not isinstance(more, list | dict):
            raise InputError(f"{SETTINGS_FILE}: {key} must be a list of tokens (got {more!r})")
        listed += more.values() if isinstance(more, dict) else more
    try:
        return [
            as_added(token if isinstance(token, str) else {**token, "special": True})
            for token in listed
            if _text_of(token)  # an empty text stands for none
        ]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{SETTINGS_FILE}: a special token must be a text or have one") from None


def read_vocabulary(path: Path) -> dict[str, int]:
    """One token per line: its number is that of the line, the last one if it occurs twice.

    Only a line feed ends a line: other separators of lines are tokens.
    """
    check_content(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as text ({error})") from None
    # As in transformers, white space after a token is dropped, such as the \r of Windows.
    stripped = (line.rstrip() for line in lines)
    vocabulary = {token: number for number, token in enumerate(stripped) if token}
    for mark, maker in (("▁", "SentencePiece"), ("Ġ", "byte-level BPE")):
        marked = any(len(token) > 1 and token.startswith(mark) for token in vocabulary)
        if marked and not any(token.startswith("##") for token in vocabulary):
            raise _not_bert(path, f"its words begin with {mark} as those of {maker}")
    return vocabulary
