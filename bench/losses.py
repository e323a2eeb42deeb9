"""Do losses stay the same whatever multiplies the matrices? python -m bench.losses --data DIR.

Trainers take the same steps one after the other, over the same examples in the same order and
without dropout: with linear layers by BLAS, by oneDNN, and with products in bf16. Their losses are
compared with those by BLAS. Differences grow from step to step, as each step begins from the
weights that the steps before it led to.
"""

import argparse
import contextlib
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from minbert import linear
from minbert.config import Backend, InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.hub import load_pretrained
from minbert.settings import run_command
from minbert.train import Trainer

from .served import count
from .trainer import EnoughError

# What computes, with the fields of the configuration and the back-end that this takes.
WAYS: dict[str, tuple[dict[str, Any], Backend]] = {
    "blas": ({"precision": "fp32"}, "blas"),
    "onednn": ({"precision": "fp32"}, "onednn"),
    "bf16": ({"precision": "bf16"}, "blas"),
}


def losses_of(trainer: Trainer, steps: int) -> np.ndarray:
    """The losses (steps,) of the first steps, each of the task whose turn it is."""
    losses: list[float] = []

    def on_step(trainer: Trainer) -> None:
        # The trainer adds them up until its next report.
        losses.append(sum(map(float, trainer._losses.values())))
        for loss in trainer._losses.values():
            loss.zero_()
        if len(losses) == steps:
            raise EnoughError

    with contextlib.suppress(EnoughError):
        while True:
            trainer.next_report(on_step)
    return np.array(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="toy", help="a folder in the course layout")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--layers", type=count, default=6)
    parser.add_argument("--batch", type=count, default=32)
    parser.add_argument("--steps", type=count, default=50)
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    pretrained = load_pretrained(options.encoder, options.layers)
    dataset = load_dataset(InputSettings(data=options.data), pretrained.tokenizer())
    shape = pretrained.config
    ways = dict(WAYS)
    if "onednn" not in linear.seconds(shape.hidden_size, shape.intermediate_size):
        print("This torch has no oneDNN for linear layers, or it does not agree with the BLAS.")
        del ways["onednn"]
    # Enough epochs for all steps, and the same learning rate at each step whatever the data.
    config = TrainConfig(
        batch_size=options.batch, dropout=0, epochs=1000, warmup=0, schedule="constant"
    )
    losses = {}
    for name, (fields, backend) in ways.items():
        trainer = Trainer(config.replace(**fields), dataset, pretrained, "cpu")
        trainer._use_backend(backend)
        losses[name] = losses_of(trainer, options.steps)

    print(
        f"{options.encoder}, {shape.layers} layers, on {options.data}: {options.steps} steps of "
        f"{options.batch} examples, dropout 0, threads: {options.threads}, torch "
        f"{torch.__version__}; differences are from the losses by blas, as parts of these"
    )
    table = Table("by", "first loss", "last loss", "difference at step 1", "largest", "at step")
    for name, each in losses.items():
        difference = np.abs(each / losses["blas"] - 1)
        table.add_row(
            *(name, f"{each[0]:.5f}", f"{each[-1]:.5f}", f"{difference[0]:.1e}"),
            *(f"{difference.max():.1e}", str(difference.argmax() + 1) if difference.any() else ""),
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    run_command(main)
