"""Bench commands that compare trainers, on very little: that they work, not how fast it is."""

import re
import subprocess
from pathlib import Path

import pytest

from bench import served, trainer
from bench.served import ROOT, Process, code_of

from .in_process import run_in_process

needs_history = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="there is no git history here"
)


@needs_history
def test_profile_names_operators_of_now_and_of_an_earlier_commit() -> None:
    options = ["--profile", "--before", "HEAD", "--layers", 1, "--batch", 4, "--threads", 1]
    code, text, _ = run_in_process(trainer.main, *options, "--encoding", "separate", "--steps", 2)
    assert code == 0
    assert re.search(r"minbert \(\w+\) .*minbert, before \(\w+\)", text)
    (first,) = re.findall(r"^│ 1 .*$", text, re.MULTILINE)
    assert first.count("aten::") + first.count("mkldnn::") == 2
    assert len(re.findall(r"^│ \d+ ", text, re.MULTILINE)) == trainer.TOP
    for row in ("other operators", "outside operators", "a step, profiled"):
        assert text.count(row) == 2
    assert text.count("100.0%") == 2


def test_code_of_an_earlier_commit_is_what_a_process_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "minbert"
    package.mkdir()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    for content in ("raise SystemExit(7)\n", "raise SystemExit(8)\n"):
        (package / "__init__.py").write_text(content)
        subprocess.run([*git, "add", "minbert"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    with monkeypatch.context() as patch:
        patch.setattr(served, "ROOT", tmp_path)
        with code_of("HEAD~1") as code:
            patch.undo()
            with pytest.raises(SystemExit, match="ended with status 7"):
                Process("trainer", {"threads": 1}, code)
            assert not (code / "bench").exists()


def test_unknown_commit_is_one_line() -> None:
    with (
        pytest.raises(SystemExit, match=r"^error: --before no-such: .*; give a commit of this"),
        code_of("no-such"),
    ):
        pass
