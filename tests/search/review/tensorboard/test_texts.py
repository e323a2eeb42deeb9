"""Texts about trials in TensorBoard, with their worst mistakes."""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tensorboard.plugin_util import (  # type: ignore[import-untyped]
    markdown_to_safe_html,
)

from minbert.errors import escape_markdown
from minbert.examples import Dataset, Split
from minbert.hub import Pretrained
from minbert.tasks import Task
from search.review.tensorboard.log import run_name
from search.review.tensorboard.mistakes import (
    DevTexts,
    Mistake,
    mean_overlaps,
    word_overlap,
    worst_rows,
)
from search.review.tensorboard.trial_text import trial_text

from .logged_search import Search, text_of

# Texts


def shown(markdown: str) -> str:
    """What a person reads of a text."""
    return html.unescape(re.sub("<[^>]*>", "", markdown_to_safe_html(markdown)))


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert('a')</script> & <b>bold</b> &lt; &#65;",
        "**strong** _low_ __init__ `code` ~~gone~~ [link](http://a.b) ![image](x) http://c.d",
        "a | b || c \\| d \\ e",
        "1. first # title > quote - item + item * item = = ---",
        "two\nlines\r\n\r\n    and\ta \x00tab\u2028",
        "ünïcode 漢字 🙂 ﷽",
    ],
)
def test_sentences_of_strangers_are_shown_as_they_are(text: str) -> None:
    one_line = " ".join(text.replace("\x00", " ").split())
    cell = escape_markdown(text)
    page = markdown_to_safe_html(f"| head | other |\n| --- | --- |\n| {cell} | end |")
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [one_line, "end"]
    assert "<" not in cells[0]
    paragraph = markdown_to_safe_html(f"### {cell}\n\n- {cell}")
    assert html.unescape(re.findall(r"<li>(.*?)</li>", paragraph)[0]) == one_line


def test_a_trials_text_says_what_it_is_and_what_became_of_it(
    search: Callable[..., Search],
) -> None:
    one = search(trials=4, scheduler="none").go().end()
    lines = shown(text_of(one.folder / run_name(one.trials[1]))).splitlines()
    trial = one.trials[1]
    assert lines[:2] == ["Trial 1", "finished: all epochs are trained"]
    assert "It keeps the checkpoint of report 3 of 3: score 0.385 (sst 0.480" in lines[2]
    assert lines[3].startswith("Differences from the recipe (random): α=")
    assert f"lr={trial.config.lr:.3g}" in lines[3]
    assert "Attempt 1, start" in lines
    assert "Report 3, finish: all epochs are trained" in lines
    assert "Worst dev mistakes, report 3" in lines
    rest = lines[lines.index("The rest of its configuration") + 1]
    assert rest.startswith("train_tasks=sst,para,sts, pooling=mean")
    assert "lr=" not in rest.replace("head_lr", "")
    failed = shown(text_of(one.folder / run_name(one.trials[3]))).splitlines()
    assert failed[:3] == [
        "Trial 3",
        "failed: the loss of *all* is <nan>",
        "It keeps no checkpoint.",
    ]
    assert not any("mistakes" in line for line in failed)


# Mistakes


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("How do I cook rice?", "how do I cook RICE", 1.0),
        ("a b c", "b c d", 0.5),
        ("the the the cat", "the dog", 1 / 3),
        ("a cat", "two dogs", 0.0),
        ("?!", "...", 0.0),
    ],
)
def test_overlap_of_words(first: str, second: str, overlap: float) -> None:
    assert word_overlap(first, second) == overlap


def test_worst_is_farthest_from_the_label() -> None:
    labels = np.array([0, 1, 2, 3, 4], np.float32)
    predictions = np.array([1, 1, 0, 0, 3], np.uint8)
    assert worst_rows("sst", predictions, labels, None, 5) == [3, 2, 0, 4]
    assert worst_rows("sst", predictions, labels, None, 2) == [3, 2]
    similar = np.array([0.5, 1.0, 4.5, 3.0, 3.9], np.float32)
    assert worst_rows("sts", similar, labels, np.ones(5), 3) == [2, 0, 4]


def test_worst_paraphrases_are_those_that_go_by_shared_words() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1], np.float32)
    predictions = np.array([1, 1, 0, 0, 0, 1], np.uint8)
    overlaps = np.array([0.5, 0.9, 0.2, 0.95, 1.0, 0.0])
    # Wrongly yes at .5 and .9; wrongly no at .2 (misled by .8) and .95 (by .05).
    assert worst_rows("para", predictions, labels, overlaps, 9) == [1, 2, 0, 3]
    assert mean_overlaps(predictions, labels, overlaps) == (0.7, 1.0)
    # No pair was taken for a paraphrase: the three that are none share .5, .9 and 1.
    assert mean_overlaps(predictions * 0, labels, np.array([0.5, 0.75, 0, 0, 1, 0])) == (None, 0.75)


def written_split(
    task: Task, rows: Sequence[tuple[str, ...]], labels: list[float], tiny: Pretrained
) -> Split:
    """Sentences as the tokenizer gives them, each row's own."""
    tokenizer = tiny.tokenizer()
    sentences = [tokenizer.encode(s, add_special_tokens=False).ids for row in rows for s in row]
    numbers = np.arange(len(sentences), dtype=np.int32).reshape(len(rows), -1)
    return Split(
        task=task,
        ids=np.arange(len(rows)).astype(str),
        tokens=np.concatenate([np.array(ids, np.int32) for ids in sentences]),
        offsets=np.cumsum([0, *map(len, sentences)]),
        texts=np.arange(len(sentences), dtype=np.uint64),
        first=numbers[:, 0],
        second=numbers[:, 1] if numbers.shape[1] == 2 else None,
        labels=np.array(labels, np.float32),
    )


def test_mistakes_of_a_data_set(
    dataset: Dataset, tiny: Pretrained, search: Callable[..., Search]
) -> None:
    sentiment = [("the dog likes a song .",), ("the cat finds a tree .",)]
    pairs = [
        ("the dog sees the sea .", "the sea sees the dog ."),
        ("the man wants a book .", "a horse hears some bread ."),
    ]
    splits: dict[Task, Any] = {
        "sst": {"dev": written_split("sst", sentiment, [4, 1], tiny)},
        "para": {"dev": written_split("para", pairs, [0, 0], tiny)},
        "sts": {"dev": written_split("sts", pairs, [1.5, 3], tiny)},
    }
    texts = DevTexts(replace(dataset, splits=splits), tiny.tokenizer())
    predictions: dict[Task, np.ndarray] = {
        "sst": np.array([1, 1], np.uint8),
        "para": np.array([1, 0], np.uint8),
        "sts": np.array([4.75, 3], np.float32),
    }
    (sst,) = texts.worst("sst", predictions["sst"], 5)
    (para,) = texts.worst("para", predictions["para"], 5)
    (sts,) = texts.worst("sts", predictions["sts"], 5)
    same = ("the dog sees the sea.", "the sea sees the dog.")
    assert sst == Mistake(("the dog likes a song.",), 4.0, 1.0, None)
    assert para == Mistake(same, 0.0, 1.0, 1.0)
    assert sts == Mistake(same, 1.5, 4.75, 1.0)
    one = search(trials=1).go(most=1).end()
    text = trial_text(one.trials[0], {}, texts, predictions)
    page = markdown_to_safe_html(text)
    rows = [
        [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    ]
    assert [row for row in rows if row] == [
        ["the dog likes a song.", "4", "1"],
        [*same, "no", "yes", "100 %"],
        [*same, "1.5", "4.8", "100 %"],
    ]
    # Of the nine words of the second pair both have one: "a".
    assert (
        "those predicted as paraphrases share 100 % of their words on average, the others 11 %."
        in shown(text)
    )
