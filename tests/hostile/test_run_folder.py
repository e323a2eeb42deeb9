"""A run's folder that someone else made: reviewing and exporting it does no harm."""

import copy
import hashlib
import html
import io
import json
import os
import pickle
import random
import re
import shutil
import socket
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from tensorboard.plugin_util import markdown_to_safe_html  # type: ignore[import-untyped]

from minbert.encoder import Encoder
from minbert.errors import plain
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.model import MultitaskModel
from minbert.settings import run_command
from search import export
from search import run as search_run
from search.record import TrialRecord
from search.review import __main__ as review
from search.review.reading import read_run
from search.storage.checkpoints import save_checkpoint
from search.storage.folder import RunFolder
from search.storage.optuna_storage import open_storage
from testkit.synthetic import rising, synthetic_run
from tests.in_process import run_in_process

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


@pytest.fixture(scope="module")
def good(
    tmp_path_factory: pytest.TempPathFactory,
    course_folder: Path,
    tiny: Pretrained,
    dataset: Dataset,
) -> Path:
    """A finished run whose winner can be exported."""
    path = tmp_path_factory.mktemp("good") / "run"
    folder = synthetic_run(path, rising, space="optimizer", trials=4, epochs=3, examples=30)
    change(path, "setup", lambda setup: setup | {
        "inputs": {"data": str(course_folder), "encoder": "tiny"}, "data files": dataset.files,
    })  # fmt: skip
    winner = read_run(folder).record.winner
    assert winner is not None
    save_model_of(winner, folder, dataset, tiny)
    return path


def save_model_of(
    trial: TrialRecord, folder: RunFolder, dataset: Dataset, tiny: Pretrained
) -> None:
    assert trial.kept is not None
    encoder = Encoder.from_pretrained(tiny, trial.config.dropout)
    model = MultitaskModel(encoder, trial.config, dataset.tasks, dataset.classes)
    key, attempt = (trial.number, trial.kept.step), trial.decisions[trial.kept.step - 1].attempt
    state = {"model": model.state_dict()}
    save_checkpoint(folder.checkpoints, key, attempt, state, with_state=True)


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    shutil.copytree(good, tmp_path / "run")
    return tmp_path / "run"


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


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(capsys, monkeypatch)


class Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


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


def all_in(value: Any) -> Iterator[Any]:
    """A value, all that is in it, and the names."""
    yield value
    if isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from all_in(inner)


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


def test_hostile_texts_are_shown_as_texts(run: Path, told: Told) -> None:
    change(run, "trial", lambda about: about | {"name": HOSTILE, "origin": HOSTILE}, trial=1)
    change(run, "end", lambda _: {"state": "failed", "reason": HOSTILE}, trial=2)

    def decided(entry: Any) -> Any:
        return entry | {"decision": entry["decision"] | {"reason": HOSTILE, "machine": HOSTILE}}

    change(run, "report:0001", decided, trial=1)
    change(run, "attempt:1", lambda attempt: attempt | {"reason": HOSTILE}, trial=1)
    change(run, "ended_because", lambda _: HOSTILE)
    change(run, "setup", lambda setup: setup | {"sampler": HOSTILE, HOSTILE: [HOSTILE]})
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
        "inputs": {"data": str(data), "encoder": "tiny"}, "data files": dataset.files,
    })  # fmt: skip
    assert "Saved report" in told.all(run)[-1]
    card = (tmp_path / "exported" / "README.md").read_text()
    shown = markdown_to_safe_html(card)
    assert "<script>alert(1)<|script>[a](javascript:b)` [2J" in html.unescape(shown)
    assert card == plain(card)
    assert "href" not in shown
    assert "<script" not in card


# Files that are not what they should be


def test_predictions_of_other_shapes_and_kinds_are_not_used(run: Path, told: Told) -> None:
    labels = run / "predictions" / "labels.npz"
    tasks = ("sst", "para", "sts")
    before = labels.read_bytes()
    whole = told(review.main, run, "--compare", "0", "1")
    assert "95 % interval" in whole
    assert "are not stored" not in whole
    for array in (
        np.zeros(29),
        np.zeros((30, 2)),
        np.array(3),
        np.full(30, np.nan),
        np.full(30, 1e300),
        np.array(["a"] * 30),
        np.zeros(30, dtype=[("a", "f4")]),
        np.zeros(30, dtype=complex),
    ):
        labels.write_bytes(npz_of(**dict.fromkeys(tasks, array)))
        assert "are not stored" in told(review.main, run, "--compare", "0", "1")
    assert told(review.main, run, "--html").startswith("Written: ")
    # An array that says it is larger than any memory, and an archive that unpacks to much.
    bomb = npz_of(**dict.fromkeys(tasks, np.zeros(30)))
    labels.write_bytes(bomb.replace(b"(30,), }            ", b"(30000000000000,), }"))
    assert "are not stored" in told(review.main, run, "--compare", "0", "1")
    labels.write_bytes(npz_of(sst=np.zeros(30)))
    assert "labels of other tasks" in told(review.main, run)
    labels.write_bytes(before)
    assert told(review.main, run, "--compare", "0", "1") == whole


@pytest.mark.parametrize(
    "content", ["5", "[]", "{}", '{"sha256": 5}', '{"sha256": [1]}', "[" * 50_000, '{"sha256": {}}']
)
def test_checkpoint_json_with_anything_in_it(content: str, run: Path, told: Told) -> None:
    (checkpoint,) = run.glob("checkpoints/*/*")
    (checkpoint / "checkpoint.json").write_text(content)
    assert " is damaged" in told(export.main, run, "--to", run.with_name("exported"))


def test_weights_of_another_model(run: Path, told: Told) -> None:
    (checkpoint,) = run.glob("checkpoints/*/*")
    weights = checkpoint / "weights.safetensors"
    good = safetensors.torch.load_file(weights)
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}})
    for content in (
        safetensors.torch.save({HOSTILE[:9]: tensor for tensor in [next(iter(good.values()))]}),
        struct.pack("<Q", len(header)) + header.encode(),
        b"",
    ):
        weights.write_bytes(content)
        sign(checkpoint)
        text = told(export.main, run, "--to", run.with_name("exported"))
        assert text.startswith(f"error: {weights} is ")
    weights.unlink()
    weights.mkdir()
    assert "error: " in told(export.main, run, "--to", run.with_name("exported"))
    assert "error: " in told(export.main, run, "--to", run / "run.json")


def test_nothing_is_written_through_links(run: Path, told: Told, tmp_path: Path) -> None:
    outside = tmp_path / "outside.html"
    outside.write_text("mine")
    for name in ("report.html", f".report.html.{os.getpid()}"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside)
    elsewhere = tmp_path / "checkpoints"
    (run / "checkpoints").rename(elsewhere)
    (run / "checkpoints").symlink_to(elsewhere)
    there = sorted((path, path.stat().st_mtime_ns) for path in elsewhere.rglob("*"))
    assert "Saved report" in told.all(run)[-1]
    assert outside.read_text() == "mine"
    assert not (run / "report.html").is_symlink()
    assert "<html" in (run / "report.html").read_text()
    assert sorted((path, path.stat().st_mtime_ns) for path in elsewhere.rglob("*")) == there
    (run / "lock").unlink(missing_ok=True)
    (run / "lock").symlink_to(outside)
    with RunFolder(run).locked():
        assert outside.read_text() == "mine"
    (run / "study.db").rename(tmp_path / "other.db")
    before = (tmp_path / "other.db").read_bytes()
    (run / "study.db").symlink_to(tmp_path / "other.db")
    assert all(f"error: {run}/study.db is a link" in text for text in told.all(run))
    assert (tmp_path / "other.db").read_bytes() == before
    named = f"sqlite:///{tmp_path}/other.db"
    assert "Winner" in told(review.main, run, "--storage", named)


def hot_journal(database: bytes, names: Path) -> bytes:
    """A journal that SQLite rolls back on opening, removing the file that it names."""
    size, name = struct.unpack(">H", database[16:18])[0], bytes(names)
    magic = bytes.fromhex("d9d505f920a163d7")
    head = magic + struct.pack(">IIIII", 1, 0, len(database) // size, 512, size)
    page = database[:size]
    journal = head.ljust(512, b"\0") + struct.pack(">I", 1) + page
    journal += struct.pack(">I", sum(page[size - 200 : 0 : -200]))
    about = (0x40000000 // size + 1, len(name), sum(name))
    return journal + struct.pack(">I", about[0]) + name + struct.pack(">II", *about[1:]) + magic


def test_a_journal_removes_no_file(run: Path, told: Told, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    journal = run / "study.db-journal"
    journal.write_bytes(hot_journal((run / "study.db").read_bytes(), victim))
    assert all(f"error: {journal} is not ours" in text for text in told.all(run))
    by_name = f"sqlite:///{run}/study.db"
    assert "is not ours: it would make" in told(review.main, run, "--storage", by_name)
    assert victim.exists()
    open_storage(by_name)
    assert not victim.exists()  # it was hostile


def test_nor_does_the_journal_of_a_copy(run: Path, told: Told, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    study, copy = run / "study.db", run / "study.db.copy"
    shutil.copy(study, copy)
    journal = run / "study.db.copy-journal"
    journal.write_bytes(hot_journal(copy.read_bytes(), victim))
    # So that the copy is what is read.
    study.write_bytes(study.read_bytes()[:3000])
    assert all(f"error: {journal} is not ours" in text for text in told.all(run))
    assert victim.exists()
