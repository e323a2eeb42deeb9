"""``--data glue``: files in the layout of the Hugging Face Hub, made into the course layout.

The Hub itself is not reached. A small server on this machine serves files of the same names,
revisions and columns, with the headers that ``huggingface_hub`` asks for.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.examples import Dataset
from minbert.hub import Pretrained

SST5 = "/datasets/SetFit/sst5/resolve/e51bdcd8cd3a30da231967c1a249ba59361279a3/"
GLUE = "/datasets/nyu-mll/glue/resolve/bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c/"
GLUE_SPLITS = ("train", "validation", "test")


class Hub:
    """A server of some files, by the paths of their addresses; it notes what is fetched."""

    def __init__(self, files: dict[str, bytes]):
        hub = self
        self.files = files
        self.fetched: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                hub.fetched.append(self.path)
                self.answer(with_body=True)

            def answer(self, *, with_body: bool) -> None:
                content = hub.files.get(self.path)
                self.send_response(404 if content is None else 200)
                if content is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                content = content or b""
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                revision = self.path.partition("/resolve/")[2].partition("/")[0]
                self.send_header("X-Repo-Commit", revision)
                self.end_headers()
                if with_body:
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


def parquet(**columns: Any) -> bytes:
    stream = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), stream)
    content = stream.getvalue().to_pybytes()
    assert isinstance(content, bytes)
    return content


def hub_files() -> dict[str, bytes]:
    files = {}
    for split, label in (("train", 4), ("dev", 0), ("test", 3)):
        rows = [
            {"text": 'a "very" good film', "label": label, "label_text": "some"},
            {"text": f"{split} é", "label": 2, "label_text": "neutral"},
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        files[f"{SST5}{split}.jsonl"] = lines.encode()
    for split in GLUE_SPLITS:
        hidden = split == "test"
        files[f"{GLUE}qqp/{split}-00000-of-00001.parquet"] = parquet(
            question1=["Who ran?", f"{split}\tone"],
            question2=["Who has run?", "a\nb"],
            label=[-1, -1] if hidden else [1, 0],
            idx=pyarrow.array([7, 8], pyarrow.int32()),
        )
        files[f"{GLUE}stsb/{split}-00000-of-00001.parquet"] = parquet(
            sentence1=["A dog runs.", f"{split} one"],
            sentence2=["A dog is running.", "A cat."],
            label=pyarrow.array([-1, -1] if hidden else [3.8, 0.0], pyarrow.float32()),
            idx=pyarrow.array([0, 1], pyarrow.int32()),
        )
    return files


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(hub_files())
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.server.shutdown()
    thread.join()
    hub.server.server_close()


def load(tiny: Pretrained, cache: Path | None, tasks: str = "sst,para,sts") -> Dataset:
    inputs = InputSettings.check({"data": "glue", "tasks": tasks})
    return load_dataset(inputs, tiny.tokenizer(), cache=cache)


def test_all_tasks_arrive_in_the_course_layout(hub: Hub, tiny: Pretrained, tmp_path: Path) -> None:
    loaded = load(tiny, tmp_path / "cache")

    assert len(hub.fetched) == 9
    assert (loaded.name, loaded.classes) == ("glue", 5)
    labels = {
        task: {name: None if split.labels is None else split.labels.tolist()}
        for task, splits in loaded.splits.items()
        for name, split in splits.items()
        if name == "dev"
    }
    assert labels["sst"] == {"dev": [0, 2]}
    assert labels["para"] == {"dev": [1, 0]}
    assert labels["sts"]["dev"] == pytest.approx([3.8, 0.0], abs=1e-6)
    assert all(splits["test"].labels is None for splits in loaded.splits.values())
    assert loaded.splits["para"]["dev"].ids.tolist() == ["0", "1"]

    folder = tmp_path / "cache" / "glue"
    assert (folder / "ids-sst-train.csv").read_text(encoding="utf-8") == (
        '\tid\tsentence\tsentiment\n0\t0\t"a ""very"" good film"\t4\n1\t1\ttrain é\t2\n'
    )
    assert (folder / "quora-dev.csv").read_text(encoding="utf-8") == (
        "\tid\tsentence1\tsentence2\tis_duplicate\n"
        '0\t0\tWho ran?\tWho has run?\t1\n1\t1\t"validation\tone"\ta b\t0\n'
    )
    assert (folder / "sts-dev.csv").read_text(encoding="utf-8").splitlines()[1] == (
        "0\t0\tA dog runs.\tA dog is running.\t3.8"
    )
    assert (folder / "sts-test-student.csv").read_text(encoding="utf-8") == (
        "\tid\tsentence1\tsentence2\n0\t0\tA dog runs.\tA dog is running.\n1\t1\ttest one\tA cat.\n"
    )


def test_what_is_there_is_not_fetched_again(hub: Hub, tiny: Pretrained, tmp_path: Path) -> None:
    first = load(tiny, tmp_path / "cache", tasks="sst")
    assert [path.removeprefix(SST5) for path in hub.fetched] == [
        "train.jsonl",
        "dev.jsonl",
        "test.jsonl",
    ]
    hub.files.clear()
    assert load(tiny, tmp_path / "cache", tasks="sst").files == first.files
    assert len(hub.fetched) == 3


def test_a_torn_file_is_written_again(hub: Hub, tiny: Pretrained, tmp_path: Path) -> None:
    first = load(tiny, tmp_path / "cache", tasks="sts")
    torn = tmp_path / "cache" / "glue" / "sts-train.csv"
    torn.write_bytes(torn.read_bytes()[:-20])
    assert load(tiny, tmp_path / "cache", tasks="sts").files == first.files
    assert len(hub.fetched) == 3


@pytest.mark.parametrize("blocked", [False, True])
def test_no_cache_is_needed(hub: Hub, tiny: Pretrained, tmp_path: Path, blocked: bool) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    loaded = load(tiny, in_the_way / "cache" if blocked else None, tasks="sst")
    assert len(loaded.splits["sst"]["train"]) == 2
    assert len(hub.fetched) == 3
    assert any("cannot be written" in note for note in loaded.notes) == blocked


def test_a_table_of_other_columns_is_refused(hub: Hub, tiny: Pretrained, tmp_path: Path) -> None:
    path = f"{GLUE}stsb/train-00000-of-00001.parquet"
    hub.files[path] = parquet(sentence1=["a"], label=[1.0])
    with pytest.raises(InputError, match=r"not the table expected .*sentence2") as caught:
        load(tiny, tmp_path / "cache", tasks="sts")
    assert "\n" not in str(caught.value)
    hub.files[f"{SST5}train.jsonl"] = b"<html>"
    with pytest.raises(InputError, match=r"train\.jsonl: not the table expected"):
        load(tiny, tmp_path / "cache", tasks="sst")
    assert not (tmp_path / "cache" / "glue" / "sts-train.csv").exists()


def test_a_hub_that_cannot_be_reached_is_one_line(
    tiny: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(InputError, match=r"SetFit/sst5.*check the network") as caught:
        load(tiny, tmp_path / "cache", tasks="sst")
    assert "\n" not in str(caught.value)
