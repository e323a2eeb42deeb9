"""Encodings: files in any that Python knows are read, and output in any is written."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cluster.__main__
import minbert.__main__
import search.export
import search.replay
import search.review.__main__
import search.run
from minbert.config import TrainConfig
from minbert.errors import InputError
from minbert.output import check_arguments, encodable
from minbert.settings import run_command
from search.propose.branches import check_space
from search.propose.spaces import load_space
from search.record import TrialRecord
from search.review.tensorboard.log import run_name
from tests.in_process import undone

COMMANDS: dict[str, Callable[[], int | None]] = {
    "search.run": search.run.main,
    "search.review": search.review.__main__.main,
    "search.export": search.export.main,
    "search.replay": search.replay.main,
    "minbert": minbert.__main__.main,
    "cluster": cluster.__main__.main,
}
ARGUMENTS = {
    "search.run": [
        ["--help"],
        ["--list-spaces"],
        ["--objective", "α"],
        ["--space", "σπάνιος"],
        ["--space", "lr", "--try", "lr=β"],
        ["--αβγ"],
    ],
    "search.review": [["--help"], ["nirgends/größe"], ["--weights", "α"]],
    "search.export": [["--help"], ["nirgends/größe", "--to", "x"]],
    "search.replay": [["--help"], ["nirgends/größe"]],
    "minbert": [
        ["--help"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["predict", "--help"],
        ["train", "--data", "größe", "--out", "x"],
        ["predict", "--model", "größe", "--text", "schön"],
    ],
    "cluster": [["--help"], ["local", "--help"], ["lokal"]],
}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "shift_jis"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_errors_and_notes_are_written_in_any_encoding(
    name: str, encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in ARGUMENTS[name]:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with undone(), pytest.raises(SystemExit) as end:
            run_command(COMMANDS[name])
        out.flush()
        err.flush()
        said = out.buffer.getvalue().decode(encoding)
        errors = err.buffer.getvalue().decode(encoding)
        if arguments[-1] in ("--help", "--list-spaces"):
            assert end.value.code == 0
            assert said
            assert errors == ""
        else:
            assert end.value.code == 2
            assert errors.startswith("error: ")
            assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "in_ascii"),
    [
        ("α=0.25 β=0.06 γ=0.69", "alpha=0.25 beta=0.06 gamma=0.69"),
        ("Größe, naïve", "Grosse, naive"),
        ("5 … 7 − 2 · 3", "5 ... 7 - 2 * 3"),
        ("漢字 \udcff", "?? ?"),
        ("plain", "plain"),
    ],
)
def test_what_an_encoding_lacks_is_spelled_out(text: str, in_ascii: str) -> None:
    assert encodable(text, "ascii") == in_ascii
    assert encodable(in_ascii, "ascii") == in_ascii


def test_halves_of_characters_are_replaced_in_utf8_too() -> None:
    assert encodable("α \udcff", "utf-8") == "α ?"


def test_an_argument_that_is_no_text_is_refused() -> None:
    check_arguments(["--name", "α"])
    argument = os.fsdecode(b"gr\xf6\xdfe")
    with pytest.raises(InputError, match=r"is not text in this locale .*; set PYTHONUTF8=1"):
        check_arguments(["--name", argument])


def test_folders_of_tensorboard_have_names_that_the_file_system_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = TrialRecord(3, "α=0.25 β=0.75", {}, TrainConfig())
    assert run_name(trial) == "003 α=.25 β=.75"
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    assert run_name(trial) == "003 alpha=.25 beta=.75"


BODY = "def space(trial):\n    return {{{!r}: trial.suggest_float('lr', 1e-5, 1e-3)}}\n"
FILES = {
    "utf-8 with a mark": b"\xef\xbb\xbf" + '"""Für alle."""\n'.encode() + BODY.encode(),
    "latin-1": "# -*- coding: latin-1 -*-\n# Für alle.\n".encode("latin-1") + BODY.encode(),
    "windows-1251": "# coding: cp1251\n# Для всех.\n".encode("cp1251") + BODY.encode(),
    "line ends of windows": b'"""For all."""\r\n' + BODY.replace("\n", "\r\n").encode(),
    "line ends of old macs": b'"""For all."""\r' + BODY.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_a_space_file_in_any_encoding_works_and_its_errors_have_a_line(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    content = FILES[name].replace(b"{{", b"{").replace(b"}}", b"}")
    path.write_bytes(content.replace(b"{!r}", b"'lr'"))
    assert check_space(load_space(str(path)), TrainConfig())
    path.write_bytes(content.replace(b"{!r}", b"'learning_rate'"))
    line = (
        content.replace(b"\r\n", b"\n")
        .replace(b"\r", b"\n")
        .split(b"\n")
        .index(b"def space(trial):")
        + 2
    )
    with pytest.raises(InputError) as refused:
        check_space(load_space(str(path)), TrainConfig())
    assert str(refused.value).startswith(f"{path}:{line}: unknown setting 'learning_rate'")


@pytest.mark.parametrize(
    "content",
    [
        '"""Für alle."""\ndef space(trial): return {}\n'.encode("latin-1"),
        b"# coding: nothing-known\ndef space(trial): return {}\n",
        "def space(trial): return {}\n".encode("utf-16"),
        b"def space(trial): return {}\0\n",
    ],
)
def test_a_space_file_that_python_cannot_read_is_refused_in_one_line(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        load_space(str(path))
    assert str(refused.value).startswith(f"{path}:")
    assert "\n" not in str(refused.value)


def test_a_command_under_an_ascii_locale() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "search.run", "--list-spaces"],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"alpha, beta, gamma >= 0 with alpha + beta + gamma = 1, uniform" in done.stdout


@pytest.mark.slow
def test_a_search_and_its_review_under_an_ascii_locale(tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "search.run", "--space", "weights", "--encoder", "tiny"]
    command += ["--train-limit", "40", "--dev-limit", "40", "--epochs", "1", "--trials", "3"]
    command += ["--no-dashboard", "--out", str(tmp_path), "--name", "a"]
    for each in (command, [sys.executable, "-m", "search.review", str(tmp_path / "a")]):
        done = subprocess.run(each, capture_output=True, env=environment, check=False)
        said = done.stdout.decode("ascii") + done.stderr.decode("ascii")
        assert done.returncode == 0, said
        assert "UnicodeEncodeError" not in said
        assert "alpha=" in said
    assert len(list((tmp_path / "a" / "tensorboard").glob("00[0-2] *"))) == 3
