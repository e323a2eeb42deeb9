"""Speed of training: python -m bench.trainer --data DIR.

Three trainers take turns within one run, each in a process of its own: minbert's as it is, that of
an earlier commit (--before), and a loop around transformers.BertModel on padded batches, with the
same heads, optimizer and batches. Each turn is some steps over the three tasks of the data, in the
order in which training takes them. The rate of the matrix products alone says what is left to gain.

With --profile, minbert's trainers say instead where the CPU time of a step goes, by torch operator.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from minbert.config import InputSettings, TrainConfig
from minbert.data import load_dataset
from minbert.hub import Pretrained, load_pretrained
from minbert.sampling import batch_rows
from minbert.train import Trainer

from .roofline import bandwidth, matrix_rate, operations_per_token, step_seconds
from .served import ROOT, Process, code_of

NAMES = {"now": "minbert", "before": "minbert, before", "padded": "transformers, padded"}
TOP = 10

# Root of the checkout that each trainer is taken from.
Codes = dict[str, Path]


class EnoughError(Exception):
    pass


# What runs in each process.


def serve(options: dict[str, Any]) -> None:
    """Answer each number of steps on stdin with tokens and seconds on stdout.

    With ``options["profile"]`` the answer also has ``operators``: the milliseconds of CPU time that
    a step spends in each torch operator itself, without the operators that it calls.
    """
    torch.set_num_threads(options["threads"])
    pretrained = load_pretrained("minilm", options["layers"])
    dataset = load_dataset(InputSettings(data=options["data"]), pretrained.tokenizer())
    joint = {"pair_encoding": "joint", "para_head": "linear", "sts_head": "linear"}
    config = TrainConfig(
        batch_size=options["batch"],
        dropout=options["dropout"],
        optimizer=options["optimizer"],
        epochs=100,
        **(joint if options["joint"] else {}),
    )
    trainer = Trainer(config, dataset, pretrained)
    padded = options["which"] == "padded"
    run = padded_steps(trainer, pretrained) if padded else steps_of(trainer)
    parameters = sum(each.numel() for each in trainer.model.parameters())
    about = {"linear": trainer.linear, "parameters": parameters}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        steps = int(line)
        profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        with profiler if options["profile"] else contextlib.nullcontext():
            tokens, seconds = run(steps)
        answer: dict[str, Any] = {"tokens": tokens, "seconds": seconds}
        if options["profile"]:
            events = profiler.key_averages()
            answer["operators"] = {
                event.key: event.self_cpu_time_total / 1000 / steps for event in events
            }
        print(json.dumps(answer), flush=True)


def steps_of(trainer: Trainer) -> Callable[[int], tuple[int, float]]:
    """Steps of minbert's trainer, without its dev evaluations."""

    def run(steps: int) -> tuple[int, float]:
        tokens, seconds, last = trainer._tokens, trainer._seconds, trainer.step + steps

        def on_step(_: Any) -> None:
            if trainer.step == last:
                raise EnoughError

        with contextlib.suppress(EnoughError):
            trainer.next_report(on_step)
        return trainer._tokens - tokens, trainer._seconds - seconds

    return run


def padded_steps(trainer: Trainer, pretrained: Pretrained) -> Callable[[int], tuple[int, float]]:
    """The loop that a user of transformers writes, over the same batches, with the same heads."""
    import transformers
    from torch.nn.utils import clip_grad_norm_

    config = trainer.config
    bert: Any = transformers.BertModel(
        transformers.BertConfig.from_dict(pretrained.config.hugging_face(config.dropout)),
        add_pooling_layer=False,
    )
    state = trainer.model.encoder.hugging_face_state()
    bert.load_state_dict({k: v for k, v in state.items() if not k.startswith("pooler.")})
    bert.set_attn_implementation("sdpa")
    bert.train()
    model = trainer.model
    parameters = [*bert.parameters(), *model.heads.parameters()]
    make = torch.optim.RAdam if config.optimizer == "radam" else torch.optim.AdamW
    optimizer = make(parameters, lr=config.lr)
    numbers = itertools.count()

    def step() -> int:
        number = next(numbers)
        task = trainer._task_order[number]
        size = trainer._sizes[task]
        rows = batch_rows(config, task, size, 0, trainer._batch_of_task[number])
        packed, labels = trainer._make_batch(task, rows)
        inputs = {
            name: torch.zeros(packed.sequences, packed.longest, dtype=torch.int64)
            for name in ("input_ids", "token_type_ids", "attention_mask")
        }
        where = packed.sequence_of, packed.positions
        inputs["input_ids"][where] = packed.ids
        inputs["token_type_ids"][where] = packed.segments
        inputs["attention_mask"][where] = 1
        hidden = bert(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None]
        vectors = (hidden * mask).sum(1) / mask.sum(1)
        head = model.heads[task]
        if task == "sst" or model.is_joint:
            outputs = head(vectors)
            outputs = outputs if task == "sst" else outputs.squeeze(-1)
        else:
            outputs = head(*vectors.chunk(2)).squeeze(-1)
        optimizer.zero_grad()
        torch.autograd.backward(model.loss(task, outputs, labels))
        clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()
        return len(packed.ids)

    def run(steps: int) -> tuple[int, float]:
        start = time.perf_counter()
        tokens = sum(step() for _ in range(steps))
        return tokens, time.perf_counter() - start

    return run


# What runs in the command's own process.


def compare_rates(options: argparse.Namespace, settings: dict[str, Any], codes: Codes) -> Table:
    """Tokens a second of each trainer, in turns."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(options.threads)
    config = load_pretrained("minilm", settings["layers"]).config
    operations = operations_per_token(config)
    best, width = matrix_rate(config, device), bandwidth(device)
    print(
        f"best matrix rate {best / 1e9:,.0f} GFLOP/s; {width / 1e9:,.0f} GB/s; the roofline is the "
        "matrix products and AdamW's bytes at these"
    )
    table = Table("trainer", "tokens/s", "of matrix rate", "of roofline", "ratio")
    with started(settings, codes) as processes:
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
        for round_ in range(1 + options.rounds):
            for name, process in processes.items():
                done = process.ask(options.steps)
                if round_:
                    turns[name].append(done)
        medians = {
            name: statistics.median(done["tokens"] / done["seconds"] for done in each)
            for name, each in turns.items()
        }
        tokens = statistics.mean(done["tokens"] / options.steps for done in turns["now"])
        parameters = processes["now"].about["parameters"]
        least = step_seconds(tokens, parameters, operations, best, width)
        for name, rate in medians.items():
            table.add_row(
                f"{NAMES[name]} ({processes[name].about['linear']})",
                f"{rate:,.0f}",
                f"{rate * operations / best:.0%}",
                f"{least * rate / tokens:.0%}",
                f"{medians['now'] / rate:.2f}",
            )
    return table


def compare_profiles(options: argparse.Namespace, settings: dict[str, Any], codes: Codes) -> Table:
    """The operators that take most of a step, of each trainer."""
    table = Table("")
    columns = []
    with started({**settings, "profile": True}, codes) as processes:
        for name, process in processes.items():
            process.ask(options.steps)  # to warm up
            done = process.ask(options.steps)
            taken: dict[str, float] = done["operators"]
            whole = 1000 * done["seconds"] / options.steps
            rows = sorted(taken.items(), key=lambda item: -item[1])[:TOP]
            in_all = sum(taken.values())
            rows.append(("other operators", in_all - sum(ms for _, ms in rows)))
            rows += [("outside operators", whole - in_all), ("a step, profiled", whole)]
            columns.append([(key, f"{ms:.2f}", f"{ms / whole:.1%}") for key, ms in rows])
            for title in (f"{NAMES[name]} ({process.about['linear']})", "ms a step", "share"):
                table.add_column(title, justify="left" if "(" in title else "right")
    for number, cells in enumerate(zip(*columns, strict=True), 1):
        table.add_row(str(number) if number <= TOP else "", *itertools.chain(*cells))
    return table


@contextlib.contextmanager
def started(settings: dict[str, Any], codes: Codes) -> Iterator[dict[str, Process]]:
    """A process of each trainer, in the order of their names."""
    with contextlib.ExitStack() as stack:
        processes = {}
        for name in NAMES:
            if name in codes:
                process = Process("trainer", {**settings, "which": name}, codes[name])
                stack.callback(process.end)
                processes[name] = process
        yield processes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="toy", help="a folder in the course layout")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 6])
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--encoding", nargs="+", default=["separate", "joint"])
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "radam"])
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, after one other")
    parser.add_argument("--steps", type=int, default=20, help="of a turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--before", help="a commit of this repository to compare with")
    parser.add_argument(
        "--profile", action="store_true", help=f"the {TOP} operators that take most of a step"
    )
    options = parser.parse_args()
    data = options.data if options.data == "toy" else str(Path(options.data).resolve())

    print(
        f"MiniLM on {data}, dropout {options.dropout}, {options.optimizer}, {options.threads} "
        f"threads, torch {torch.__version__}; "
        + (
            f"{options.steps} steps; self CPU time of torch's operators, share of a step's time"
            if options.profile
            else f"{options.rounds} turns of {options.steps} steps; medians; "
            "ratio: the first trainer's rate to that of the line"
        )
    )
    with contextlib.ExitStack() as stack:
        codes = {"now": ROOT}
        if options.before:
            codes["before"] = stack.enter_context(code_of(options.before))
        if not options.profile:
            codes["padded"] = ROOT
        for layers, batch, encoding in itertools.product(
            options.layers, options.batch, options.encoding
        ):
            settings = {
                "data": data,
                "layers": layers,
                "batch": batch,
                "joint": encoding == "joint",
                "dropout": options.dropout,
                "optimizer": options.optimizer,
                "threads": options.threads,
                "profile": False,
            }
            print(f"\n{layers} layers, batches of {batch}, {encoding} encoding")
            compare = compare_profiles if options.profile else compare_rates
            Console(width=140).print(compare(options, settings, codes))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(json.loads(sys.argv[2]))
    else:
        main()
