"""Where ways of searching are compared without training: what a configuration scores is known."""

import math
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import optuna

from bench.bank import load_run
from bench.surrogate import Surrogate, learn
from minbert.config import TrainConfig, recipe
from search.propose.spaces import Space, load_space
from search.settings import DEFAULT_REPORTS_PER_EPOCH

SPACE = Path(__file__).parent / "five_choices.py"


class World(Protocol):
    """A space whose configurations have known learning curves.

    Attributes:
        space: what is varied.
        base: the recipe, which our own searches try first.
        has_recipe: false if the recipe is of no use, so that no method starts from it.
        total: reports of a full training.
        noise: two standard errors of a score.
        target: a true score to reach.
    """

    space: Space
    base: TrainConfig
    has_recipe: bool
    total: int
    noise: float
    target: float

    def truth(self, config: TrainConfig) -> np.ndarray:
        """Expected score at each report, (reports,)."""
        ...

    def observed(self, config: TrainConfig) -> np.ndarray:
        """Scores of one training, (reports,); the same for every call."""
        ...


class Synthetic:
    """Noisy power laws, score(t) = a − b·t^(−c), over 27 epochs.

    a, b, c depend on the configuration, with an optimum that the seed moves about. A larger
    learning rate rises sooner, wherever the best one lies, so that curves cross: early scores
    mislead, as they do in training.

    Args:
        seed: of the curves and their noise.
        random_trials: the target is the highest score of so many random configurations.
    """

    has_recipe = False
    total = 27
    noise = 2 * 0.004

    def __init__(self, seed: int, random_trials: int):
        self._seed = seed
        self.space = load_space(str(SPACE))
        self.base = recipe("strong").replace(epochs=self.total, reports_per_epoch=1)
        self._moved = np.random.default_rng([seed, 1]).uniform(-1, 1, 4)
        draw = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        configs = [
            self.space.configure(self.space.propose(draw.ask()), self.base)
            for _ in range(random_trials)
        ]
        self.target = max(float(self.observed(config).max()) for config in configs)

    def truth(self, config: TrainConfig) -> np.ndarray:
        moved = self._moved
        lr = (math.log10(config.lr) + 4 + 0.5 * moved[0]) / 2  # -1 to 1, about
        dropout = (config.dropout - 0.3 + 0.15 * moved[1]) / 0.3
        warmup = (config.warmup - 0.25 + 0.12 * moved[2]) / 0.25
        decay = (config.layer_decay - 0.8 + 0.1 * moved[3]) / 0.3
        bowl = 0.25 * lr**2 + 0.05 * dropout**2 + 0.03 * warmup**2 + 0.03 * decay**2
        end = 0.85 - bowl - (0.03 if config.pooling == "cls" else 0.0)
        speed = 0.9 + 0.5 * max(-1.0, min(1.0, lr + 0.3 * dropout))
        height = 0.35 - 0.08 * warmup * lr
        curve: np.ndarray = end - height * np.arange(1, self.total + 1) ** -speed
        return curve

    def observed(self, config: TrainConfig) -> np.ndarray:
        draw = np.random.default_rng([self._seed, 3, _number(config)])
        return self.truth(config) + self.noise / 2 * draw.standard_normal(self.total)


class Bank:
    """Space ``full`` on the real data, by the surrogate of the bank.

    Args:
        start: the recipe: strong, paper, or ``bad``, the median uniform trial of the bank.
        seed: of the noise.
    """

    has_recipe = True

    def __init__(self, start: str, seed: int):
        self._seed = seed
        self._surrogate: Surrogate = learn()
        self.space = load_space("full")
        self.total = 3 * DEFAULT_REPORTS_PER_EPOCH
        strong = load_run("full-strong-uniform").base
        self.base = _bad() if start == "bad" else load_run(f"full-{start}-evolved").base
        self.noise = self._surrogate.noise.two_standard_errors
        best = float(self.truth(strong).max())
        self.target = best + 0.01 if start == "strong" else best

    def truth(self, config: TrainConfig) -> np.ndarray:
        return self._surrogate.curve(config)

    def observed(self, config: TrainConfig) -> np.ndarray:
        draw = np.random.default_rng([self._seed, _number(config)])
        curve: np.ndarray = self.truth(config) + self._surrogate.noise.draw(draw)
        return curve


def _bad() -> TrainConfig:
    run = load_run("full-strong-uniform")
    ranked = sorted(run.trials[1:], key=lambda trial: max(trial.scores))
    return ranked[len(ranked) // 2].config


def _number(config: TrainConfig) -> int:
    """A number that is a configuration's own, in every process."""
    return zlib.crc32(config.effective().model_dump_json().encode())
