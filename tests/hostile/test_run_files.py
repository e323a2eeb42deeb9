"""Files of a run that are not what they should be: they are not used, and no file is touched."""

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from search import export
from search.review import __main__ as review
from search.storage.folder import RunFolder
from search.storage.optuna_storage import open_storage

from .told import HOSTILE, Told, npz_of, sign


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
