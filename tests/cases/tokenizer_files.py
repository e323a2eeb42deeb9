"""Files of tokenizers, and their parity with transformers."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from .encoders import SPECIAL

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


def added(text: str, **changes: Any) -> dict[str, Any]:
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {"content": text, **flags, "special": True, **changes}


CONFIG = "tokenizer_config.json"


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
