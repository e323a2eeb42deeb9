"""The study in its storages: what is written is read back, and what a kill cut off is repaired."""

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState

from minbert.config import TrainConfig
from minbert.errors import InputError
from search.record import Decision, TrialRecord, Verdict
from search.storage import optuna_storage
from search.storage.addresses import without_password
from search.storage.folder import RunFolder
from search.storage.optuna_storage import open_storage
from search.storage.stored import FORMAT
from search.storage.study import Study
from testkit.simulation import equal_scores, report_of

CONFIG = TrainConfig.check({"epochs": 4, "lr": 3e-5, "loss_weights": (1, 2, 1)})


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    if request.param == "memory":
        return InMemoryStorage()
    where = f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else str(tmp_path / "s.log")
    return open_storage(where)


def add(study: Study, fixed: bool = False) -> TrialRecord:
    number = len(study.trials)
    fields: dict[str, Any] = {"lr": 3e-5, "loss_weights": (1.0, 2.0, 1.0)}
    trial = TrialRecord(number, f"t{number}", fields, CONFIG, fixed, "tpe")
    return study.add_trial(
        trial, {"x": 0.25}, {"x": FloatDistribution(0, 1)}, {"tpe:relative_params": "{}"}
    )


def report(study: Study, trial: TrialRecord, score: float, verdict: Verdict = "continue") -> None:
    made = report_of(trial, len(trial.reports) + 1, equal_scores(score))
    decision = Decision(
        verdict=verdict,
        reason="rung 1: 7th of 9, the top 3 continue",
        attempt=trial.attempts[-1].number,
        order=study.next_order(),
        at=1.5,
    )
    study.add_report(trial, made, decision)


def test_what_is_written_is_read_back(storage: BaseStorage) -> None:
    study = Study.create(storage, "s", {"objective": [1.0, 1.0, 1.0]})
    finished, paused, stopped, failed, waiting = (add(study, fixed=n == 0) for n in range(5))
    for trial in (finished, paused, stopped, failed):
        study.start_attempt(trial, "start")
        report(study, trial, 0.5)
    report(study, finished, 0.4, "finish")
    report(study, paused, 0.6, "pause")
    report(study, stopped, 0.2, "prune")
    study.end(failed, "failed", "the worker died")
    study.note("planned", 5)

    again = Study.load(storage, "s")
    assert again.setup == {"format": FORMAT, "objective": [1.0, 1.0, 1.0]}
    assert again.noted("planned") == 5
    assert again.next_order() == 7
    for trial, read in zip(study.trials, again.trials, strict=True):
        read.fields["loss_weights"] = tuple(read.fields["loss_weights"])
        assert read == trial
        assert again.frozen(read).params == {"x": 0.25}
        assert again.frozen(read).system_attrs["tpe:relative_params"] == "{}"
    states = [again.frozen(trial).state.name for trial in again.trials]
    assert states == ["COMPLETE", "RUNNING", "PRUNED", "FAIL", "WAITING"]
    assert again.frozen(again.trials[0]).values == pytest.approx([0.5])
    assert again.frozen(again.trials[2]).values == pytest.approx([0.2])
    assert waiting.state == "waiting"


def test_a_left_study_has_nothing_running_and_can_be_resumed(storage: BaseStorage) -> None:
    study = Study.create(storage, "s", {})
    running, paused, waiting = (add(study) for _ in range(3))
    for trial in (running, paused):
        study.start_attempt(trial, "start")
    report(study, paused, 0.6, "pause")
    for trial in study.trials:
        study.suspend(trial)
    study_id = storage.get_study_id_from_name("s")
    assert {trial.state for trial in storage.get_all_trials(study_id)} <= {TrialState.WAITING}
    again = Study.load(storage, "s")
    assert [trial.state for trial in again.trials] == ["interrupted", "paused", "waiting"]
    again.start_attempt(again.trials[0], "resumed")
    report(again, again.trials[0], 0.5, "finish")
    assert again.frozen(again.trials[0]).state == TrialState.COMPLETE
    assert [attempt.number for attempt in again.trials[0].attempts] == [1, 2]
    assert waiting.attempts == []


class KilledError(BaseException):
    """Stands in for a kill."""


def die(*_: Any) -> None:
    raise KilledError


@pytest.mark.parametrize("lost", ["set_trial_intermediate_value", "set_trial_state_values"])
def test_what_a_kill_cut_off_in_a_journal_is_repaired(tmp_path: Path, lost: str) -> None:
    storage = open_storage(f"{tmp_path}/s.log")
    study = Study.create(storage, "s", {})
    trial = add(study)
    study.start_attempt(trial, "start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, lost, die)
        with pytest.raises(KilledError):
            report(study, trial, 0.5, "finish")
    again = Study.load(storage, "s")
    assert again.trials[0].state == "finished"
    again.repair()
    (told,) = storage.get_all_trials(storage.get_study_id_from_name("s"))
    assert told.state == TrialState.COMPLETE
    assert told.intermediate_values == pytest.approx({1: 0.5})
    assert told.values == pytest.approx([0.5])


@pytest.mark.parametrize("lost", ["set_trial_intermediate_value", "set_trial_state_values"])
def test_a_database_has_a_report_whole_or_not_at_all(tmp_path: Path, lost: str) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    study = Study.create(storage, "s", {})
    trial = add(study)
    study.start_attempt(trial, "start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, lost, die)
        with pytest.raises(KilledError):
            report(study, trial, 0.5, "finish")
    again = Study.load(storage, "s")
    assert (again.trials[0].state, again.trials[0].reports) == ("interrupted", [])
    assert again.frozen(again.trials[0]).state == TrialState.RUNNING
    assert again.frozen(again.trials[0]).intermediate_values == {}
    report(again, again.trials[0], 0.5, "finish")
    assert Study.load(storage, "s").trials[0].state == "finished"


def test_writes_that_an_error_undid_are_made_again(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    study = Study.create(storage, "s", {})
    study.patience.seconds = 9
    trial = add(study)
    study.start_attempt(trial, "start")
    write = storage.set_trial_intermediate_value
    errors: list[str] = []

    def meets_another(trial_id: int, step: int, value: float) -> None:
        # Optuna lets this error pass, after which the writes before it are gone.
        if not errors:
            errors.append("UNIQUE constraint failed")
            storage.scoped_session().rollback()  # type: ignore[attr-defined]  # of a database
            return
        write(trial_id, step, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "set_trial_intermediate_value", meets_another)
        patch.setattr("search.storage.patience.time.sleep", lambda _: None)
        report(study, trial, 0.5, "finish")
    again = Study.load(storage, "s")
    assert [each.score for each in again.trials[0].reports] == [0.5]
    assert again.frozen(again.trials[0]).intermediate_values == {1: 0.5}


def test_a_write_whose_answer_was_lost_is_not_made_twice(storage: BaseStorage) -> None:
    study = Study.create(storage, "s", {})
    study.patience.seconds = 9
    trial = add(study)
    study.start_attempt(trial, "start")
    # What makes the writes last: the transaction of a database, the last write to a journal.
    owner, name = (
        (optuna_storage._Session, "commit")
        if isinstance(storage, RDBStorage)
        else (type(storage), "set_trial_state_values")
    )
    write = getattr(owner, name)
    lost: list[Any] = []

    def without_answer(of: Any, *arguments: Any) -> Any:
        done = write(of, *arguments)
        if not lost and not getattr(of, "holds", False):
            lost.append(done)
            raise OSError("the connection was cut")
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, without_answer)
        patch.setattr("search.storage.patience.time.sleep", lambda _: None)
        report(study, trial, 0.5, "finish")
    assert lost
    (told,) = storage.get_all_trials(storage.get_study_id_from_name("s"))
    assert (told.state, told.values) == (TrialState.COMPLETE, [0.5])


def test_a_database_that_two_make_at_once_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = models.BaseModel.metadata
    create = tables.create_all
    raced: list[Any] = []

    def create_all(engine: Any) -> None:
        create(engine)
        if not raced:
            raced.append(engine)
            # What it does that had looked before, and found nothing there.
            create(engine, checkfirst=False)

    monkeypatch.setattr(tables, "create_all", create_all)
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    assert raced
    Study.create(storage, "s", {})


def test_a_name_is_taken_once(storage: BaseStorage) -> None:
    Study.create(storage, "s", {})
    with pytest.raises(InputError, match="holds a study 's' already"):
        Study.create(storage, "s", {})
    with pytest.raises(InputError, match="holds no study 'other'"):
        Study.load(storage, "other")


def test_passwords_are_not_stored(tmp_path: Path) -> None:
    url = "postgresql://me:secret@host:5432/db?sslmode=require"
    assert without_password(url) == "postgresql://me:***@host:5432/db?sslmode=require"
    folder = RunFolder(tmp_path / "run", url)
    folder.create()
    assert "secret" not in (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(InputError, match=r"--storage 'postgresql://me:\*\*\*@host.* password in"):
        RunFolder(tmp_path / "run").storage_address()
    assert RunFolder(tmp_path / "run", url).storage_address() == url
    # As SQLAlchemy takes them apart, and as people write them.
    for secret in ("sec/ret", "sec#ret", "sec?ret", "sec@ret", "sec:ret", "sec\nret"):
        shown = without_password(f"mysql+pymysql://me:{secret}@host/db?charset=utf8")
        assert shown == "mysql+pymysql://me:***@host/db?charset=utf8"
    assert without_password("mysql://me@host/db?passwd=secret&x=1") == (
        "mysql://me@host/db?passwd=***&x=1"
    )
    for harmless in ("sqlite:////home/me/a@b/s.db", "postgresql://me@host:5432/db", "a:b@c"):
        assert without_password(harmless) == harmless


@pytest.mark.parametrize("url", ["sqlite:////elsewhere/s.db", "postgresql://host:1/db"])
def test_a_folder_does_not_send_us_to_a_database(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("search.storage.folder.open_storage", opened.append)
    folder = RunFolder(tmp_path / "run", url)
    folder.create()
    assert folder.arguments == f"{tmp_path}/run --storage {url}"
    with pytest.raises(InputError, match=f"the study is at {url}; give it with --storage {url}"):
        RunFolder(tmp_path / "run").load_study()
    assert opened == []


def test_a_journal_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("run"), "study.log")
    folder.create()
    folder.create_study({}).close()
    monkeypatch.chdir("/")
    assert RunFolder(tmp_path / "run").load_study().trials == []
    assert json.loads((tmp_path / "run" / "run.json").read_text())["storage"] == str(
        tmp_path / "study.log"
    )


def test_a_damaged_or_missing_study_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match=r"holds no run \(there is no run.json in it\)"):
        folder.load_study()
    folder.create()
    with pytest.raises(InputError, match=r"study.db is missing"):
        folder.load_study()
    (tmp_path / "run" / "study.db").write_bytes(b"no database at all, and long enough to be one")
    with pytest.raises(InputError, match=r"--storage nowhere/s\.log: No such file"):
        open_storage("nowhere/s.log")
    with pytest.raises(InputError, match=r"study\.db is not an SQLite database"):
        folder.load_study()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json is damaged"):
        folder.load_study()
