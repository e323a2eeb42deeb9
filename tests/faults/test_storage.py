"""Faults of storage, really injected: unreachable, full, torn; and two drivers on one study."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search.storage.folder import RunFolder

from ..gate import Gate, Slots
from ..servers import (
    PostgresServer,
    Proxy,
    S3Server,
    postgres_server,
    s3_server,
    what_is_missing_for_postgres,
    what_is_missing_for_s3,
)
from .nodes import ROOT
from .searches import Row, numbers, rows, rows_of, search, tell, without_faults

# On one slot, with a state after each report.
OPTIONS = (
    *("--space", "lr", "--sampler", "random", "--trials", "5", "--pruner", "none"),
    *("--encoder", "tiny", "--epochs", "3", "--reports-per-epoch", "2", "--state-every", "0.001s"),
    "--no-dashboard",
)


@pytest.fixture(scope="module")
def options(course_folder: Path) -> tuple[str, ...]:
    return (*OPTIONS, "--data", str(course_folder))


@pytest.fixture(scope="module")
def expected(options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The record of such a search in a folder of this machine, without a fault."""
    return rows_of(without_faults(options, tmp_path_factory.mktemp("twin")).study)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@dataclass
class Remote:
    """An S3 server and a PostgreSQL server, each behind a proxy."""

    s3: S3Server
    postgres: PostgresServer
    s3_proxy: Proxy
    postgres_proxy: Proxy

    @property
    def storage(self) -> str:
        return self.postgres.url_behind(self.postgres_proxy)

    @property
    def environment(self) -> dict[str, str]:
        s3 = self.s3.behind(self.s3_proxy).environment
        return {**os.environ, **s3, **self.postgres.environment}

    def cut(self) -> None:
        self.s3_proxy.cut()
        self.postgres_proxy.cut()

    def repair(self) -> None:
        self.s3_proxy.repair()
        self.postgres_proxy.repair()


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    for missing in (what_is_missing_for_s3(), what_is_missing_for_postgres()):
        if missing is not None:
            pytest.skip(missing)
    folder = tmp_path_factory.mktemp("servers")
    with (
        s3_server(folder) as s3,
        postgres_server(folder) as postgres,
        Proxy(s3.port) as s3_proxy,
        Proxy(postgres.port) as postgres_proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        servers = Remote(s3, postgres, s3_proxy, postgres_proxy)
        # Tests themselves read the record, whatever happens to the proxies.
        for name, value in (s3.environment | postgres.environment).items():
            patch.setenv(name, value)
        yield servers


@pytest.mark.parametrize(
    ("seconds", "slots"),
    [
        pytest.param(0, "inline", id="until noticed"),
        # Longer than a lease.
        pytest.param(60, 1, id="60 s", marks=pytest.mark.slow),
    ],
)
def test_a_run_in_s3_and_postgresql_waits_and_is_resumed_from_elsewhere(
    seconds: int,
    slots: Slots,
    remote: Remote,
    gate: Gate,
    options: tuple[str, ...],
    expected: list[Row],
    tmp_path: Path,
) -> None:
    where, storage = f"s3://minbert/runs/{tmp_path.name}", remote.storage
    direct = RunFolder(where, remote.postgres.url)
    usual: Any = {
        "environment": remote.environment,
        "storage": storage,
        "gate": gate,
        "slots": slots,
    }
    gate.hold(4, 0)
    gate.hold(0, 2)
    with search(where, *options, **usual) as one:
        one.storage = remote.postgres.url
        one.wait_for_reports(0, 4)
        remote.cut()
        gate.open(0)
        one.wait_for_words(r"trying again|waits for storage")
        time.sleep(seconds)
        remote.repair()
        one.wait_for_words(r"storage answers again")
        one.wait_for_reports(1, 1)
        with search(where, *options, "--resume", **usual) as two:
            status, text = two.end()
        assert (status, text.count("\n")) == (2, 1), text
        assert text.startswith("error: another search is at work on this study")
        one.kill()
    gate.open()
    assert 0 < len(rows(direct)) < len(expected)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with search(where, *options, "--resume", folder=elsewhere, **usual) as two:
        status, text = two.end()
        assert status == 0, text
    found = rows(direct)
    away = f"for {seconds} s" if seconds else "until noticed"
    tell(f"S3 and PostgreSQL away {away}", "waited for", direct, expected)
    tell("driver killed", "resumed elsewhere from S3 and PostgreSQL", direct, expected)
    tell("second driver on a study", "refused in one line", direct, expected)
    assert found == expected
    assert numbers(direct) == list(range(len(expected)))
    assert f"Everything is in {where}" in text
    names = set(direct.directory.files())
    assert {"report.html", "trials.csv", "summary.json", "best/model.safetensors"} <= names
    assert not [path for path in elsewhere.rglob("*") if path.is_file()]
    secret = remote.environment["PGPASSWORD"]
    assert secret not in text
    assert not [name for name in names if secret.encode() in direct.directory.read(name)]


@pytest.mark.slow
def test_a_database_that_stays_away_ends_the_search_in_one_line(
    remote: Remote, gate: Gate, options: tuple[str, ...], expected: list[Row], tmp_path: Path
) -> None:
    where = tmp_path / "run"
    usual: Any = {
        "environment": remote.environment,
        "storage": remote.storage,
        "gate": gate,
        "slots": 1,
    }
    gate.hold(3)
    with search(where, *options, **usual) as one:
        one.storage = remote.postgres.url
        one.wait_for_reports(0, 3)
        remote.postgres_proxy.cut()
        gate.open()
        one.wait_for_words(r"trying again|waits for storage")
        gate.lose_patience()
        status, text = one.end()
    remote.repair()
    gate.be_patient()
    assert status == 2, text
    assert "Traceback" not in text
    last = text.splitlines()[-1]
    assert re.fullmatch(r"error: .*; nothing recorded is lost: give the same command .*", last)
    with search(where, *options, "--resume", **usual) as two:
        status, text = two.end()
        assert status == 0, text
    folder = RunFolder(where, remote.postgres.url)
    tell("PostgreSQL stays away", "ended in one line, resumed", folder, expected)
    assert rows(folder) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "minbert-test", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all space that is left; gives the file that takes it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    return filler


@pytest.mark.parametrize(
    ("kind", "slots"),
    [("sqlite", "inline"), pytest.param("journal", 1, marks=pytest.mark.slow)],
)
def test_a_full_disk_is_waited_for_and_then_the_search_ends(
    kind: str,
    slots: Slots,
    small_disk: Path,
    gate: Gate,
    options: tuple[str, ...],
    expected: list[Row],
) -> None:
    where = small_disk / "run"
    storage = None if kind == "sqlite" else str(small_disk / "study.journal")
    gate.hold(2)
    with search(where, *options, storage=storage, gate=gate, slots=slots) as one:
        one.wait_for_reports(0, 2)
        filler = fill(small_disk)
        gate.hold(4)
        one.wait_for_words(r"trying again|waits for storage")
        filler.unlink()
        one.wait_for_words(r"storage answers again")
        one.wait_for_reports(0, 4)
        filler = fill(small_disk)
        gate.lose_patience()
        gate.open()
        status, text = one.end()
        assert status == 2, text
        assert "No space left on device" in text or "disk is full" in text
        last = text.splitlines()[-1]
        assert re.fullmatch(r"error: .*; nothing recorded is lost: give the same command .*", last)
        assert "Traceback" not in text
    filler.unlink()
    gate.be_patient()
    # What was recorded is as it would have been; that the trial was interrupted differs.
    found = rows(RunFolder(where))
    assert [row[4:] for row in found] == [row[4:] for row in expected[: len(found)]]
    with search(where, *options, "--resume", storage=storage, gate=gate, slots=slots) as two:
        status, text = two.end()
        assert status == 0, text
    found = rows(RunFolder(where))
    tell("disk full for a while", "waited for", RunFolder(where), expected)
    tell("disk stays full", "ended in one line, resumed", RunFolder(where), expected)
    assert found == expected
    assert numbers(RunFolder(where)) == list(range(len(expected)))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "share"), [("sqlite", 0.5), ("journal", 0.1)])
def test_a_torn_study_is_named_and_its_copy_used(
    kind: str,
    share: float,
    gate: Gate,
    options: tuple[str, ...],
    expected: list[Row],
    tmp_path: Path,
) -> None:
    where = tmp_path / "run"
    storage = None if kind == "sqlite" else str(tmp_path / "study.journal")
    file = where / "study.db" if storage is None else Path(storage)
    gate.hold(4)
    with search(where, *options, storage=storage, gate=gate, slots=1) as one:
        one.wait_for_reports(0, 4)
        one.kill()
    gate.open()
    recorded = len(rows(RunFolder(where)))
    content = file.read_bytes()
    left = content[: int(len(content) * share)]
    file.write_bytes(left)
    review = [sys.executable, "-m", "search.review", str(where), "--json"]
    shown = subprocess.run(review, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"note: {file} is damaged; using its copy of 20" in shown.stderr
    reports = [len(trial["reports"]) for trial in json.loads(shown.stdout)["trials"]]
    assert 0 < sum(reports) <= recorded
    with search(where, *options, "--resume", storage=storage, gate=gate, slots=1) as two:
        status, text = two.end()
        assert status == 0, text
    assert f"{file} is damaged; using its copy of 20" in text
    assert "the search repeats what was recorded after that" in text
    found = rows(RunFolder(where))
    told = f"named; {recorded - sum(reports)} reports since the copy made again"
    tell(f"study torn ({kind})", told, RunFolder(where), expected)
    assert found == expected
    assert numbers(RunFolder(where)) == list(range(len(expected)))
    assert file.with_name(f"{file.name}.damaged").read_bytes() == left
