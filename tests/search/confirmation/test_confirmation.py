"""Confirmations of a finished search, from their start to their words."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from minbert.errors import InputError
from minbert.report import Report
from minbert.train import Trainer
from search.confirm import main
from search.confirmation import session
from search.confirmation.conclusion import Conclusion
from search.confirmation.ledger import Ledger
from search.confirmation.session import Confirmation
from search.confirmation.trainings import FOLDS, RULE
from search.inputs import Fold, load_inputs
from search.record import TrialRecord
from search.review.__main__ import main as review
from search.review.page.timeline import make_timeline
from search.review.reading import read_run
from search.run import main as search
from search.session import Session
from search.storage.folder import RunFolder
from search.trainer import MinbertTrainer
from tests.conftest import write_course_folder
from tests.search.commands import said
from tests.search.review.tensorboard.logged_search import points

from .simulated import OPTIONS, KilledError, Saved, Simulated, confirm, killed_at

pytestmark = pytest.mark.usefixtures("ray_once")


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
    assert f"trial {conclusion.rival}, seed 1000004, fold 1 of 5\\u003cbr>attempt 1" in page
    assert "The race first, then the pairs." in page
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


def test_a_confirmation_of_another_version_is_shown_and_not_continued(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        end = killed_at(patch, 5, after=True)
        with pytest.raises(KilledError):
            confirm(run)
        end()
    with monkeypatch.context() as patch:
        patch.setattr(session, "RULE", RULE + 1)
        with pytest.raises(InputError, match="was begun by another version of the program"):
            confirm(run)
    conclusion = confirm(run)
    assert conclusion is not None
    monkeypatch.setattr(session, "RULE", RULE + 1)
    assert confirm(run) == conclusion


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
    # In the timeline they end where they were taken over, and not when they were trained.
    confirmed = read_run(reused.folder).confirmed
    assert confirmed is not None
    timeline = make_timeline(confirmed.trainings, confirmed.driver_runs, time.time())
    assert timeline is not None
    assert all(stay.start <= stay.end for stay in timeline.stays)
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


def test_search_with_confirm_says_what_a_confirmation_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_course_folder(tmp_path / "data", train=60)
    # The recipe does not win the search, whatever these random models score.
    score = TrialRecord.score
    lost = property(
        lambda self: 0.0 if self.number == 0 and self.origin != "judge" else score.fget(self)  # type: ignore[attr-defined]
    )
    monkeypatch.setattr(TrialRecord, "score", lost)
    typed = "--space lr --trials 3 --epochs 1 --encoder tiny --name a --no-dashboard --confirm"
    more = ["--confirm-seeds", 3, "--data", data, "--out", tmp_path]
    code, out = said(search, *typed.split(), *more)
    assert code == 0
    conclusion = read_run(RunFolder(tmp_path / "a")).confirmation
    assert conclusion is not None
    assert len(conclusion.pairs) == 3
    assert conclusion.words in out


class Falling(MinbertTrainer):
    """Its scores fall, so that the model of the first report is selected."""

    def next_report(self, on_step: Callable[[Trainer], None] | None = None) -> Report:
        report = super().next_report(on_step)
        score = 1 / (1 + report.step)
        scores = dict.fromkeys(report.scores, score)
        return report.replace(scores=scores, score=score, kept=report.step == 1)


def test_a_fold_is_judged_by_the_selected_model_of_a_training_without_it(
    run: Path, tmp_path: Path
) -> None:
    folder = RunFolder(run)
    options = {**OPTIONS, "finalists": 1}
    conclusion = Confirmation(folder, options, trainer=Falling).run()
    assert conclusion is not None
    settings = read_run(folder).inputs
    with closing(folder.load_confirmation()) as study:
        trial = study.trials[-1]
    assert trial.origin == "judge"
    assert trial.total_reports == 2
    assert "The race first" not in (run / "report.html").read_text()
    assert trial.kept is not None
    assert trial.kept.step == 1
    pair = conclusion.pairs[-1]
    assert pair.fold is not None
    inputs, left_out = load_inputs(settings).judged_by(Fold(pair.fold, FOLDS))
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
