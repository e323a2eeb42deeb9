"""A search from Python, as the README shows it."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from minbert.errors import InputError
from search import Session
from tests.in_process import shared_ray

README = Path(__file__).parents[2] / "README.md"


def lines_of_readme() -> str:
    """The README's Python lines that run a search."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if "import Session" in block)
    return str(block)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the README's lines leave behind."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, shared_ray():
        patch.chdir(tmp_path_factory.mktemp("session"))
        exec(lines_of_readme(), names)
        names["runs"] = Path("runs").resolve()
    return names


def test_the_lines_of_the_readme_are_six() -> None:
    lines = [line for line in lines_of_readme().splitlines() if line]
    assert len(lines) == 6


def test_what_a_session_gives_is_what_its_files_hold(ran: dict[str, Any]) -> None:
    session, table = ran["session"], ran["table"]
    (run,) = ran["runs"].iterdir()
    assert session.folder.name == run.name
    written = pd.read_csv(run / "trials.csv")
    assert list(table.columns) == list(written.columns)
    assert list(table["trial"]) == list(written["trial"])
    assert session.winner is session.record.trials[table["trial"][0]]
    assert session.winner.score == table["score"][0] == max(table["score"])
    for point in session.pareto_front:
        report = session.record.trials[point.trial].reports[point.step - 1]
        assert report.scores == point.scores
    assert session.winner.number in {point.trial for point in session.pareto_front}


def test_a_session_prints_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    session = Session(data=str(tmp_path), encoder="tiny", out=str(tmp_path / "runs"))
    with pytest.raises(InputError, match="has no ids-sst"):
        session.run()
    assert list((tmp_path / "runs").iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(InputError, match=r"'trails'.*did you mean 'trials'"):
        Session(trails=3)
