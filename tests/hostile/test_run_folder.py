"""A run's folder that someone else made: reviewing and exporting it does no harm."""

import copy
import html
import json
import os
import pickle
import random
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.plugin_util import markdown_to_safe_html  # type: ignore[import-untyped]

from minbert.errors import plain
from minbert.examples import Dataset
from search import run as search_run
from search.review import __main__ as review
from tests.in_process import run_in_process

from .told import HOSTILE, REVIEWS, Told, assert_nothing_lives_in, change, npz_of, sign


class Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


# A run's folder


def test_what_is_done_here_works_on_a_good_run(run: Path, told: Told) -> None:
    said = told.all(run)
    assert not any(text.startswith("error") for text in said)
    assert "Saved report" in said[-1]
    assert (run.with_name("exported") / "model.safetensors").exists()


def test_pickles_are_not_run(run: Path, told: Told, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = pickle.dumps(Payload(marker))
    (checkpoint,) = run.glob("checkpoints/*/*")
    arrays = npz_of(sst=np.array([Payload(marker)] * 30, dtype=object))
    (run / "best").mkdir()
    for name in ("heads.safetensors", "pytorch_model.bin", "minbert.json"):
        (run / "best" / name).write_bytes(code)
    for path in (*run.glob("predictions/*/*.npz"), run / "predictions" / "labels.npz"):
        path.write_bytes(arrays)
    (checkpoint / "state.pt").write_bytes(code)
    sign(checkpoint)
    # Optuna's own sampler would unpickle this on --resume --sampler cmaes.
    change(run, "cma:optimizer", lambda _: code.hex(), trial=1, system=True)
    assert "Saved report" in told.all(run)[-1]
    for path in (checkpoint / "weights.safetensors", checkpoint / "checkpoint.json"):
        before = path.read_bytes()
        path.write_bytes(code)
        if path.suffix != ".json":
            sign(checkpoint)
        assert f"{path} is damaged" in told.all(run)[-1]
        path.write_bytes(before)
        sign(checkpoint)
    (run / "study.db").write_bytes(code)
    assert set(told.all(run)) == {f"error: {run}/study.db is not an SQLite database\n"}
    (run / "run.json").write_text(json.dumps({"storage": str(run / "study.db")}))
    assert all(text.startswith("error: ") for text in told.all(run))
    assert not marker.exists()
    pickle.loads(code)
    assert marker.exists()  # it was hostile


@pytest.mark.parametrize(
    "content",
    [
        *("5", "[]", "{", '{"storage": 5}', '{"storage": ["a"]}', '{"storage": "a\\u0000b"}'),
        *("[" * 50_000, "\x1b]0;x\x07", '{"storage": "/etc/passwd\\u001b[2J"}', "\ud800"),
    ],
)
def test_run_json_with_anything_in_it(content: str, run: Path, told: Told) -> None:
    (run / "run.json").write_bytes(content.encode(errors="surrogatepass"))
    assert all(text.startswith("error: ") for text in told.all(run))


def test_a_folder_does_not_make_us_call_its_server(run: Path, told: Told) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://me:{'{}'}@127.0.0.1:{server.getsockname()[1]}/db\x1b[2J"
        (run / "run.json").write_text(json.dumps({"storage": url.format("secret")}))
        for text in told.all(run):
            assert text.startswith(f"error: the study is at {plain(url.format('***'))}; give it")
        # A connection would wait here by now.
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_in(inner, (*path, key))


def always(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def with_put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = inner = copy.deepcopy(value)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return changed


def test_a_record_with_anything_in_it(run: Path, told: Told) -> None:
    with sqlite3.connect(run / "study.db") as database:
        attributes = [
            (trial, key, json.loads(value))
            for table, trials in (("study", "null"), ("trial", "trial_id - 1"))
            for trial, key, value in database.execute(
                f"select {trials}, key, value_json from {table}_user_attributes"
            )
            if trial in (None, 0, 1)
        ]
    database.close()
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    values = [
        None,
        HOSTILE,
        "\ud800",
        1e308,
        float("nan"),
        -1,
        10**30,
        [],
        {},
        True,
        5e-324,
        deep,
        {"a": 1},
    ]
    draw = random.Random(5)
    cases = [(where, path) for where in attributes for path in paths_in(where[2])]
    told_apart = set()
    for (trial, key, value), path in draw.sample(cases, 25):
        new = with_put(value, path, draw.choice(values))
        change(run, key, always(new), trial=trial)
        for options in (draw.choice(REVIEWS), ("--html",)):
            text = told(review.main, run, *options)
            told_apart.add(text.startswith("error: "))
        change(run, key, always(value), trial=trial)
    assert told_apart == {True, False}
    assert "Saved report" in told.all(run)[-1]


@pytest.mark.parametrize(
    ("key", "new", "trial", "words"),
    [
        ("trial", None, 1, "trial 1 of the study is damaged"),
        ("report:0001", {}, 1, "trial 1 of the study is damaged"),
        ("lease", {"until": "never"}, None, ""),
        ("runs", [5], None, "is damaged"),
        ("planned", "many", None, "is damaged: planned: "),
        ("setup", {}, None, "is damaged: setup: "),
    ],
)
def test_what_is_damaged_is_named(
    key: str, new: Any, trial: int | None, words: str, run: Path, told: Told
) -> None:
    change(run, key, lambda _: new, trial=trial)
    text = told(review.main, run)
    assert words in text
    assert text.startswith("error: ") == bool(words)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (1, "made by an older version of the program (format 1, version 0.0.9)"),
        (None, "made by an older version of the program (format 1, version 0.0.9)"),
        (3, "made by a newer version of the program (format 3, version 0.0.9)"),
    ],
)
def test_a_study_of_another_format_is_refused_by_each_command(
    found: int | None, words: str, run: Path, told: Told
) -> None:
    change(run, "setup", lambda setup: {
        name: value for name, value in (setup | {"format": found}).items() if value is not None
    })  # fmt: skip
    change(run, "runs", lambda runs: [runs[0] | {"versions": {"minbert-search": "0.0.9"}}])
    # What is in an old study is not looked at.
    change(run, "trial", lambda _: {}, trial=1)
    resume = ("--resume", "--out", str(run.parent), "--name", run.name)
    code, out, resumed = run_in_process(search_run.main, *resume)
    assert (code, out, resumed.count("\n")) == (2, "", 1)
    for text in (*told.all(run), resumed):
        assert text.startswith("error: the study was ")
        assert words in text
        assert "finish it with that version, or start a new run" in text


def test_hostile_texts_are_shown_as_texts(run: Path, told: Told) -> None:
    change(run, "trial", lambda about: about | {"name": HOSTILE, "origin": HOSTILE}, trial=1)
    change(run, "end", lambda _: {"state": "failed", "reason": HOSTILE}, trial=2)

    def decided(entry: Any) -> Any:
        return entry | {"decision": entry["decision"] | {"reason": HOSTILE, "machine": HOSTILE}}

    change(run, "report:0001", decided, trial=1)
    change(run, "attempt:1", lambda attempt: attempt | {"reason": HOSTILE}, trial=1)
    change(run, "ended_because", lambda _: HOSTILE)
    change(run, "setup", lambda setup: setup | {
        "recipe": HOSTILE, "sampler": HOSTILE, HOSTILE: [HOSTILE]
    })  # fmt: skip
    change(run, "runs", lambda runs: [runs[0] | {
        "command": HOSTILE, "versions": {HOSTILE: HOSTILE},
        "data": runs[0]["data"] | {"notes": [HOSTILE]},
        "hardware": runs[0]["hardware"] | {"processor": HOSTILE},
    }])  # fmt: skip
    hostile = run.with_name(f"a{HOSTILE[:20]}\u202e<b>[red]")
    run.rename(hostile)
    with sqlite3.connect(hostile / "study.db") as database:
        database.execute("update studies set study_name = ?", (hostile.name,))
    database.close()
    said = told.all(hostile)
    assert [text for text in said if text.startswith("error: ")] == []
    # Markup of the terminal is not taken for any, either.
    assert all("[red]x[/red][/]" in said[place] for place in (0, 2))
    assert_nothing_lives_in((hostile / "report.html").read_text())
    card = (hostile.with_name("exported") / "README.md").read_text()
    assert card == plain(card)


def test_a_model_card_escapes_what_it_names(
    run: Path, told: Told, course_folder: Path, tmp_path: Path, dataset: Dataset
) -> None:
    data = tmp_path / "<script>alert(1)<|script>[a](javascript:b)`\x1b[2J\u202e"
    shutil.copytree(course_folder, data)
    change(run, "setup", lambda setup: setup | {
        "recipe": data.name,
        "inputs": {"data": str(data), "encoder": "tiny"}, "data files": dataset.files,
    })  # fmt: skip
    assert "Saved report" in told.all(run)[-1]
    card = (tmp_path / "exported" / "README.md").read_text()
    shown = markdown_to_safe_html(card)
    assert "<script>alert(1)<|script>[a](javascript:b)` [2J" in html.unescape(shown)
    assert card == plain(card)
    assert "href" not in shown
    assert "<script" not in card
