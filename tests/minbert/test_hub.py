"""Encoders and data sets from the Hugging Face Hub.

The real Hub is not reached: a small server on this machine stands in for it and serves files in the
same layout.
"""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch

from minbert import hub
from minbert.errors import InputError
from minbert.hub import Pretrained, download, load_pretrained

from .encoder_folder import WORDS, assert_same_weights, old_names


class Server:
    """Serves files as the Hub does: /REPO/resolve/REVISION/FILE, with ETag and commit headers."""

    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.failing = False
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                server.requests.append(f"{self.command} {self.path}")
                status, code, content = server.look_up(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("X-Repo-Commit", Server.COMMIT)
                self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:08x}"')
                if code:
                    self.send_header("X-Error-Code", code)
                self.end_headers()
                if with_body:
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def look_up(self, path: str) -> tuple[int, str | None, bytes]:
        if self.failing:
            return 500, None, b""
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if repo not in self.repositories:
            return 404, "RepoNotFound", b""
        if revision not in ("main", "v1", self.COMMIT):
            return 404, "RevisionNotFound", b""
        found = self.repositories[repo] / file
        if not found.is_file():
            return 404, "EntryNotFound", b""
        return 200, None, found.read_bytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A Hub on this machine, with an empty cache."""
    server = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    # The library waits between its tries where a server answers with an error.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    # HF_HOME is read when the library is imported; this is what it decides.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_hub_model(server: Server, folder: Path, tiny: Pretrained) -> None:
    server.repositories["someone/small-bert"] = folder
    loaded = load_pretrained("someone/small-bert", layers=1)
    assert loaded.config.layers == 1
    assert loaded.tokenizer_json == tiny.tokenizer_json
    assert np.array_equal(
        loaded.weights["pooler.dense.weight"], tiny.weights["pooler.dense.weight"]
    )


def test_hub_model_of_the_older_layout(server: Server, folder: Path, tiny: Pretrained) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(old_names(tiny.weights), folder / "pytorch_model.bin")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    server.repositories["bert-base-uncased"] = folder
    loaded = load_pretrained("bert-base-uncased")
    assert_same_weights(loaded, tiny)
    assert loaded.tokenizer().encode("the films").tokens == ["[CLS]", "the", "film", "##s", "[SEP]"]


def test_hub_files_are_kept_for_when_it_cannot_be_reached(server: Server, folder: Path) -> None:
    server.repositories["someone/small-bert"] = folder
    path = download("someone/small-bert", "config.json")
    assert path.read_bytes() == (folder / "config.json").read_bytes()
    with pytest.raises(InputError, match=r"no file vocab\.txt"):
        download("someone/small-bert", "vocab.txt")
    server.http.shutdown()
    server.http.server_close()
    assert download("someone/small-bert", "config.json") == path
    with pytest.raises(InputError, match=r"no file vocab\.txt"):
        download("someone/small-bert", "vocab.txt")


def test_minilm_from_the_hub_where_the_package_is_missing(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_installed(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", not_installed)
    server.repositories["sentence-transformers/all-MiniLM-L6-v2"] = folder
    with pytest.raises(InputError, match="not the weights of all-MiniLM"):
        load_pretrained("minilm")
    content = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(hub, "MINILM_SHA256", hashlib.sha256(content).hexdigest())
    assert load_pretrained("minilm").config.hidden_size == 32


def test_dataset_at_a_revision(server: Server, folder: Path) -> None:
    server.repositories["datasets/someone/data"] = folder
    assert download("someone/data", "config.json", "v1", "dataset").is_file()
    assert all("/datasets/someone/data/resolve/v1/" in request for request in server.requests)


@pytest.mark.parametrize(
    ("repo", "file", "revision", "message"),
    [
        ("some/other", "config.json", "main", "'some/other' does not exist or is private"),
        ("some/bert", "none.json", "main", "'some/bert' has no file none.json at revision main"),
        ("some/bert", "config.json", "v9", "'some/bert' has no revision v9"),
        ("a--b..", "config.json", "main", "'a--b..' is not a name the Hub allows"),
    ],
)
def test_what_the_hub_lacks_is_named(
    server: Server, folder: Path, repo: str, file: str, revision: str, message: str
) -> None:
    server.repositories["some/bert"] = folder
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        download(repo, file, revision)
    assert "\n" not in str(caught.value)


def test_unknown_encoder_on_the_hub_is_told_what_there_is(server: Server) -> None:
    del server
    with pytest.raises(InputError, match="does not exist or is private; give minilm, tiny, a fol"):
        load_pretrained("minilmm")


def test_hub_that_fails(server: Server) -> None:
    server.failing = True
    with pytest.raises(InputError, match=r"cannot get config\.json \(.*\); check the network"):
        load_pretrained("some/bert")


def test_hub_that_cannot_be_reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    del server  # for its empty cache
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(
            InputError, match=r"cannot get config\.json \(.*\); check the"
        ) as caught:
            load_pretrained("some/bert")
    assert "\n" not in str(caught.value)
