"""Real trials on a real Ray: rungs, promotion, and what trials do wrong."""

import math
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import optuna
import pytest
import ray
import torch
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from cluster.local import Cluster, remove_leftovers
from minbert import train
from minbert.config import InputSettings
from minbert.evaluate import embed_sentences, evaluate, grade
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.report import Report
from minbert.train import DivergedError, Trainer
from search.driver import Driver
from search.inputs import LoadedInputs
from search.plan import make_plan
from search.propose import branches
from search.propose.spaces import load_space
from search.settings import StudySettings
from search.storage.checkpoints import CheckpointStore
from search.storage.directory import LocalDirectory
from search.storage.predictions import DevPredictions
from search.storage.study import Study
from search.trainer import MinbertTrainer, TrialTrainer, load_model
from search.workers import tuner
from tests.in_process import OneSlot, shared_ray, undone


@pytest.fixture(scope="module")
def machine() -> Iterator[Cluster]:
    with shared_ray() as machine:
        yield machine


def test_cluster_is_this_machine_on_loopback(machine: Cluster) -> None:
    (there,) = machine.machines()
    assert there.cpus >= 1
    assert machine.dashboard is None
    assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"


def test_workers_are_not_starved_by_other_programs(machine: Cluster) -> None:  # noqa: ARG001
    niceness = ray.remote(lambda: os.nice(0))
    assert ray.get(niceness.remote()) == os.nice(0)


class TwoSlots(Cluster):
    """This machine with room for two trials, however many cores it has."""

    def slots(self, cpus_per_trial: int, gpus_per_trial: float) -> int:  # noqa: ARG002
        return 2


@dataclass
class Searched:
    driver: Driver
    folder: Path
    storage: InMemoryStorage
    reports_of_process: Counter[int]


def search(
    dataset: Dataset,
    tiny: Pretrained,
    folder: Path,
    machines: Cluster,
    trainer: type[TrialTrainer] = MinbertTrainer,
    **settings: Any,
) -> Searched:
    """A search whose worker processes are counted."""
    checked = StudySettings.check({"pruner": "none", **settings})
    plan = make_plan(checked, InputSettings(), load_space(checked.space))
    storage = InMemoryStorage()
    study = Study.create(storage, "s", {})
    store = CheckpointStore(LocalDirectory(folder / "checkpoints"))
    driver = Driver(
        study, plan, checked, store, DevPredictions(LocalDirectory(folder / "predictions"))
    ).open()
    processes: Counter[int] = Counter()

    class Counting(tuner.VerdictScheduler):
        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            processes[result["pid"]] += 1
            return super().on_trial_result(tune_controller, trial, result)

    with undone(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "VerdictScheduler", Counting)
        tuner.run_trials(
            driver,
            LoadedInputs(InputSettings(), dataset, tiny),
            machines,
            tuner.WorkerOptions(
                study="s",
                checkpoints=LocalDirectory(folder / "checkpoints"),
                scratch=folder / "ray",
                state_every=checked.state_every,
                report_timeout=checked.report_timeout,
            ),
            trainer=trainer,
        )
    return Searched(driver, folder, storage, processes)


# A search of nine trials


@pytest.fixture(scope="module")
def halved(
    machine: Cluster,  # noqa: ARG001
    dataset: Dataset,
    tiny: Pretrained,
    tmp_path_factory: pytest.TempPathFactory,
) -> Searched:
    folder = tmp_path_factory.mktemp("halved")
    settings: dict[str, Any] = {"space": "lr", "trials": 9, "epochs": 3, "reports_per_epoch": 2}
    return search(dataset, tiny, folder, TwoSlots(), **settings)


def test_halving_promotes_a_third_and_a_third_of_these(halved: Searched) -> None:
    trials = halved.driver.study.trials
    came_to = {step: sum(len(t.reports) >= step for t in trials) for step in (1, 2, 4, 6)}
    # Of 9 at report 1 three continue; of these and the baseline, one to the end.
    assert came_to == {1: 9, 2: 4, 4: 2, 6: 2}
    counts = Counter(trial.state for trial in halved.storage.get_all_trials(0))
    assert counts == {TrialState.COMPLETE: 2, TrialState.PRUNED: 7}


def test_promoted_trials_score_what_they_score_without_a_pause(
    halved: Searched, dataset: Dataset, tiny: Pretrained
) -> None:
    promoted = [t for t in halved.driver.study.trials if any(a.rung for a in t.attempts)]
    assert promoted
    for trial in promoted:
        trainer = Trainer(trial.config, dataset, tiny, device="cpu")
        alone = [trainer.next_report() for _ in trial.reports]
        assert [report.scores for report in trial.reports] == [report.scores for report in alone]
        assert [report.losses for report in trial.reports] == [report.losses for report in alone]


def test_models_of_the_front_and_of_the_best_are_left_and_no_state(
    halved: Searched, dataset: Dataset, tiny: Pretrained
) -> None:
    driver = halved.driver
    inputs = LoadedInputs(InputSettings(), dataset, tiny)
    winner = driver.record.winner
    assert winner is not None
    assert winner.kept is not None
    wanted = driver.pareto_front.keys | {(winner.number, winner.kept.step)}
    left = list((halved.folder / "checkpoints").glob("*/*"))
    assert {(int(p.parent.name), int(p.name.partition("-")[0])) for p in left} == wanted
    assert not list((halved.folder / "checkpoints").rglob("state.pt"))
    for number, step in wanted:
        trial, path = driver.study.trials[number], driver.model(number, step)
        assert path is not None
        results = evaluate(load_model(path, trial.config, inputs), dataset)
        scores = {task: result.score for task, result in results.items()}
        assert scores == trial.reports[step - 1].scores


def test_predictions_of_each_report_give_its_scores(halved: Searched, dataset: Dataset) -> None:
    for trial in halved.driver.study.trials:
        for report in trial.reports:
            file = halved.folder / "predictions" / f"{trial.number:04d}" / f"{report.step:04d}.npz"
            predictions = np.load(file, allow_pickle=False)
            for task, score in report.scores.items():
                labels = dataset.splits[task]["dev"].labels
                assert labels is not None
                given = predictions[task].astype(np.float32)
                assert grade(task, given, labels, dataset.classes).score == score


# A search whose order is known

NUMBERED = '''"""Trials whose seed is their number."""
def space(trial):
    return {"lr": trial.suggest_float("lr", 1e-5, 1e-3, log=True), "seed": trial.number}
'''


class ScoredTrainer(MinbertTrainer):
    """Scores as the number of its trial says: of the first three the second is the best."""

    def next_report(self, *args: Any) -> Report:
        return super().next_report(*args).replace(score=(0.1, 0.9, 0.2)[self.config.seed])


def test_a_process_is_reused_for_new_trials_and_for_promotions(
    machine: Cluster,  # noqa: ARG001
    dataset: Dataset,
    tiny: Pretrained,
    tmp_path: Path,
) -> None:
    (tmp_path / "numbered.py").write_text(NUMBERED)
    settings = {"space": str(tmp_path / "numbered.py"), "trials": 3, "epochs": 1}
    # On two slots it is chance how many processes there are: of two that end at the same
    # moment Ray keeps one.
    done = search(
        dataset, tiny, tmp_path, OneSlot(), ScoredTrainer, **settings, reports_per_epoch=2
    )
    whys = [[attempt.why for attempt in trial.attempts] for trial in done.driver.study.trials]
    assert whys == [["start"], ["start", "promoted"], ["start"]]
    assert list(done.reports_of_process.values()) == [5]


HARD = '''"""Hard negatives."""
def space(trial):
    fields = {"lr": trial.suggest_float("lr", 1e-5, 1e-3, log=True)}
    return {**fields, "negatives": 1.0, "negative_strategy": "hard"}
'''


class CountedTrainer(MinbertTrainer):
    """Leaves a note of each time that its process embeds sentences."""

    marks: Path

    @classmethod
    def make(cls, *arguments: Any, **more: Any) -> Self:
        def embed(*sentences: Any) -> np.ndarray:
            with (cls.marks / "embedded").open("a") as file:
                file.write(".")
            return embed_sentences(*sentences)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "embed_sentences", embed)
            return super().make(*arguments, **more)


def test_sentences_close_by_are_looked_for_once_a_machine(
    machine: Cluster,  # noqa: ARG001
    dataset: Dataset,
    tiny: Pretrained,
    tmp_path: Path,
) -> None:
    (tmp_path / "hard.py").write_text(HARD)
    settings = {"space": str(tmp_path / "hard.py"), "trials": 4, "epochs": 1}

    class CountedHere(CountedTrainer):
        marks = tmp_path

    done = search(dataset, tiny, tmp_path, TwoSlots(), CountedHere, **settings, scheduler="none")
    assert [trial.state for trial in done.driver.study.trials] == ["finished"] * 4
    assert sum(trial.config.negatives > 0 for trial in done.driver.study.trials) > 1
    assert (tmp_path / "embedded").read_text() == "."


# Faults

FAULTY = '''"""Trials that go wrong, each in its own way; the number says how."""
def space(trial):
    fields = {"lr": trial.suggest_float("lr", 1e-5, 1e-3, log=True)}
    if trial.number == 1:
        fields |= {"train_tasks": ("sts",), "loss_weights": (1, 0, 0)}
    if trial.number == 2:
        raise RuntimeError("no such luck")
    return {**fields, "seed": trial.number}
'''


class FaultyTrainer(MinbertTrainer):
    """Goes wrong in its second report, as its seed says; once only where that may help."""

    marks: Path

    def next_report(self, *args: Any) -> Report:
        fault = self.config.seed if len(self.reports) == 1 else 0
        report = super().next_report(*args)
        if fault == 3:
            return report.replace(score=math.nan)
        if fault == 4:
            raise ValueError("something is odd")
        if fault == 8:
            raise DivergedError("the sts loss became nan by step 3 of 9")
        mark = self.marks / f"fault-{fault}"
        if fault in (5, 6, 7) and not mark.exists():
            mark.touch()
            if fault == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == 6:
                raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
            signal.pause()
        return report


@pytest.fixture(scope="module")
def faulty(
    machine: Cluster,  # noqa: ARG001
    dataset: Dataset,
    tiny: Pretrained,
    tmp_path_factory: pytest.TempPathFactory,
) -> Searched:
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "faults.py").write_text(FAULTY)
    settings = {"space": str(folder / "faults.py"), "trials": 10, "epochs": 2}
    settings |= {"scheduler": "none", "report_timeout": 999, "retries": 1}

    class FaultyHere(FaultyTrainer):
        marks = folder

    class Impatient(tuner.WorkerMonitor):
        """Takes the timeout to be over for the trial that hangs, once it does; for no other."""

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            running = self._slots.running.get(7)
            if running and running.job.attempt.number == 1 and (folder / "fault-7").exists():
                running.last_sign = -math.inf
            super().on_step_begin(iteration, trials, **info)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "WorkerMonitor", Impatient)
        # Otherwise the faults of the space are found before anything runs.
        patch.setattr(branches, "_RANDOM_RUNS", 1)
        return search(dataset, tiny, folder, TwoSlots(), FaultyHere, **settings)


def test_a_search_survives_what_its_trials_do(faulty: Searched) -> None:
    trials = faulty.driver.study.trials
    assert len(trials) == 10
    errors = {trial.number: str(trial.error) for trial in trials if trial.state == "failed"}
    assert errors.pop(1).endswith("loss_weights: 1,0,0 gives no weight to any of: sts")
    assert errors.pop(2).endswith("faults.py:7: RuntimeError: no such luck")
    assert errors.pop(3) == "the score of report 2 is nan"
    assert errors.pop(4).startswith("ValueError: something is odd (test_tuner.py:")
    assert errors.pop(8) == "the sts loss became nan by step 3 of 9"
    assert errors == {}
    told = faulty.storage.get_all_trials(0)
    assert {t.number for t in told if t.state == TrialState.FAIL} == {1, 2, 3, 4, 8}
    assert {t.number for t in told if t.state == TrialState.COMPLETE} == {0, 5, 6, 7, 9}


def test_what_may_help_is_tried_again_and_loses_nothing(
    faulty: Searched, dataset: Dataset, tiny: Pretrained
) -> None:
    raised, killed, starved, hung = faulty.driver.study.trials[4:8]
    for trial in (raised, killed, hung):
        assert [attempt.why for attempt in trial.attempts] == ["start", "retry"]
    assert "died" in killed.attempts[1].reason.lower()
    assert hung.attempts[1].reason == "no report within 999 s"
    assert [(a.why, a.micro_batch) for a in starved.attempts] == [
        ("start", None),
        ("out of memory", 16),
    ]
    for trial in (killed, hung):
        assert [report.step for report in trial.reports] == [1, 2, 3, 4]
        trainer = Trainer(trial.config, dataset, tiny, device="cpu")
        alone = [trainer.next_report().scores for _ in trial.reports]
        assert [report.scores for report in trial.reports] == alone


def test_optuna_stays_quiet() -> None:
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_what_killed_searches_leave_behind_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    left = tmp_path / f"minbert-ray-{gone.pid}-x"
    for folder in (left, tmp_path / f"minbert-ray-{os.getpid()}-x", tmp_path / "minbert-ray-x-y"):
        folder.mkdir()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"minbert-ray-{os.getpid()}-x", "minbert-ray-x-y"]
    )


def test_a_worker_imports_nothing_that_only_the_driver_needs() -> None:
    code = """
import sys
import search.workers.trial
print([name for name in ("optuna", "sqlalchemy", "scipy", "tensorboard") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
