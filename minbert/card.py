"""The model card: what a saved model is, how it was made, and what its scores are worth."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from .config import InputSettings, TrainConfig
from .errors import escape_markdown
from .output import counted
from .report import Report
from .settings import Settings
from .tasks import TASKS, Task

MINILM_CAVEAT = (
    "all-MiniLM-L6-v2 was itself trained on sentence pairs that include Quora's duplicate "
    "questions, so the paraphrase and similarity scores here are inflated."
)


class ModelInfo(Settings):
    """What a saved model is and where it comes from."""

    inputs: InputSettings
    config: TrainConfig
    recipe: str
    tasks: tuple[Task, ...]
    """tasks that have a head"""
    classes: Annotated[int, Field(ge=0, le=100)]
    """sentiment classes"""
    files: dict[str, str]
    """sha256 of each data file, by name"""
    report: Report
    """dev evaluation of this checkpoint"""
    confirmation: str | None = None
    """what trainings with new seeds, judged on unseen examples, showed of its configuration"""
    sha256: dict[str, str] = Field(default_factory=dict)
    """sha256 of each file of weights, by name; filled in when the model is saved"""

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, given: Any) -> Any:
        # Models outlive versions: this one may have been saved with the names of an earlier one.
        if isinstance(given, dict) and isinstance(config := given.get("config"), dict):
            return {**given, "config": TrainConfig.with_new_names(config)}
        return given


def caveat_of(inputs: InputSettings) -> str | None:
    """A caveat on the scores of an encoder that may have seen the data; None if it has not."""
    saw_them = "minilm" in inputs.encoder.lower() and inputs.data != "toy"
    return MINILM_CAVEAT if saw_them else None


def _escaped(text: str) -> str:
    # Names and paths stand within a line, where these three mean nothing.
    return escape_markdown(text, literal="./-")


def model_card(info: ModelInfo) -> str:
    """The card as Markdown, with the front matter that the Hugging Face Hub reads."""
    scores = "\n".join(
        f"| {TASKS[task].title} | {TASKS[task].metric} | {score:.3f} |"
        for task, score in info.report.scores.items()
    )
    files = "\n".join(f"- `{name}` sha256 `{sha256}`" for name, sha256 in info.files.items())
    config = info.config.model_dump_json(indent=2)
    kept = info.inputs.encoder_layers
    layers = "all layers" if kept is None else f"the first {counted(kept, 'layer')}"
    confirmed = "" if info.confirmation is None else f"\n{_escaped(info.confirmation)}\n"
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
{confirmed}{caveat}
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
