"""A search from Python, as the README shows it."""

import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from minbert.config import TrainConfig
from minbert.errors import InputError
from minbert.report import Report
from search import Session
from search.inputs import LoadedInputs
from search.setup import plan_search, settle
from search.storage.directory import Directory
from testkit.trainer import ScoredTrainer
from tests.in_process import shared_ray

README = Path(__file__).parents[2] / "README.md"


def lines_of_readme() -> str:
    """The README's Python lines that run a search."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if "import Session" in block)
    return str(block)


@pytest.fixture(scope="module", autouse=True)
def ray_once() -> Iterator[None]:
    """One Ray for all searches of this file."""
    with shared_ray():
        yield


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the README's lines leave behind."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
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


class CurveTrainer(ScoredTrainer):
    """Scores rise with the learning rate and the step."""

    def score(self, config: TrainConfig, step: int) -> float:
        return config.lr * 1000 + 0.01 * step

    @classmethod
    def save(
        cls,
        folder: Path,
        checkpoint: Directory,
        config: TrainConfig,
        report: Report,
        inputs: LoadedInputs,  # noqa: ARG003
        recipe: str,
    ) -> None:
        folder.mkdir(parents=True)
        (folder / "saved").write_text(f"{checkpoint.files()} {config.lr} {report.step} {recipe}")


def test_a_search_runs_any_trainer_that_follows_the_protocol(tmp_path: Path) -> None:
    options: dict[str, Any] = {"space": "lr", "trials": 7, "epochs": 2, "encoder": "tiny"}
    session = Session(trainer=CurveTrainer, out=str(tmp_path), name="a", **options)
    handler = signal.getsignal(signal.SIGINT)
    record = session.run()
    # So the next Ctrl-C interrupts the program, and not a search that is over.
    assert signal.getsignal(signal.SIGINT) is handler
    best = max(record.trials[1:], key=lambda trial: trial.config.lr)
    assert session.winner is best
    # It was paused at its first report, or promoted at once, and trained to its end.
    assert [report.step for report in best.reports] == [1, 2, 3, 4]
    assert {trial.state for trial in record.trials} == {"finished", "stopped"}
    saved = (tmp_path / "a" / "best" / "saved").read_text()
    assert saved == f"['checkpoint.json', 'weights.safetensors'] {best.config.lr} 4 strong"


def test_searches_build_on_one_another(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trainer": CurveTrainer, "out": str(tmp_path)}
    made = {**options, "space": "lr", "epochs": 1, "encoder": "tiny", "trials": 1}
    file, folder = tmp_path / "my.json", tmp_path / "second"
    file.write_text('{"dropout": 0.2, "epochs": 7, "seed": 5}')
    first = Session(name="first", recipe=str(file), **made)
    first.run()
    assert first.winner is not None
    assert first.winner.config.dropout == 0.2

    second = Session(name="second", recipe=str(tmp_path / "first"), seed=3, **made)
    start = second.run().trials[0].config
    assert start == first.winner.config.replace(seed=3)
    name = f"winner of {tmp_path.name}/first"
    assert (folder / "best" / "saved").read_text().endswith(name)
    assert json.loads((folder / "summary.json").read_text())["recipe"] == name
    assert f"recipe {name};" in (folder / "report.html").read_text()

    again = {**options, "name": "first", "resume": True}
    file.write_text('{"dropout": 0.3}')
    with pytest.raises(InputError, match=r"my.json: dropout is 0.3, but the study was made with 0"):
        Session(recipe=str(file), **again)
    with pytest.raises(InputError, match=r"^--recipe paper: pooling is cls, but the study was mad"):
        Session(recipe="paper", **again)
    # The study holds the configuration, so neither the file nor the run is needed any more.
    file.unlink()
    record = Session(trials=2, recipe=str(file), **again).run()
    assert [trial.config.dropout for trial in record.trials] == [0.2] * 2
    assert [trial.config.epochs for trial in record.trials] == [1] * 2
    shutil.rmtree(tmp_path / "first")
    named = {"resume": True, "out": str(tmp_path), "name": "second"}
    for recipe in ({}, {"recipe": str(tmp_path / "first")}):
        plan = plan_search(*settle({**named, **recipe}, {}))
        assert (plan.recipe, plan.base) == (name, start)
