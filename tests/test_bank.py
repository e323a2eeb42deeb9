"""The bank of learning curves, and the surrogate that is learnt from it."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from bench import surrogate
from bench.bank import FEW, FOLDER, BankTrial, load_run, proposed
from bench.surrogate import SeedNoise, Surrogate, features
from minbert.config import TrainConfig, recipe
from testkit.simulation import equal_scores, made_up_report

# TPE's multivariate mode, which the sampler uses.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

NAMES = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))


def made_up(config: TrainConfig, *scores: float) -> BankTrial:
    reports = [
        made_up_report(config, step, equal_scores(score), kept=True)
        for step, score in enumerate(scores, start=1)
    ]
    return BankTrial({}, config, tuple(reports))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_the_bank_has_whole_curves_and_no_text(name: str) -> None:
    run = load_run(name)
    assert run.trials[0].config == run.base
    assert all(len(trial.reports) == 6 for trial in run.trials)
    scores = np.array([list(r.scores.values()) for trial in run.trials for r in trial.reports])
    assert scores.shape[1] == 3
    assert (np.abs(scores) <= 1).all()
    content = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    assert set(content) == {"space", "recipe", "base", "trials"}
    for trial in content["trials"]:
        assert set(trial) == {"fields", "scores", "kept", "seconds"}
        assert set(trial["fields"]) <= set(TrainConfig.model_fields)


def test_configurations_to_record_differ_and_stay_near_the_recipe() -> None:
    fields = proposed("strong", FEW)
    base = recipe("strong")
    configs = {base.replace(**each).effective() for each in fields}
    assert len(configs) == len(fields) == 24
    assert base.effective() not in configs


def test_fields_without_effect_are_no_features() -> None:
    base = recipe("strong")
    one = base.replace(negatives=0.0, negative_strategy="hard")
    assert features(one) == features(base)
    assert features(base.replace(lr=1e-3)) != features(base)


def test_the_surrogate_knows_the_trials_that_it_learnt() -> None:
    base = recipe("strong")
    trials = [made_up(base.replace(lr=lr), lr * 100, lr * 200) for lr in (1e-4, 5e-4, 1e-3, 2e-3)]
    # Two seeds of one configuration count as their mean.
    trials.append(made_up(base.replace(lr=1e-4, seed=1), 0.03, 0.04))
    learnt = Surrogate(trials, SeedNoise(np.eye(2), 1))
    assert learnt.curve(base.replace(lr=1e-3)) == pytest.approx([0.1, 0.2])
    assert learnt.curve(base.replace(lr=1e-4)) == pytest.approx([0.02, 0.03])


def test_noise_is_what_differs_between_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    base = recipe("strong")
    several = [
        made_up(base.replace(seed=0), 0.5, 0.6),
        made_up(base.replace(seed=1), 0.52, 0.66),
        made_up(base.replace(lr=1e-3, seed=0), 0.3, 0.3),
        made_up(base.replace(lr=1e-3, seed=1), 0.3, 0.3),
        made_up(base.replace(lr=1e-2), 0.1, 0.1),
    ]
    monkeypatch.setattr(surrogate, "all_trials", lambda: several)
    surrogate.seed_noise.cache_clear()
    try:
        noise = surrogate.seed_noise()
    finally:
        surrogate.seed_noise.cache_clear()
    # Two configurations with two seeds each leave two degrees of freedom.
    assert noise.configurations == 2
    assert noise.covariance == pytest.approx(np.array([[0.0002, 0.0006], [0.0006, 0.0018]]) / 2)
    drawn = np.array(
        [replace(noise, covariance=np.eye(2)).draw(np.random.default_rng(i)) for i in range(2000)]
    )
    assert np.cov(drawn.T) == pytest.approx(np.eye(2), abs=0.1)
