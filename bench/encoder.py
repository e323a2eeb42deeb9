"""Speed of the encoder beside transformers.BertModel: python -m bench.encoder.

Both run forward and backward in training mode, dropout .1, over the same batches with the same
weights, in turns within one run. BertModel gets the batches padded to their longest sequence, as
its users do, and runs its own `sdpa` attention.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from minbert.batching import Packed, pack_sentences
from minbert.encoder import Encoder
from minbert.encoder_config import EncoderConfig

from .roofline import matrix_rate, operations_per_token

BATCHES = 4
PAIRS = 32
DROPOUT = 0.1


def make_batch(random: np.random.Generator, vocab_size: int) -> Packed:
    """Pairs of sentences of 3 to 58 tokens, log-normal with median 12, encoded separately."""
    sentences = 2 * PAIRS
    lengths = np.clip(random.lognormal(np.log(12), 0.45, sentences).astype(int), 3, 58)
    tokens = random.integers(1000, vocab_size, lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pack_sentences(tokens, offsets, np.arange(sentences), None, False, 101, 102)


def pad(packed: Packed) -> dict[str, Tensor]:
    """The batch as BertModel takes it: (sequences, longest)."""
    ids = torch.zeros(packed.sequences, packed.longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    ids[packed.sequence_of, packed.positions] = packed.ids
    mask[packed.sequence_of, packed.positions] = 1
    return {"input_ids": ids, "attention_mask": mask}


def backward(hidden: Tensor, weight: Tensor, model: torch.nn.Module) -> None:
    """Backward from a weighted sum over the real tokens: both models have the same gradients."""
    torch.autograd.backward((hidden.float() * weight).sum())
    model.zero_grad()


def seconds(run: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def make_models(config: EncoderConfig, device: str) -> tuple[Encoder, Any]:
    """The encoder of minbert and a BertModel with the same weights, both in training mode."""
    torch.manual_seed(0)
    ours = Encoder(config, DROPOUT).to(device)
    theirs: Any = transformers.BertModel(
        transformers.BertConfig.from_dict(config.hugging_face(DROPOUT)),
        add_pooling_layer=False,
    )
    state = ours.hugging_face_state()
    theirs.load_state_dict({k: v for k, v in state.items() if not k.startswith("pooler.")})
    theirs.set_attn_implementation("sdpa")
    theirs.to(device).train()
    return ours, theirs


def make_runs(
    config: EncoderConfig, batches: list[Packed], device: str
) -> dict[str, Callable[[], None]]:
    """By name of the model: forward and backward over all batches."""
    ours, theirs = make_models(config, device)
    packed = [batch.to(device) for batch in batches]
    padded = [{k: v.to(device) for k, v in pad(batch).items()} for batch in batches]
    weights = [torch.randn(len(batch.ids), config.hidden_size, device=device) for batch in batches]
    autocast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def run_ours() -> None:
        for batch, weight in zip(packed, weights, strict=True):
            with autocast:
                hidden = ours(batch)
            backward(hidden, weight, ours)

    def run_theirs() -> None:
        for inputs, batch, weight in zip(padded, packed, weights, strict=True):
            with autocast:
                hidden = theirs(**inputs).last_hidden_state
            backward(hidden[batch.sequence_of, batch.positions], weight, theirs)

    return {"minbert, packed": run_ours, "transformers, padded": run_theirs}


def measure(
    runs: dict[str, Callable[[], None]], rounds: int, device: str
) -> dict[str, list[float]]:
    """Seconds of each run in each round, in turns, after one round that is not measured."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(1 + rounds):
        for name, run in runs.items():
            took = seconds(run, device)
            if round_ > 0:
                taken[name].append(took)
    return taken


def rates(taken: dict[str, list[float]], tokens: int) -> Table:
    table = Table(
        Column("", no_wrap=True), "tokens/s (median)", "tokens/s (best)", "ratio of medians"
    )
    base = statistics.median(taken["transformers, padded"])
    for name, times in taken.items():
        middle = statistics.median(times)
        table.add_row(
            name, f"{tokens / middle:,.0f}", f"{tokens / min(times):,.0f}", f"{base / middle:.2f}"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hidden", type=int, default=384, help="a multiple of 12 (default: 384)")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=10, help="measured rounds, after one other")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = options.device

    config = EncoderConfig(
        vocab_size=30522,
        hidden_size=options.hidden,
        layers=options.layers,
        heads=12,
        intermediate_size=4 * options.hidden,
        max_positions=512,
        segments=2,
        activation="gelu",
        layer_norm_eps=1e-12,
    )
    random = np.random.default_rng(0)
    batches = [make_batch(random, config.vocab_size) for _ in range(BATCHES)]
    taken = measure(make_runs(config, batches, device), options.rounds, device)

    tokens = sum(len(batch.ids) for batch in batches)
    slots = sum(batch.sequences * batch.longest for batch in batches)
    print(
        f"{PAIRS} pairs a batch, {tokens / (BATCHES * 2 * PAIRS):.1f} tokens a sentence, "
        f"{1 - tokens / slots:.0%} padding when padded; forward and backward, dropout {DROPOUT}, "
        f"{options.layers} layers of {options.hidden}, {device}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    Console().print(rates(taken, tokens))
    if device == "cuda":
        rate = matrix_rate(config, device)
        used = tokens / statistics.median(taken["minbert, packed"]) * operations_per_token(config)
        print(
            f"linear layers of minbert: {used / rate:.0%} of the measured {rate / 1e12:.0f} TFLOP/s"
        )


if __name__ == "__main__":
    main()
