"""Learning curves of any configuration of space ``full``, learnt from the bank.

    python -m bench.surrogate     print the error on held-out trials

A regression of all task scores at all reports on the configuration, with the noise of other seeds
added back. It stands for real training where methods are compared that need thousands of trials.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold

from bench.bank import FOLDER, BankTrial, load_run
from minbert.config import TrainConfig
from minbert.tasks import TASK_NAMES

_LOG = ("lr", "head_lr_multiple")
_LINEAR = (
    *("weight_decay", "warmup", "layer_decay", "dropout", "negatives", "batch_size"),
    *("para_hidden_layers", "sts_hidden_layers", "sampling_exponent", "sampling_exponent_end"),
    "clip_norm",
)
_CATEGORIES = {
    "optimizer": ("adamw", "radam"),
    "pooling": ("cls", "mean"),
    "pair_encoding": ("separate", "joint"),
    "para_head": ("linear", "cosine", "difference"),
    "sts_head": ("linear", "cosine", "difference"),
    "schedule": ("constant", "linear", "cosine"),
    "sampling": ("sequential", "proportional", "round_robin"),
    "negative_strategy": ("random", "hard"),
}


def features(config: TrainConfig) -> list[float]:
    """A configuration as numbers; fields without effect have their defaults."""
    read = config.effective()
    weights = read.loss_weights.normalised(1.0)
    return [
        *(float(np.log10(getattr(read, name))) for name in _LOG),
        *(float(getattr(read, name)) for name in _LINEAR),
        *weights.values(),
        *(
            float(getattr(read, name) == value)
            for name, values in _CATEGORIES.items()
            for value in values
        ),
    ]


def targets(trial: BankTrial) -> list[float]:
    """Task scores at all reports, (reports x tasks,)."""
    return [report.scores[task] for report in trial.reports for task in TASK_NAMES]


@dataclass(frozen=True)
class SeedNoise:
    """How the scores of one configuration differ between seeds.

    Attributes:
        covariance: of the score at the reports, (reports, reports), over seeds.
        configurations: that it was estimated from.
        two_standard_errors: of one score, from the choice of the dev examples.
    """

    covariance: np.ndarray
    configurations: int
    two_standard_errors: float = 0.02

    def draw(self, draw: np.random.Generator) -> np.ndarray:
        """What one seed adds to the expected scores, (reports,)."""
        zero = np.zeros(len(self.covariance))
        return draw.multivariate_normal(zero, self.covariance, method="cholesky")

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation at each report, (reports,)."""
        return np.sqrt(np.diag(self.covariance))


class Surrogate:
    """Expected learning curves by configuration.

    Args:
        trials: to learn from; several of one configuration count as their mean.
        noise: of seeds.
    """

    def __init__(self, trials: Sequence[BankTrial], noise: SeedNoise):
        self.noise = noise
        grouped: dict[TrainConfig, list[BankTrial]] = {}
        for trial in trials:
            grouped.setdefault(without_seed(trial.config), []).append(trial)
        inputs = [features(config) for config in grouped]
        outputs = [np.mean([targets(each) for each in same], axis=0) for same in grouped.values()]
        # All features at each split: few of them matter, and most are constant near the recipe.
        self._model = ExtraTreesRegressor(
            n_estimators=200, max_features=1.0, min_samples_leaf=1, random_state=0
        ).fit(np.array(inputs), np.array(outputs))
        # A search asks for the same curves report by report.
        self._known: dict[TrainConfig, np.ndarray] = {}

    def curves(self, configs: Sequence[TrainConfig]) -> np.ndarray:
        """Expected scores under equal weights, (configurations, reports)."""
        inputs = np.array([features(config) for config in configs], dtype=np.float32)
        # The forest's own method takes ten times as long for a single configuration.
        predicted = np.mean([each.tree_.predict(inputs) for each in self._model], axis=0)
        curves: np.ndarray = np.reshape(predicted, (len(configs), -1, len(TASK_NAMES))).mean(axis=2)
        return curves

    def curve(self, config: TrainConfig) -> np.ndarray:
        """Expected scores under equal weights, (reports,)."""
        key = without_seed(config)
        if key not in self._known:
            self._known[key] = self.curves([config])[0]
        return self._known[key]


def without_seed(config: TrainConfig) -> TrainConfig:
    return config.effective().replace(seed=0)


def names() -> list[str]:
    """The runs of the bank in space ``full``."""
    return sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("full-*.json.gz"))


def all_trials() -> list[BankTrial]:
    return [trial for name in names() for trial in load_run(name).trials]


@cache
def learn() -> Surrogate:
    """The surrogate of the whole bank."""
    return Surrogate(all_trials(), seed_noise())


@cache
def seed_noise() -> SeedNoise:
    """From the configurations that the bank has with several seeds."""
    curves: dict[TrainConfig, dict[int, np.ndarray]] = {}
    for trial in all_trials():
        by_seed = curves.setdefault(without_seed(trial.config), {})
        by_seed[trial.config.seed] = np.array(trial.scores)
    repeated = [np.stack(list(each.values())) for each in curves.values() if len(each) > 1]
    rest = np.concatenate([each - each.mean(axis=0) for each in repeated])
    degrees = len(rest) - len(repeated)
    return SeedNoise(rest.T @ rest / degrees, len(repeated))


def held_out_errors(folds: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Last scores of the bank's configurations, and their predictions by trees without them.

    Returns:
        Two arrays (configurations,): the best score of each, recorded and predicted.
    """
    unique = list({without_seed(trial.config): trial for trial in all_trials()}.values())
    recorded = np.array([max(trial.scores) for trial in unique])
    predicted = np.zeros(len(unique))
    for train, test in KFold(folds, shuffle=True, random_state=0).split(unique):
        model = Surrogate([unique[i] for i in train], seed_noise())
        predicted[test] = model.curves([unique[i].config for i in test]).max(axis=1)
    return recorded, predicted


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    recorded, predicted = held_out_errors()
    noise = seed_noise()
    table = Table(title="Surrogate: error on held-out trials (10 folds)")
    for heading in ("trials", "number", "mean absolute error", "root mean square", "rank corr."):
        table.add_column(heading, justify="left" if heading == "trials" else "right")
    near = recorded >= 0.55
    for name, chosen in (("all", recorded > 0), ("score of .55 or more", near)):
        error = (predicted - recorded)[chosen]
        table.add_row(
            name,
            str(chosen.sum()),
            f"{np.abs(error).mean():.4f}",
            f"{np.sqrt((error**2).mean()):.4f}",
            f"{_rank_correlation(recorded[chosen], predicted[chosen]):.2f}",
        )
    console = Console()
    console.print(table)
    deviations = " ".join(f"{value:.4f}" for value in noise.deviation)
    console.print(
        f"Standard deviation over seeds at each report, from {noise.configurations} "
        f"configurations: {deviations}",
        soft_wrap=True,
    )


def _rank_correlation(one: Any, other: Any) -> float:
    return float(spearmanr(one, other).statistic)


if __name__ == "__main__":
    main()
