"""Confirmations that labelled test files judge."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from minbert.errors import InputError
from minbert.tasks import TASKS
from search.confirmation.ledger import Ledger
from search.record import TrialRecord
from search.run import main as search
from search.storage.folder import RunFolder
from tests.conftest import write_course_folder
from tests.search.commands import said

from .simulated import KilledError, confirm, killed_at

pytestmark = pytest.mark.usefixtures("ray_once")


@pytest.fixture
def with_test(run: Path) -> Iterator[Path]:
    """A run whose data folder has labelled test files; gives the folder."""
    with closing(RunFolder(run).load_study()) as study:
        data = Path(study.setup["inputs"]["data"])
    yield write_labelled_test(data)
    for spec in TASKS.values():
        (data / spec.labelled_test_name).unlink()


def write_labelled_test(data: Path) -> Path:
    for spec in TASKS.values():
        shutil.copy(data / spec.file_name("dev"), data / spec.labelled_test_name)
    return data


def test_labelled_test_files_are_opened_once_after_all_trainings(
    run: Path, with_test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Ledger.add

    def killed(self: Ledger, kind: Any, content: dict[str, Any]) -> None:
        add(self, kind, content)
        if kind == "opened":
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", killed)
        with pytest.raises(KilledError):
            confirm(run, judge="test")
    predictions = RunFolder(run).confirmation_predictions
    assert predictions.judge("test") is None
    conclusion = confirm(run)
    assert conclusion is not None
    assert [(pair.fold, pair.examples) for pair in conclusion.pairs] == [(None, 72)] * 3
    with closing(RunFolder(run).load_confirmation()) as study:
        ledger = Ledger(study)
        assert all(trial.state == "finished" for trial in study.trials)
    assert [entry.kind for entry in ledger.entries] == ["plan", "opened", "verdict"]
    assert ledger.content("opened") == {
        "files": {
            spec.labelled_test_name: sha256((with_test / spec.labelled_test_name).read_bytes())
            for spec in TASKS.values()
        },
        "examples": {"sst": 24, "para": 24, "sts": 24},
    }
    with pytest.raises(InputError, match="--judge folds: the confirmation was begun with test"):
        confirm(run, judge="folds")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_test_files_stay_closed_if_the_recipe_leads_the_race(
    run: Path,
    with_test: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score = TrialRecord.score
    monkeypatch.setattr(
        TrialRecord,
        "score",
        property(
            lambda self: 0.99 if (self.origin, self.number) == ("race", 0) else score.fget(self)  # type: ignore[attr-defined]
        ),
    )
    conclusion = confirm(run, judge="test")
    assert conclusion is not None
    assert conclusion.ending == "recipe"
    with closing(RunFolder(run).load_confirmation()) as study:
        assert Ledger(study).content("opened") is None


def test_test_files_that_changed_are_refused(
    run: Path, with_test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        end = killed_at(patch, 5, after=True)
        with pytest.raises(KilledError):
            confirm(run, judge="test")
        end()
    file = with_test / "sts-test.csv"
    file.write_text(file.read_text().replace("dog", "fox"))
    with pytest.raises(InputError, match="the labelled test files have changed since the plan"):
        confirm(run)


def test_missing_test_files_are_told_before_a_search(tmp_path: Path) -> None:
    data = write_course_folder(tmp_path / "data", train=60)
    typed = "--space lr --trials 3 --epochs 1 --encoder tiny --confirm --judge test"
    code, out = said(search, *typed.split(), "--data", data, "--out", tmp_path)
    assert code == 2
    assert "has no ids-sst-test.csv, the test examples of sst with their labels; add it" in out
    assert not list(tmp_path.glob("*/study.journal"))
    code, out = said(search, *typed.split(), "--out", tmp_path)
    assert code == 2
    assert "data 'toy' have no labelled test examples" in out
