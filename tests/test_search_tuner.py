"""The searcher and the scheduler by themselves, then real trials on a real Ray."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import ray
from optuna.trial import TrialState
from ray.tune.search import Searcher

from cluster.local import Cluster, ray_cluster
from minbert.config import InputSettings
from minbert.data import Dataset
from minbert.errors import InputError
from minbert.evaluate import evaluate
from minbert.hub import Pretrained
from minbert.report import Report
from minbert.train import Trainer
from search import tuner
from search.plan import Plan, make_plan
from search.results import SearchRecord, TrialRecord
from search.settings import StudySettings
from search.spaces import load_space
from search.trial import load_checkpoint
from search.tuner import SparingHalving, StudySearcher, run_trials

# Of our trials, number 2 fails in its worker and number 3 before it gets there.
SPACE = '''"""Learning rates, one of which comes with weights that cannot be."""
def space(trial):
    fields = {"lr": trial.suggest_float("lr", 1e-5, 1e-3, log=True)}
    if trial.number == 1:
        fields |= {"train_tasks": ("sts",), "loss_weights": (1, 0, 0)}
    if trial.number == 2:
        raise RuntimeError("no such luck")
    return fields
'''


def plan_of(space: Path, **settings: object) -> Plan:
    checked = StudySettings.check({"space": str(space), **settings})
    return make_plan(checked, InputSettings(), load_space(str(space)))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("space") / "rates.py"
    path.write_text(SPACE)
    return plan_of(path, trials=6, epochs=1)


def report(step: int, score: float, *, kept: bool = True) -> Report:
    return Report(
        step=step,
        epoch=step / 2,
        examples=10 * step,
        scores={"sst": score, "para": score, "sts": score},
        score=score,
        kept=kept,
        metrics={},
        losses={},
        negatives=0,
        lr=1e-5,
        grad_norm=1.0,
        tokens=100,
        train_seconds=1.0,
        dev_seconds=0.5,
    )


# Without Ray


def test_searcher_hands_out_the_recipe_first_then_proposals_then_nothing(plan: Plan) -> None:
    record = SearchRecord(plan.trials)
    searcher = StudySearcher(plan, record, seed=0)
    suggested = [searcher.suggest(f"t{number}") for number in range(6)]
    assert suggested[5] == Searcher.FINISHED
    # The third proposal raised: that is recorded as failed and the next one is handed out.
    assert [trial.state for trial in record.trials] == ["waiting"] * 3 + ["failed"] + [
        "waiting"
    ] * 2
    assert str(record.trials[3].error).endswith("rates.py:7: RuntimeError: no such luck")
    numbers = [config["number"] for config in suggested[:5] if isinstance(config, dict)]
    assert numbers == [0, 1, 2, 4, 5]
    assert [trial.fixed for trial in record.trials] == [True] + [False] * 5
    assert record.trials[0].config == plan.base
    assert record.trials[1].config == plan.base.replace(lr=record.trials[1].config.lr)


def test_same_seed_proposes_the_same(plan: Plan) -> None:
    def rates(seed: int) -> list[float]:
        record = SearchRecord(plan.trials)
        searcher = StudySearcher(plan, record, seed)
        while searcher.suggest(str(len(record.trials))) != Searcher.FINISHED:
            pass
        return [trial.config.lr for trial in record.trials]

    assert rates(3) == rates(3)
    assert rates(3) != rates(4)


def test_optuna_is_told_the_kept_score_of_finished_trials_alone(plan: Plan) -> None:
    record = SearchRecord(plan.trials)
    searcher = StudySearcher(plan, record, seed=0)
    for number in range(4):
        searcher.suggest(f"t{number}")
    finished, stopped, failed = (record.trials[number] for number in (1, 2, 4))
    finished.reports = [report(1, 0.6), report(2, 0.5, kept=False)]
    stopped.reports = [report(1, 0.3)]
    failed.reports = [report(1, 0.9)]
    searcher.on_trial_complete("t0")
    searcher.on_trial_complete("t1")
    searcher.on_trial_complete("t2")
    searcher.on_trial_complete("t3", error=True)
    trials = {trial.number: trial for trial in searcher._study.get_trials()}
    assert (trials[0].state, trials[0].value) == (TrialState.COMPLETE, 0.6)
    assert trials[0].intermediate_values == {1: 0.6, 2: 0.5}
    assert trials[1].state == TrialState.PRUNED
    assert trials[1].intermediate_values == {1: 0.3}
    assert trials[3].state == TrialState.FAIL


def test_halving_stops_the_low_but_never_a_fixed_trial(plan: Plan) -> None:
    record = SearchRecord(
        4,
        [TrialRecord(number, "", {}, plan.base, fixed=number == 1) for number in range(4)],
    )
    halving = SparingHalving(record, most_reports=9)
    verdicts = []
    for number, score in enumerate([0.5, 0.1, 0.4, 0.42]):
        trial = SimpleNamespace(trial_id=str(number), config={"number": number})
        halving.on_trial_add(None, trial)
        result = {"training_iteration": 1, "score": score}
        verdicts.append(halving.on_trial_result(None, trial, result))
    # Trial 1 is below the best third of {.5} and goes on nevertheless. Its score counts: the best
    # third of {.5, .1} begins at .367, so .4 goes on, which {.5} alone would have stopped. The
    # best third of {.5, .1, .4} begins at .433.
    assert verdicts == ["CONTINUE", "CONTINUE", "CONTINUE", "STOP"]


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"), [(1, 0, 8), (3, 0, 2), (1, 0.25, 8), (1, 1, 2), (1, 0.4, 5)]
)
def test_slots(cpus: int, gpus: float, slots: int) -> None:
    assert Cluster(nodes=1, cpus=8, gpus=2, dashboard=None).slots(cpus, gpus) == slots


@pytest.mark.parametrize(("cpus", "gpus", "option"), [(9, 0, "cpus"), (1, 3, "gpus")])
def test_more_than_there_is(cpus: int, gpus: float, option: str) -> None:
    with pytest.raises(InputError, match=f"--{option}-per-trial .: the cluster has"):
        Cluster(nodes=1, cpus=8, gpus=2, dashboard=None).slots(cpus, gpus)


# With Ray


@pytest.fixture(scope="module")
def machine() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        # Whatever cluster this names must not be joined.
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        with ray_cluster(dashboard=False) as cluster:
            yield cluster


def test_cluster_is_this_machine_on_loopback(machine: Cluster) -> None:
    assert machine.nodes == 1
    assert machine.cpus >= 1
    assert machine.dashboard is None
    assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"


class Killer(tuner.Recorder):
    """Kills the worker of trial 1 as it starts."""

    def on_trial_start(self, *args: Any, **kwargs: Any) -> None:
        super().on_trial_start(*args, **kwargs)
        trial = kwargs["trial"]
        if trial.config["number"] == 1:
            actor = trial.temporary_state.ray_actor
            os.kill(ray.get(actor.get_auto_filled_metrics.remote())["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def searched(
    machine: Cluster,  # noqa: ARG001
    plan: Plan,
    dataset: Dataset,
    tiny: Pretrained,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[SearchRecord, Path]:
    record = SearchRecord(plan.trials)
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "Recorder", Killer)
        run_trials(
            plan,
            dataset,
            tiny,
            record,
            [],
            folder=folder / "trials",
            seed=0,
            cpus_per_trial=1,
            gpus_per_trial=0,
            time_budget=None,
        )
    return record, folder


def test_failing_trials_stop_nothing_and_say_why(searched: tuple[SearchRecord, Path]) -> None:
    recipe, killed, wrong, refused, *good = searched[0].trials
    assert recipe.state == "finished"
    assert [trial.state for trial in (killed, wrong, refused)] == ["failed"] * 3
    assert "died" in str(killed.error).lower()
    assert str(wrong.error).endswith("loss_weights: 1,0,0 gives no weight to any of: sts")
    assert str(refused.error).endswith("RuntimeError: no such luck")
    assert len(good) == 2
    assert {trial.state for trial in good} <= {"finished", "stopped"}
    assert all(trial.reports for trial in good)


def test_trials_train_as_the_trainer_does(
    searched: tuple[SearchRecord, Path], dataset: Dataset, tiny: Pretrained
) -> None:
    for trial in searched[0].trials:
        if not trial.reports:
            continue
        trainer = Trainer(trial.config, dataset, tiny, device="cpu")
        alone = [trainer.next_report() for _ in trial.reports]
        assert [report.scores for report in trial.reports] == [report.scores for report in alone]
        assert trial.kept is not None
        assert trainer.kept is not None
        assert trial.kept.step == trainer.kept.step


def test_only_the_winners_checkpoint_is_left_and_it_is_what_the_trial_keeps(
    searched: tuple[SearchRecord, Path], dataset: Dataset, tiny: Pretrained
) -> None:
    record, folder = searched
    winner = record.winner
    assert winner is not None
    assert winner.score == max(t.score for t in record.trials if t.score is not None)
    left = list(folder.rglob("weights.safetensors"))
    assert [path.parent for path in left] == [Path(winner.checkpoint.path)]
    model, kept = load_checkpoint(left[0].parent, winner.config, dataset, tiny)
    assert kept == winner.kept
    results = evaluate(model, dataset)
    assert {task: result.score for task, result in results.items()} == kept.scores


def test_optuna_stays_quiet() -> None:
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
