"""The model card: what a saved model is, how it was made, and what its scores are worth."""

from pathlib import Path
from typing import TYPE_CHECKING

from .config import InputSettings
from .errors import escape_markdown
from .output import counted
from .tasks import TASKS

if TYPE_CHECKING:
    from .checkpoint import ModelInfo

MINILM_CAVEAT = (
    "all-MiniLM-L6-v2 was itself trained on sentence pairs that include Quora's duplicate "
    "questions, so the paraphrase and similarity scores here are flattered."
)


def caveat_of(inputs: InputSettings) -> str | None:
    """What is to be said of scores with an encoder that may have seen the data."""
    saw_them = "minilm" in inputs.encoder.lower() and inputs.data != "toy"
    return MINILM_CAVEAT if saw_them else None


def _escaped(text: str) -> str:
    # Names and paths stand within a line, where these three mean nothing.
    return escape_markdown(text, literal="./-")


def model_card(info: "ModelInfo") -> str:
    """The card as Markdown, with the front matter that the Hugging Face Hub reads."""
    scores = "\n".join(
        f"| {TASKS[task].title} | {TASKS[task].metric} | {score:.3f} |"
        for task, score in info.report.scores.items()
    )
    files = "\n".join(f"- `{name}` sha256 `{sha256}`" for name, sha256 in info.files.items())
    config = info.config.model_dump_json(indent=2)
    kept = info.inputs.encoder_layers
    layers = "all layers" if kept is None else f"the first {counted(kept, 'layer')}"
    caveat = f"\n{MINILM_CAVEAT}\n" if "minilm" in info.inputs.encoder.lower() else ""
    return f"""---
library_name: transformers
tags: [bert, multitask, sentence-similarity, text-classification]
---

# A multitask minBERT

One BERT encoder with a head for each of: {", ".join(TASKS[task].title for task in info.tasks)}.
`transformers.AutoModel.from_pretrained` loads the encoder; `python -m minbert predict` uses the
heads too.

## Scores

Dev data, after {counted(info.report.epoch, "epoch")}. The checkpoint was chosen on these dev
data, so its scores are optimistic.

| task | metric | dev score |
|---|---|---|
{scores}
{caveat}
## How it was made

- Data: {_escaped(Path(info.inputs.data).name)}
- Encoder: {_escaped(info.inputs.encoder)}, {layers}
- Recipe: {_escaped(info.recipe)}, seed {info.config.seed}
- Text preparation: sentiment sentences are stripped; in pairs, blanks are put around `. ? , '`;
  then the encoder's own tokenizer, at most {info.inputs.max_length} word pieces a sentence

{files}

Complete configuration:

```json
{config}
```
"""
