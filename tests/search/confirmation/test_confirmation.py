"""Confirmations of a finished search: whole ones, and ones that are killed and continued."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cluster.local import Machine
from minbert.config import InputSettings, TrainConfig
from minbert.errors import InputError
from minbert.examples import Split
from minbert.tasks import TASKS, Task
from search.confirm import main
from search.confirmation.conclusion import Conclusion
from search.confirmation.ledger import Ledger
from search.confirmation.session import Confirmation
from search.confirmation.trainings import FOLDS, ConfirmationPlan
from search.driver import Driver, Job
from search.inputs import Fold, load_inputs
from search.record import TrialRecord
from search.review.__main__ import main as review
from search.review.reading import read_run
from search.run import main as search
from search.session import Session
from search.storage.checkpoints import save_checkpoint
from search.storage.folder import RunFolder
from search.storage.predictions import pack_predictions
from search.storage.provenance import begin_run
from search.storage.study import Study
from search.trainer import MinbertTrainer
from testkit.trainer import ScoredTrainer
from tests.conftest import write_course_folder
from tests.in_process import shared_ray
from tests.search.commands import said
from tests.search.review.tensorboard.logged_search import points

OPTIONS = {"confirm_seeds": 3, "finalists": 2, "dashboard": False}
KILLS = 8


class Saved(ScoredTrainer):
    """Scores rise with the learning rate; saves nothing for users."""

    def score(self, config: TrainConfig, step: int) -> float:
        return min(0.9, 0.3 + 400 * config.lr) + 0.01 * step

    @classmethod
    def save(cls, *_: Any) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def ray_once() -> Iterator[None]:
    """One Ray for all searches and confirmations of this file."""
    with shared_ray():
        yield


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search whose trainer trains nothing."""
    folder = tmp_path_factory.mktemp("searched")
    data = write_course_folder(folder / "data", train=60)
    options: dict[str, Any] = {"space": "lr", "trials": 5, "epochs": 1, "encoder": "tiny"}
    options |= {"data": str(data), "out": str(folder), "name": "a", "dashboard": False}
    Session(trainer=Saved, **options).run()
    return folder / "a"


class Simulated(Confirmation):
    """A confirmation whose trainings are simulated, one after the other."""

    def _run_on_cluster(self, study: Study, driver: Driver, plan: ConfirmationPlan) -> None:
        driver.record.slots = 1
        machines: Any = SimpleNamespace(machines=lambda: [Machine(1, 0.0)])
        begin_run(study, self._loaded.dataset, machines, slots=1)
        while isinstance(job := driver.next_job(busy=False), Job):
            self._train_all(driver, job, plan)
        driver.leave()

    def _train_all(self, driver: Driver, job: Job, plan: ConfirmationPlan) -> None:
        trial, inputs = job.trial, self._inputs_of(plan)
        judging: dict[Task, Split] = {}
        if job.judge is not None:
            inputs, judging = inputs.judged_by(job.judge)
        trainer = Saved.make(trial.config, inputs)
        for step in range(1, trial.total_reports + 1):
            report = trainer.next_report()
            if step <= len(trial.reports):
                continue
            attempt = job.attempt.number
            directory = self.folder.confirmation_checkpoints
            key = trial.number, step
            save_checkpoint(directory, key, attempt, trainer.state_dict(), with_state=True)
            is_last = bool(judging) and step == trial.total_reports
            judged = pack_predictions(trainer.judge({}, judging)) if is_last else b""
            driver.reported(trial.number, attempt, report, b"", "", judged)


def confirm(path: Path, **options: Any) -> Conclusion | None:
    return Simulated(RunFolder(path), {**OPTIONS, **options}).run()


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / searched.name))


def test_a_confirmation_on_workers_from_its_cost_to_its_words(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conclusion = Confirmation(RunFolder(run), OPTIONS, Console(width=200), Saved).run()
    printed = capsys.readouterr().out
    assert "9 trainings, less than a minute on 1 slot." in printed
    assert "training 9 finished, dev score" in printed
    assert conclusion is not None
    assert conclusion.ending == "better"
    assert conclusion == confirm(run)
    assert conclusion.words in printed
    page = (run / "report.html").read_text()
    assert conclusion.words in page
    assert "had a standard deviation of" in page
    summary = json.loads((run / "summary.json").read_text())
    assert Conclusion.model_validate(summary["confirmation"]) == conclusion
    code, out = said(review, run)
    assert code == 0
    assert "Better than the recipe: trained this way it scores" in " ".join(out.split())
    # TensorBoard has the curves of its trainings.
    logged = run / "tensorboard" / "confirmation"
    name = f"004 trial {conclusion.rival}, seed 1000004, fold 1 of 5"
    with closing(RunFolder(run).load_confirmation()) as study:
        scores = [report.score for report in study.trials[4].reports]
    assert [value for _, value in points(logged / name)["dev/score"]] == pytest.approx(scores)
    # What is not needed any more is gone.
    assert not list((run / "confirmation" / "checkpoints").rglob("*.safetensors"))


def test_samplers_rungs_and_the_front_do_not_see_its_trainings(run: Path) -> None:
    before = read_run(RunFolder(run))
    confirm(run)
    after = read_run(RunFolder(run))
    assert after.confirmation is not None
    assert after.record == before.record
    assert (after.setup, after.dropped) == (before.setup, before.dropped)


def test_the_labels_of_a_fold_change_no_decision(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other" / run.name))
    one = confirm(run)
    # The judge of the same trainings sees other labels; what is trained stays the same.
    judge = Saved.judge
    monkeypatch.setattr(
        Saved,
        "judge",
        lambda self, weights, examples: {
            task: 1 - predictions for task, predictions in judge(self, weights, examples).items()
        },
    )
    flipped = confirm(other)
    trained = []
    for path in (run, other):
        with closing(RunFolder(path).load_confirmation()) as study:
            trained.append([(t.name, t.config, t.score, t.state) for t in study.trials])
    assert trained[0] == trained[1]
    assert one is not None
    assert flipped is not None
    assert one.interval != flipped.interval


class _KilledError(BaseException):
    """The process is killed."""


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool) -> Callable[[], None]:
    """Kill at a write to the study, before or after it; returns what ends that."""
    writes = iter(range(10_000))
    write = Study._write

    def killing(self: Study, action: Callable[[], Any]) -> Any:
        is_now = next(writes) == number
        if is_now and not after:
            raise _KilledError
        result = write(self, action)
        if is_now:
            raise _KilledError
        return result

    monkeypatch.setattr(Study, "_write", killing)
    return lambda: monkeypatch.setattr(Study, "_write", write)


@pytest.fixture(scope="module")
def uninterrupted(
    searched: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, Any], Conclusion]:
    """How often a confirmation writes, its plan and its conclusion."""
    path = Path(shutil.copytree(searched, tmp_path_factory.mktemp("whole") / searched.name))
    writes = 0
    write = Study._write

    def counting(self: Study, action: Callable[[], Any]) -> Any:
        nonlocal writes
        writes += 1
        return write(self, action)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "_write", counting)
        conclusion = confirm(path)
    assert conclusion is not None
    with closing(RunFolder(path).load_confirmation()) as study:
        plan = Ledger(study).content("plan")
    assert plan is not None
    return writes, plan, conclusion


def _check_killed(
    run: Path, kill: int, whole: tuple[int, dict[str, Any], Conclusion], kills: int
) -> None:
    writes, plan, conclusion = whole
    # Spread over all writes; the plan's and the verdict's are the first and the last.
    with pytest.MonkeyPatch.context() as patch:
        at = kill // 2 * (writes - 1) // ((kills - 1) // 2)
        end = killed_at(patch, at, after=bool(kill % 2))
        with pytest.raises(_KilledError):
            confirm(run)
        end()
    assert confirm(run) == conclusion
    with closing(RunFolder(run).load_confirmation()) as study:
        ledger = Ledger(study)
        assert ledger.content("plan") == plan
        assert [entry.kind for entry in ledger.entries] == ["plan", "verdict"]


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_confirmation_continues_to_the_same_verdict(
    run: Path, kill: int, uninterrupted: tuple[int, dict[str, Any], Conclusion]
) -> None:
    _check_killed(run, kill, uninterrupted, KILLS)


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(50))
def test_fifty_kills_change_no_verdict(
    run: Path, kill: int, uninterrupted: tuple[int, dict[str, Any], Conclusion]
) -> None:
    _check_killed(run, kill, uninterrupted, 50)


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
            raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", killed)
        with pytest.raises(_KilledError):
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
        with pytest.raises(_KilledError):
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


def test_too_few_examples_for_folds_are_told_before_the_plan(tmp_path: Path) -> None:
    data = write_course_folder(tmp_path / "data", train=60)
    options: dict[str, Any] = {"space": "lr", "trials": 3, "epochs": 1, "encoder": "tiny"}
    options |= {"data": str(data), "out": str(tmp_path), "name": "a", "dashboard": False}
    Session(trainer=Saved, train_limit=4, **options).run()
    with pytest.raises(InputError, match="too few training examples to divide them into 5 folds"):
        confirm(tmp_path / "a")
    with closing(RunFolder(tmp_path / "a").load_confirmation()) as study:
        assert Ledger(study).entries == []


def test_a_search_that_is_resumed_keeps_the_conclusion_and_confirms_no_new_trial(run: Path) -> None:
    conclusion = confirm(run)
    assert conclusion is not None
    options: dict[str, Any] = {"out": str(run.parent), "name": run.name, "dashboard": False}
    options |= {"resume": True, "trials": 6, "try_": ("lr=0.0012",)}
    record = Session(trainer=Saved, **options).run()
    summary = json.loads((run / "summary.json").read_text())
    assert Conclusion.model_validate(summary["confirmation"]) == conclusion
    assert record.winner is not None
    assert record.winner.number == 5
    later = "Trial 5 scored highest after that, and is not confirmed."
    assert later in (run / "report.html").read_text()
    assert len(list((run / "tensorboard" / "confirmation").iterdir())) == 9


def test_a_second_opening_is_refused_and_the_verdict_stays(run: Path) -> None:
    first = confirm(run)
    with pytest.raises(InputError, match="--confirm-seeds 7: the confirmation was begun with 3"):
        confirm(run, confirm_seeds=7)
    with pytest.raises(InputError, match="--finalists 1: the confirmation was begun with 2"):
        confirm(run, finalists=1)
    assert confirm(run) == first


def test_a_changed_verdict_is_told_in_a_line(run: Path) -> None:
    confirm(run)
    with closing(RunFolder(run).load_confirmation()) as study:
        entry = study.noted("ledger:0002")
        study.note("ledger:0002", {**entry, "content": {**entry["content"], "ending": "worse"}})
    for command in (review, main):
        code, out = said(command, run)
        assert code == 2
        assert "entry 2 of the confirmation's ledger was changed after it was written" in out
        assert "Traceback" not in out


def test_other_data_are_refused(run: Path) -> None:
    with closing(RunFolder(run).load_study()) as study:
        data = Path(study.setup["inputs"]["data"])
    file = data / "sts-train.csv"
    content = file.read_text()
    try:
        file.write_text(content.replace("dog", "fox"))
        with pytest.raises(InputError, match=r"sts-train.csv has changed since the study was mad"):
            confirm(run)
    finally:
        file.write_text(content)


def test_trainings_of_the_recipe_are_taken_from_an_earlier_confirmation(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(RunFolder(run).load_study()) as study:
        data = study.setup["inputs"]["data"]
    options: dict[str, Any] = {"space": "lr", "trials": 4, "epochs": 1, "encoder": "tiny"}
    options |= {"data": data, "out": str(run.parent), "dashboard": False, "sampler": "random"}
    for name, limit in (("b", None), ("other", 50)):
        Session(trainer=Saved, name=name, train_limit=limit, **options).run()
    confirm(run)
    alone, reused = [
        Simulated(RunFolder(run.parent / name), OPTIONS, Console(width=200))
        for name in ("other", "b")
    ]
    assert alone.run() is not None
    # On other data, all has to be trained.
    assert "is taken from" not in capsys.readouterr().out
    conclusion = reused.run()
    printed = capsys.readouterr().out
    assert printed.count("is taken from run a") == 4
    assert "training 1 (recipe, seed 1000003) is taken from run a" in printed
    # It shows what it would have shown without.
    for name in ("a", "other"):
        shutil.rmtree(run.parent / name)
    with closing(RunFolder(run.parent / "b").load_confirmation()) as study:
        study.delete()
    shutil.rmtree(run.parent / "b" / "confirmation")
    assert confirm(run.parent / "b") == conclusion


def test_an_unfinished_search_is_not_confirmed(run: Path) -> None:
    with closing(RunFolder(run).load_study()) as study:
        study.note("planned", 9)
    code, out = said(main, run)
    assert code == 2
    assert "The search is not done" in out
    assert "Finish it first" in out


def test_a_winner_that_is_the_recipe_needs_no_confirmation(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = TrialRecord.score
    monkeypatch.setattr(
        TrialRecord,
        "score",
        property(lambda self: 0.99 if self.number == 0 else score.fget(self)),  # type: ignore[attr-defined]
    )
    code, out = said(main, run)
    assert (code, out) == (0, "The winner is the recipe itself, so there is nothing to confirm.\n")


def test_a_fold_is_judged_by_the_selected_model_of_a_training_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_course_folder(tmp_path / "data", train=60)
    # The recipe loses the race, whatever these random models score.
    score = TrialRecord.score
    lost = property(
        lambda self: 0.0 if (self.origin, self.number) == ("race", 0) else score.fget(self)  # type: ignore[attr-defined]
    )
    monkeypatch.setattr(TrialRecord, "score", lost)
    # The selected model is that of the first report, not the last one.
    monkeypatch.setattr(TrainConfig, "selects_last", lambda _, history: len(history) == 1)
    typed = "--space lr --trials 3 --epochs 1 --encoder tiny --name a --no-dashboard --confirm"
    more = ["--confirm-seeds", 3, "--data", data, "--out", tmp_path]
    code, out = said(search, *typed.split(), *more)
    assert code == 0
    folder = RunFolder(tmp_path / "a")
    conclusion = read_run(folder).confirmation
    assert conclusion is not None
    assert conclusion.words in out
    with closing(folder.load_confirmation()) as study:
        trial = study.trials[-1]
    assert trial.origin == "judge"
    pair = conclusion.pairs[-1]
    assert pair.fold is not None
    inputs, left_out = load_inputs(InputSettings(data=str(data), encoder="tiny")).judged_by(
        Fold(pair.fold, FOLDS)
    )
    trainer = MinbertTrainer.make(trial.config, inputs, micro_batch=None, scratch=tmp_path)
    trainer.next_report()
    weights = {name: tensor.clone() for name, tensor in trainer.state_dict()["model"].items()}
    trainer.next_report()
    expected = trainer.judge(weights, left_out)
    judged = folder.confirmation_predictions.judged(trial.number)
    labels = folder.confirmation_predictions.judge(f"fold-{pair.fold}")
    assert judged is not None
    assert labels is not None
    for task, predictions in expected.items():
        as_stored = predictions > 0.5 if task == "para" else predictions
        assert judged[task] == pytest.approx(as_stored.astype(float), abs=1e-6)
        assert labels[task].tolist() == left_out[task].labels.tolist()  # type: ignore[union-attr]
    assert sum(map(len, labels.values())) == pair.examples
