"""Where an encoder is looked for, what ``~`` means, and what the Hub's cache holds."""

import argparse
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from minbert.__main__ import main as minbert_main
from minbert.config import InputSettings
from minbert.errors import InputError
from minbert.hub import load_pretrained
from minbert.settings import expand_home, path_option
from minbert.training_run import TrainOptions
from search import export
from search.review.__main__ import main as review_main
from search.settings import StudySettings
from search.storage.addresses import expand_storage
from tests.conftest import write_course_folder
from tests.minbert.test_hub import Server, server  # noqa: F401 - a fixture

from .encoders import WORDS, refusal, save_pickled, write_encoder, write_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder and, beside it, the folder that commands run in."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return path


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any question to the Hub fails the test."""

    def asked(*_: object, **__: object) -> None:
        pytest.fail("the Hub was asked")

    monkeypatch.setattr("minbert.hub._fetch", asked)


# A path that is there, or looks like one


@pytest.mark.usefixtures("no_hub", "home")
@pytest.mark.parametrize(
    "name", ["model.pt", "model.bin", "model", "org/model", "model.safetensors"]
)
def test_a_file_is_told_from_a_folder(name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    save_pickled(Path(), {})
    Path("pytorch_model.bin").rename(name)
    assert refusal(name) == (
        f"encoder '{name}' is a file, not a folder; give a folder with config.json, weights and "
        "tokenizer"
    )


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "vocab.txt"])
def test_a_file_of_a_checkpoint_is_told_its_folder(file: str, tmp_path: Path) -> None:
    write_encoder(tmp_path)
    assert refusal(tmp_path / file).endswith(
        f"is a file, not a folder; give its folder: {tmp_path}"
    )


@pytest.mark.usefixtures("no_hub", "home")
@pytest.mark.parametrize(
    "name",
    [
        *("./enc", "../enc", "/no/enc", "a/b/c", "enc/", "org/enc/", "a//b", ".", "enc\\x"),
        *("enc.pt", "runs/enc.bin", "enc.safetensors", "enc.ckpt", "enc/config.json", "m.pth"),
    ],
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(name: str) -> None:
    said = refusal(name)
    assert "no encoder f" in said or "there is no config.json" in said


@pytest.mark.usefixtures("no_hub", "home")
def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    Path("enc").symlink_to("gone")
    assert "encoder 'enc' is a broken link" in refusal("enc")
    folder = tmp_path / "snapshot"
    write_encoder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../blobs/gone")
    assert "model.safetensors: a link to a file that is not there" in refusal(folder)


@pytest.mark.usefixtures("no_hub")
def test_a_folder_of_the_cache_is_told_its_snapshot(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abc"
    write_encoder(snapshot)
    said = refusal(tmp_path / "models--org--name")
    assert said.endswith(f"give the folder of the snapshot in it: {snapshot}")
    load_pretrained(str(snapshot))


@pytest.mark.usefixtures("no_hub")
def test_what_is_neither_file_nor_folder_is_refused() -> None:
    assert "encoder '/dev/null' is a file, not a folder" in refusal("/dev/null")


# ~


OPTIONS: dict[str, Callable[[str], object]] = {
    "--data": lambda path: InputSettings.check({"data": path}).data,
    "--encoder": lambda path: InputSettings.check({"encoder": path}).encoder,
    "train --out": lambda path: TrainOptions.check({"out": path}).out,
    "search --out": lambda path: StudySettings.check({"out": path}).out,
    "--space": lambda path: StudySettings.check({"space": path}).space,
    "--recipe": lambda path: StudySettings.check({"recipe": path}).recipe,
    "train --recipe": lambda path: TrainOptions.check({"out": "x", "recipe": path}).recipe,
    "--start-from": lambda path: StudySettings.check({"start_from": path}).start_from,
    "--storage": lambda path: StudySettings.check({"storage": path}).storage,
    "of argparse": path_option,
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_tilde_is_the_home_folder_in_every_option(option: str, home: Path) -> None:
    read = OPTIONS[option]
    assert str(read("~/a b/c")) == f"{home}/a b/c"
    assert str(read("~")) == str(home)
    # Only at the start, and only where it is not a part of a name.
    assert str(read("x/~/y")) == "x/~/y"
    assert read("./~") == (Path("./~") if option == "train --out" else "./~")


@pytest.mark.parametrize("option", OPTIONS)
def test_an_unknown_user_is_named_in_one_line(option: str) -> None:
    with pytest.raises((InputError, argparse.ArgumentTypeError)) as error:
        OPTIONS[option]("~nobody-here/x")
    said = str(error.value)
    assert "no home folder is known for ~nobody-here; write " in said
    assert "\n" not in said


def test_the_home_of_another_user() -> None:
    assert expand_home("~root/x") == os.path.expanduser("~root") + "/x"  # noqa: PTH111


def test_a_tilde_in_the_address_of_an_sqlite_file(home: Path) -> None:
    assert expand_storage("sqlite:///~/s.db") == f"sqlite:///{home}/s.db"
    for where in ("sqlite:///s.db", "sqlite:////s~.db", "postgresql://u:~p@host/db"):
        assert expand_storage(where) == where


def test_every_command_finds_what_a_tilde_names(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_course_folder(home / "data", train=8, dev=6, test=2)
    write_encoder(home / "enc")
    options = ["--data=~/data", "--encoder=~/enc", "--out=~/model", "--epochs=1"]
    assert minbert_main(["train", *options]) == 0
    assert minbert_main(["evaluate", "--model=~/model", "--data=~/data"]) == 0
    assert minbert_main(["predict", "--model=~/model", "--data=~/data", "--out=~/predictions"]) == 0
    assert sorted(path.name for path in home.iterdir()) == ["data", "enc", "model", "predictions"]
    assert not list(Path().iterdir())  # none is called ~
    assert load_pretrained("~/enc").config.vocab_size == len(WORDS)
    capsys.readouterr()


@pytest.mark.parametrize("command", [("train",), ("predict", "--model=x")])
def test_a_command_refuses_an_unknown_user(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((InputError, SystemExit)) as caught:
        minbert_main([*command, "--out", "~nobody-here/x"])
    said = str(caught.value) + capsys.readouterr().err
    assert "no home folder is known for ~nobody-here; write ./~nobody-here or the whole" in said


def test_review_and_export_take_a_tilde(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for main, more in ((review_main, []), (export.main, ["--to", "~/best"])):
        monkeypatch.setattr("sys.argv", ["search", "~/runs/none", *more])
        with pytest.raises(InputError, match=re.escape(f"{home}/runs/none")):
            main()


# The Hub


NAME = "someone/small-bert"


@pytest.fixture
def cached(server: Server, tmp_path: Path) -> Server:  # noqa: F811
    """A Hub of which one model is in the cache whole, as by a download of its snapshot."""
    write_encoder(tmp_path / "repo", files={"README.md": "small"})
    server.repositories[NAME] = tmp_path / "repo"
    for file in ("config.json", "vocab.txt", "model.safetensors"):
        huggingface_hub.hf_hub_download(NAME, file, endpoint=server.address)
    return server


def unreachable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
    del server


def failing(server: Server, _: pytest.MonkeyPatch) -> None:  # noqa: F811
    server.failing = True


def offline(_: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


WITHOUT = {"no network": unreachable, "a server that fails": failing, "HF_HUB_OFFLINE": offline}


@pytest.mark.parametrize("case", WITHOUT)
def test_a_snapshot_in_the_cache_is_enough(
    case: str, cached: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    WITHOUT[case](cached, monkeypatch)
    loaded = load_pretrained(NAME)
    assert loaded.config.vocab_size == len(WORDS)
    assert loaded.tokenizer().encode("the film").tokens == ["[CLS]", "the", "film", "[SEP]"]


def test_a_hub_that_fails_is_asked_once(cached: Server) -> None:
    cached.failing = True
    cached.requests.clear()
    load_pretrained(NAME)
    # The first file is in the cache, the second is not; no third is asked for.
    asked = {request.rpartition("/")[2] for request in cached.requests}
    assert asked == {"config.json", "tokenizer_config.json"}


@pytest.mark.parametrize("case", WITHOUT)
def test_what_the_cache_lacks_is_explained(
    case: str, cached: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    for path in cache.rglob("model.safetensors"):
        path.unlink()
    WITHOUT[case](cached, monkeypatch)
    said = refusal(NAME)
    assert "there is neither model.safetensors nor pytorch_model.bin; " in said
    assert "with its shards; only the Hub's cache was read, as " in said
    assert ("HF_HUB_OFFLINE is set" in said) == (case == "HF_HUB_OFFLINE")


@pytest.mark.parametrize("case", WITHOUT)
def test_a_model_that_is_not_in_the_cache_needs_the_network(
    case: str, cached: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    WITHOUT[case](cached, monkeypatch)
    said = refusal("someone/other-bert")
    assert "model 'someone/other-bert': cannot get config.json (" in said
    assert "only the Hub's cache" not in said


def test_shards_and_sub_folders_on_the_hub(server: Server, tmp_path: Path) -> None:  # noqa: F811
    tensors = write_encoder(tmp_path / "repo" / "0_Transformer")
    modules = [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    write_files(tmp_path / "repo", {"modules.json": modules})
    server.repositories[NAME] = tmp_path / "repo"
    assert load_pretrained(NAME).config.vocab_size == len(WORDS)
    folder = tmp_path / "repo" / "0_Transformer"
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    table = dict.fromkeys(tensors, "model-1.safetensors")
    write_files(folder, {"model.safetensors.index.json": {"weight_map": table}})
    server.repositories["someone/sharded"] = tmp_path / "repo"
    assert load_pretrained("someone/sharded").config.vocab_size == len(WORDS)


@pytest.mark.usefixtures("no_hub")
def test_minilm_of_the_package_asks_the_hub_nothing() -> None:
    assert load_pretrained("minilm", layers=1).config.hidden_size == 384
