"""Seconds from the command to the first training step: python -m bench.start [--before COMMIT].

Runs the search of ``make search`` with one trial several times, each in a process of its own. With
--before, an earlier commit takes turns. All runs but the first are warm: files are in memory.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from .served import ROOT, Process, code_of

# Each part ends at the moment that is its key.
PARTS = {
    "imported": "Python, imports",
    "loaded": "encoder and data",
    "studied": "study",
    "ray": "Ray",
    "began": "worker: process, imports",
    "made": "worker: encoder and trainer",
    "stepped": "first step",
}
ALL = "command to first step"


def serve(options: dict[str, Any]) -> None:
    """Run a search whose trial ends after one step; print JSON of the moments."""
    moments = {"start": psutil.Process().create_time()}
    from search import session

    moments["imported"] = time.time()

    def note(owner: Any, name: str, moment: str, *, before: bool = False) -> None:
        method = getattr(owner, name)

        @functools.wraps(method)
        def noted(*args: Any, **kwargs: Any) -> Any:
            if before:
                moments[moment] = time.time()
            result = method(*args, **kwargs)
            moments.setdefault(moment, time.time())
            return result

        setattr(owner, name, noted)

    note(session, "load_inputs", "loaded")
    note(session.Session, "_search", "studied", before=True)
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            "space": "weights",
            "trials": 1,
            "epochs": 1,
            "out": folder,
            "name": "bench",
        }
        inputs: dict[str, Any] = {"data": options["data"], "encoder": "minilm", "layers": 2}
        file = Path(folder) / "moments.jsonl"

        def begin_run(*args: Any) -> None:
            # The first thing that a search does once Ray is there.
            from search.workers import tuner

            moments["ray"] = time.time()
            setattr(tuner, "MinbertTrial", noting_trial(file))  # noqa: B010
            original(*args)

        original = getattr(session, "begin_run")  # noqa: B009
        setattr(session, "begin_run", begin_run)  # noqa: B010
        console = Console(file=io.StringIO(), width=100)
        session.Session(console=console, **settings, **inputs).run()
        for line in file.read_text("utf-8").splitlines():
            moments |= json.loads(line)
        moments["ended"] = time.time()
    print(json.dumps(moments), flush=True)


def noting_trial(file: Path) -> type:
    """A worker that notes its own moments."""
    from minbert.errors import InputError
    from search.workers.trial import MinbertTrial

    def note(moment: str) -> None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({moment: time.time()}) + "\n")

    class NotingTrial(MinbertTrial):
        def setup(self, *args: Any, **kwargs: Any) -> None:
            note("began")
            super().setup(*args, **kwargs)

        def _make_trainer(self) -> Any:
            trainer: Any = super()._make_trainer()
            note("made")

            def on_step(_: Any) -> None:
                note("stepped")
                raise InputError("this is what was to be measured")

            trainer.next_report = functools.partial(trainer.next_report, on_step)
            return trainer

    return NotingTrial


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="toy", help="a folder in the course layout")
    parser.add_argument("--rounds", type=int, default=5, help="after a first one that warms up")
    parser.add_argument("--before", help="a commit of this repository to compare with")
    options = parser.parse_args()
    data = options.data if options.data == "toy" else str(Path(options.data).resolve())
    with contextlib.ExitStack() as stack:
        codes = {"now": ROOT}
        if options.before:
            codes = {"before": stack.enter_context(code_of(options.before)), **codes}
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in codes}
        for round_ in range(1 + options.rounds):
            for name, code in codes.items():
                process = Process("start", {"data": data}, code)
                if round_:
                    taken[name].append(parts_of(process.about))
                process.end()
    table = Table(f"seconds, medians of {options.rounds}", *codes)
    for part in [*PARTS.values(), ALL, "from there to the exit"]:
        medians = (statistics.median(each[part] for each in taken[name]) for name in codes)
        table.add_row(part, *(f"{median:.1f}" for median in medians))
    print(f"one trial of 2 layers of MiniLM on {data}, {os.cpu_count()} CPUs")
    Console(width=100).print(table)


def parts_of(moments: dict[str, float]) -> dict[str, float]:
    """Seconds of each part."""
    parts, last = {}, moments["start"]
    for moment, part in PARTS.items():
        parts[part] = moments[moment] - last
        last = moments[moment]
    parts[ALL] = last - moments["start"]
    parts["from there to the exit"] = moments["ended"] - last
    return parts


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(json.loads(sys.argv[2]))
    else:
        main()
