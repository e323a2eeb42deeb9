"""Whether averaged weights rank trials better than the weights as they are.

    python -m bench.averaging --data DIR

Trains configurations of the bank again, from the best to the worst of a run. At each report it
scores the weights as they are, and an exponential moving average of them over the last steps, and
compares how well both predict the trials' final ranks. Each trial is added to a file (--save) as it
ends, and the same command continues from that file.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from bench.bank import load_run
from bench.runs import Runs
from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.evaluate import evaluate
from minbert.examples import Dataset
from minbert.hub import Pretrained, load_pretrained
from minbert.settings import run_command
from minbert.train import Trainer
from minbert.weights import weighted_score

RUN = "full-strong-evolved"


class MovingAverage:
    """An exponential moving average of a trainer's weights.

    Args:
        horizon: steps that it averages over, in the mean.
    """

    def __init__(self, trainer: Trainer, horizon: float):
        self._weights: list[torch.Tensor] = [
            weight for weight in trainer.model.parameters() if weight.requires_grad
        ]
        self._average = [weight.detach().clone() for weight in self._weights]
        self._share = 1 / max(1.0, horizon)

    @torch.no_grad()
    def add(self, _: Trainer) -> None:
        torch._foreach_lerp_(self._average, self._weights, self._share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the trainer's weights and the average."""
        for weight, average in zip(self._weights, self._average, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


def train(
    config: TrainConfig, dataset: Dataset, pretrained: Pretrained, intervals: float
) -> tuple[list[float], list[float]]:
    """Scores at the reports, of the weights and of their average."""
    trainer = Trainer(config, dataset, pretrained)
    steps = trainer.steps_per_epoch / config.reports_per_epoch
    average = MovingAverage(trainer, intervals * steps)
    raw, averaged = [], []
    while not trainer.finished:
        raw.append(trainer.next_report(average.add).score)
        average.swap()
        scores = {task: one.score for task, one in evaluate(trainer.model, dataset).items()}
        averaged.append(weighted_score(scores, config.objective))
        average.swap()
    return raw, averaged


def table_of(raw: np.ndarray, averaged: np.ndarray) -> Table:
    """Both (trials, reports): how well they predict the best raw score, report by report."""
    table = Table(title=f"{len(raw)} trials: prediction of the final ranks")
    for heading in ("report", "weights", "averaged", "mean score", "averaged"):
        table.add_column(heading, justify="right")
    final = raw.max(axis=1)
    for step in range(raw.shape[1]):
        correlations = [spearmanr(each[:, step], final).statistic for each in (raw, averaged)]
        table.add_row(
            str(step + 1),
            *(f"{value:.2f}" for value in correlations),
            *(f"{each[:, step].mean():.4f}" for each in (raw, averaged)),
        )
    return table


def chosen(trials: int, lowest: float) -> Sequence[TrainConfig]:
    """Configurations of the bank, from the best to the worst that scores at least ``lowest``."""
    run = load_run(RUN)
    good = sorted((t for t in run.trials if max(t.scores) >= lowest), key=lambda t: -max(t.scores))
    places = np.linspace(0, len(good) - 1, min(trials, len(good))).round().astype(int)
    return [good[place].config for place in places]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="glue", help="as for search.run")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--lowest", type=float, default=0.5, help="score of the worst trial")
    parser.add_argument(
        "--intervals",
        type=float,
        default=0.5,
        help="steps that are averaged, in intervals between reports",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path, default=Path("averaging.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pretrained = load_pretrained("minilm", 1)
    inputs = InputSettings(data=arguments.data, train_limit=800, dev_limit=800)
    dataset = load_dataset(inputs, pretrained.tokenizer())
    runs = Runs(arguments.save, "--save", needs=("weights", "averaged"))
    answers = []
    for config in chosen(arguments.trials, arguments.lowest):
        run = {"config": config.model_dump(mode="json"), "intervals": arguments.intervals}
        answer = runs.find(run)
        if answer is None:
            raw, averaged = train(config, dataset, pretrained, arguments.intervals)
            answer = {"weights": raw, "averaged": averaged}
            runs.add(run, answer)
            print(f"{max(raw):.3f} {max(averaged):.3f}", file=sys.stderr, flush=True)
        answers.append(answer)
    both = [np.array([answer[name] for answer in answers]) for name in ("weights", "averaged")]
    Console().print(table_of(*both))
    return 0


if __name__ == "__main__":
    run_command(main)
