"""Faults of storage, really injected: unreachable, full, torn; and two drivers on one study."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search.folder import RunFolder

from ..conftest import write_course_folder
from ..servers import (
    PostgresServer,
    Proxy,
    S3Server,
    postgres_server,
    s3_server,
    what_is_missing_for_postgres,
    what_is_missing_for_s3,
)
from .searches import Row, rows, search

OPTIONS = (
    *("--space", "lr", "--sampler", "random", "--trials", "5", "--pruner", "none"),
    *("--encoder", "tiny", "--epochs", "6", "--reports-per-epoch", "2", "--state-every", "1s"),
    *("--no-dashboard", "--cpus-per-trial", str(os.cpu_count())),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_course_folder(tmp_path_factory.mktemp("slow") / "data", train=1000)


@pytest.fixture(scope="module")
def expected(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The record of such a search in a folder of this machine, without a fault."""
    with search(tmp_path_factory.mktemp("twin") / "run", *OPTIONS, "--data", str(data)) as one:
        status, text = one.end()
        assert status == 0, text
        return rows(one.folder)


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

    def mend(self) -> None:
        self.s3_proxy.mend()
        self.postgres_proxy.mend()


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
    "seconds", [pytest.param(6, id="6 s"), pytest.param(60, id="60 s", marks=pytest.mark.slow)]
)
def test_a_run_in_s3_and_postgresql_waits_and_is_resumed_from_elsewhere(
    seconds: int, remote: Remote, data: Path, expected: list[Row], tmp_path: Path
) -> None:
    where, storage = f"s3://minbert/runs/{tmp_path.name}", remote.storage
    options = (*OPTIONS, "--data", str(data))
    direct = RunFolder(where, remote.postgres.url)
    usual: Any = {"environment": remote.environment, "storage": storage}
    with search(where, *options, **usual) as one:
        one.storage = remote.postgres.url
        one.wait_for_reports(0, 4)
        remote.cut()
        time.sleep(seconds)
        remote.mend()
        one.wait_for_reports(1, 1)
        one.kill()
        said = one.said
    assert re.search(r"storage answers again|trial \d+ goes on: storage", said), said
    assert 0 < len(rows(direct)) < len(expected)
    # The lease of the driver that was killed holds for half a minute.
    with search(
        where, *options, "--resume", environment=remote.environment, storage=storage
    ) as two:
        status, text = two.end()
        assert (status, "another search is at work on this study" in text) == (2, True), text
    time.sleep(31)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with search(
        where,
        *options,
        "--resume",
        environment=remote.environment,
        storage=storage,
        folder=elsewhere,
    ) as two:
        status, text = two.end()
        assert status == 0, text
    assert rows(direct) == expected
    assert f"Everything is in {where}" in text
    names = set(direct.directory.files())
    assert {"report.html", "trials.csv", "summary.json", "best/model.safetensors"} <= names
    assert not [path for path in elsewhere.rglob("*") if path.is_file()]
    secret = remote.environment["PGPASSWORD"]
    assert secret not in text
    assert not [name for name in names if secret.encode() in direct.directory.read(name)]
