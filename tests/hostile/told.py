"""A good run to change, and what the commands say of it."""

import hashlib
import io
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minbert.encoder import Encoder
from minbert.errors import plain
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.model import MultitaskModel
from minbert.settings import run_command
from search import export
from search.record import TrialRecord
from search.review import __main__ as review
from search.storage.checkpoints import save_checkpoint
from search.storage.folder import RunFolder

REVIEWS: tuple[tuple[str, ...], ...] = (
    *((), ("--trial", "0"), ("--trial", "1"), ("--compare", "0", "1"), ("--selection-rules",)),
    *(("--weights", "1,2,1"), ("--json",), ("--html",)),
)
# A terminal's title and colours in both ways to write them, markup, links, text that runs
# backwards, and a formula.
HOSTILE = (
    "\x1b]0;owned\x07\x1b[31m\x9b2J[red]x[/red][/]</script><script>alert(1)</script>"
    "<img src=x onerror=alert(2)>[a](javascript:alert(3)) `b` **c**\r\n"
    "\u202e=cmd|'/C calc'!A0"
)


def save_model_of(
    trial: TrialRecord, folder: RunFolder, dataset: Dataset, tiny: Pretrained
) -> None:
    assert trial.kept is not None
    encoder = Encoder.from_pretrained(tiny, trial.config.dropout)
    model = MultitaskModel(encoder, trial.config, dataset.tasks, dataset.classes)
    key, attempt = (trial.number, trial.kept.step), trial.decisions[trial.kept.step - 1].attempt
    state = {"model": model.state_dict()}
    save_checkpoint(folder.checkpoints, key, attempt, state, with_state=True)


def change(
    run: Path,
    key: str,
    how: Callable[[Any], Any],
    *,
    trial: int | None = None,
    system: bool = False,
) -> None:
    """Change an attribute of the study, or of a trial, in the database itself."""
    of = "study" if trial is None else "trial"
    table, where = f"{of}_{'system' if system else 'user'}_attributes", f"{of}_id = ? and key = ?"
    place = (1 if trial is None else trial + 1, key)
    with sqlite3.connect(run / "study.db") as database:
        found = database.execute(f"select value_json from {table} where {where}", place).fetchone()
        value = json.dumps(how(json.loads(found[0]) if found else None))
        database.execute(f"delete from {table} where {where}", place)
        database.execute(
            f"insert into {table} ({of}_id, key, value_json) values (?, ?, ?)", (*place, value)
        )
    database.close()


class Told:
    """What commands on a run said; each was done, or said in one line why not."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, main: Callable[[], int], *arguments: object) -> str:
        self._monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run_command(main)
        printed = self._capsys.readouterr()
        text = printed.out + printed.err
        assert text == plain(text)
        if caught.value.code == 2:
            assert re.fullmatch(r"error: .+\n", printed.err)
        else:
            # 1 says that a model is not kept.
            assert caught.value.code == 0 or main is export.main
            assert printed.err == ""
        return text

    def all(self, run: Path) -> list[str]:
        """Everything there is to ask of a run; the last is the export."""
        said = [self(review.main, run, *options) for options in REVIEWS]
        to = run.with_name("exported")
        shutil.rmtree(to, ignore_errors=True)
        return [*said, self(export.main, run, "--to", to)]


def npz_of(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def sign(checkpoint: Path) -> None:
    """Make the checksums of a checkpoint right."""
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in checkpoint.iterdir()
        if path.suffix != ".json"
    }
    (checkpoint / "checkpoint.json").write_text(json.dumps({"sha256": sums}))


def all_in(value: Any) -> Iterator[Any]:
    """A value, all that is in it, and the names."""
    yield value
    if isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from all_in(inner)


class Tags(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_nothing_lives_in(page: str) -> None:
    """A page of ours has no element and no attribute that came out of a text."""
    found = Tags(page).found
    assert sum(tag == "script" for tag, _ in found) == 3
    assert not {tag for tag, _ in found} & {"a", "img", "iframe", "object", "base"}
    live = {
        (name, value) for _, attrs in found for name, value in attrs.items() if name[:2] == "on"
    }
    assert live <= {("onsubmit", "return false")}
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    texts = [text for text in all_in(json.loads(data)) if isinstance(text, str)]
    assert [text for text in [page[: page.index("<script")], *texts] if text != plain(text)] == []
