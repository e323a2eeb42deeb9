"""Bench commands that compare trainers, on very little: that they work, not how fast it is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import efficiency, first_run, losses, memory, roofline, seeds, served, trainer
from bench.methods import OF_OTHERS, OTHERS, asked
from bench.served import ROOT, Process, code_of
from bench.worlds import Synthetic
from minbert.config import TrainConfig
from minbert.examples import Dataset
from minbert.hub import Pretrained, load_pretrained
from minbert.train import Trainer
from search.workers import tuner
from search.workers.trial import MinbertTrial

from .in_process import run_in_process

needs_history = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="there is no git history here"
)


@needs_history
def test_profile_names_operators_of_now_and_of_an_earlier_commit() -> None:
    options = ["--profile", "--before", "HEAD", "--layers", 1, "--batch", 4, "--threads", 1]
    code, text, _ = run_in_process(trainer.main, *options, "--encoding", "separate", "--steps", 2)
    assert code == 0
    assert re.search(r"minbert \(\w+\) .*minbert, before \(\w+\)", text)
    (first,) = re.findall(r"^│ 1 .*$", text, re.MULTILINE)
    assert first.count("aten::") + first.count("mkldnn::") == 2
    assert len(re.findall(r"^│ \d+ ", text, re.MULTILINE)) == trainer.TOP
    for row in ("other operators", "outside operators", "a step, profiled"):
        assert text.count(row) == 2
    assert text.count("100.0%") == 2


def test_an_earlier_commit_is_measured_by_its_own_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bench"
    package.mkdir()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    for content in ("raise SystemExit(7)\n", "raise SystemExit(8)\n"):
        (package / "__init__.py").write_text(content)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    with monkeypatch.context() as patch:
        patch.setattr(served, "ROOT", tmp_path)
        with code_of("HEAD~1") as code:
            patch.undo()
            with pytest.raises(SystemExit, match="ended with status 7"):
                Process("trainer", {"threads": 1}, code)
        assert not code.exists()


def test_unknown_commit_is_one_line() -> None:
    with (
        pytest.raises(SystemExit, match=r"^error: --before no-such: .*; give a commit of this"),
        code_of("no-such"),
    ):
        pass


def test_losses_are_those_of_each_step(dataset: Dataset, tiny: Pretrained) -> None:
    config = TrainConfig(epochs=2, batch_size=8, sampling="sequential")
    trainer = Trainer(config, dataset, tiny)
    each = losses.losses_of(trainer, trainer.steps_per_epoch + 2)
    assert len(each) == trainer.step == trainer.steps_per_epoch + 2
    report = Trainer(config, dataset, tiny).next_report()
    in_turn = each[: trainer.steps_per_epoch].reshape(len(report.losses), -1)
    tasks = dict.fromkeys(trainer._task_order)
    np.testing.assert_allclose(in_turn.mean(axis=1), [report.losses[t] for t in tasks], rtol=1e-5)


def test_losses_of_back_ends_are_compared(course_folder: Path) -> None:
    options = ["--data", course_folder, "--encoder", "tiny", "--layers", 2, "--batch", 8]
    code, text, err = run_in_process(losses.main, *options, "--steps", 12, "--threads", 1)
    assert (code, err) == (0, "")
    largest = dict(re.findall(r"^│ (\w+) .* ([\d.]+e[+-]\d+) │ +\d* +│$", text, re.MULTILINE))
    assert float(largest["blas"]) == 0 < float(largest["bf16"])
    assert float(largest.get("onednn", 0)) < 1e-3


def test_bench_options_that_count_are_at_least_one() -> None:
    code, _, err = run_in_process(losses.main, "--steps", 0)
    assert code == 2
    assert err.endswith("error: argument --steps: give at least 1\n")


@pytest.mark.slow
def test_scores_over_seeds_continue_after_an_interruption(
    course_folder: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "seeds.jsonl"
    options = ["--data", course_folder, "--encoder", "tiny", "--epochs", 1, "--train-limit", 16]
    options += ["--seeds", 2, "--threads", 1, "--precision", "fp32", "bf16", "--save", saved]
    code, text, err = run_in_process(seeds.main, *options)
    assert code == 0
    assert len(err.splitlines()) == len(saved.read_bytes().splitlines()) == 4
    assert len(re.findall(r"^│ [01] +│ now, (?:fp32|bf16) ", text, re.MULTILINE)) == 4
    assert "now, bf16 − now, fp32" in " ".join(text.split())

    whole = saved.read_bytes()
    saved.write_bytes(whole[:-40])
    code, again, err = run_in_process(seeds.main, *options)
    assert (code, again) == (0, text)
    (line,) = err.splitlines()
    assert line.startswith("seed 1, now, bf16: mean 0.")
    assert saved.read_bytes() == whole
    # Of other settings nothing is taken over.
    code, _, err = run_in_process(seeds.main, *options, "--epochs", 2, "--precision", "fp32")
    assert (code, len(err.splitlines())) == (0, 2)
    assert saved.read_bytes().startswith(whole)


@needs_history
def test_scores_of_an_earlier_commit_stand_beside(course_folder: Path, tmp_path: Path) -> None:
    options = ["--data", course_folder, "--encoder", "tiny", "--epochs", 1, "--seeds", 2]
    options += ["--threads", 1, "--save", tmp_path / "s", "--before", "HEAD"]
    code, text, _ = run_in_process(seeds.main, *options)
    assert code == 0
    assert "now, fp32 − before" in text


def test_scores_over_seeds_are_compared_seed_by_seed() -> None:
    one = [[0.5, 0.5, 0.5, 0.5], [0.7, 0.5, 0.5, 0.5]]
    other = [[0.6, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5]]
    _, means, differences = seeds.show({"before": one, "now": other}, [0, 1])
    assert list(means.columns[1].cells) == ["0.600 ± 0.141", "0.750 ± 0.212"]
    assert list(differences.columns[1].cells) == ["+0.1500 ± 0.0500"]
    assert list(differences.columns[2].cells) == ["+0.0000 ± 0.0000"]


def test_file_that_holds_no_scores_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("mine\n")
    code, out, err = run_in_process(seeds.main, "--save", path)
    assert (code, out) == (2, "")
    assert err == f"error: --save {path}:1: no run of this command; give another file\n"
    assert path.read_text() == "mine\n"


def test_first_runs_are_counted_by_their_test_scores() -> None:
    def row(winner: float, recipe: float) -> dict[str, Any]:
        scores = {"winner": winner, "recipe": recipe}
        # On dev data, the winner is never below.
        both = {
            name: {"trial": 1, "dev": {"score": 0.7}, "test": {"score": score}}
            for name, score in scores.items()
        }
        return {**both, "seconds": 150.0}

    rows = {0: row(0.66, 0.64), 1: row(0.65, 0.65), 2: row(0.61, 0.64), 3: row(0.67, 0.66)}
    assert "seeds: 2 above, 1 equal, 1 below." in first_run.conclusion(rows)
    assert "+0.0000 on dev data, +0.0000 on test data" in first_run.conclusion(rows)
    assert list(first_run.show(rows).columns[7].cells) == ["+0.020", "+0.000", "-0.030", "+0.010"]


@pytest.mark.slow
def test_first_runs_continue_after_an_interruption(tmp_path: Path) -> None:
    options = ["--encoder", "tiny", "--trials", 2, "--out", tmp_path]
    code, _, err = run_in_process(first_run.main, *options, "--seeds", 1)
    assert (code, len(err.splitlines())) == (0, 1)
    code, text, err = run_in_process(first_run.main, *options, "--seeds", 2)
    assert code == 0
    assert [line.partition(":")[0] for line in err.splitlines()] == ["seed 1"]
    assert len(re.findall(r"^│ [01] ", text, re.MULTILINE)) == 2
    for line in (tmp_path / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["recipe"]["trial"] == 0
        assert row["winner"]["dev"]["score"] >= row["recipe"]["dev"]["score"]
        assert set(row["winner"]["test"]) == {"sst", "para", "sts", "score"}


@pytest.mark.skipif(not memory.MAPS.exists(), reason="needs Linux's /proc")
@pytest.mark.slow
def test_memory_of_workers_is_measured_at_each_stage(
    course_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "MinbertTrial", MinbertTrial)  # what the command replaces
    options = ["--data", course_folder, "--encoder", "tiny", "--workers", 2, "--steps", 2]
    code, text, err = run_in_process(memory.main, *options)
    assert (code, err) == (0, "")
    rows = re.findall(r"^│ 2 +│ ([\w ]+?) +│ (\d+) +│ (\d+) .*│ (\d+) +│$", text, re.MULTILINE)
    assert [stage for stage, *_ in rows] == list(memory.STAGES)
    for _, each, own, in_all in rows:
        # Shares of pages that others have too are less than all of them, and no page is lost.
        assert 50 < int(own) <= int(each) <= int(in_all) / 2 + 1


def test_a_roofline_is_products_and_bytes_at_their_rates() -> None:
    # 1,000 tokens of 6 million operations at 3 GFLOP/s, and 10 million parameters at 28 bytes at
    # 0.7 GB/s: 2 s and 0.4 s.
    assert roofline.step_seconds(1000, 10_000_000, 6_000_000, 3e9, 0.7e9) == pytest.approx(2.4)
    config = load_pretrained("tiny").config
    # Of a layer: query, key, value and output, and the two of the feed-forward; forward and twice
    # as much backward.
    products = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    assert roofline.operations_per_token(config) == 3 * 2 * config.layers * products


# Trials train up to report 9, and trial 4 continues trial 0 up to the end.
SEARCH_OF_OTHERS = """
import json, sys
assert "lr" in json.loads(sys.stdin.readline())["parameters"]
for line in sys.stdin:
    asked = json.loads(line)
    number = asked.get("ask", asked.get("tell"))
    lr = 1e-4 * (1 + (0 if number == 4 else number) / 100)
    config = {"lr": lr, "dropout": 0.6000001, "warmup": 0.1, "layer_decay": 1, "pooling": "mean"}
    if "ask" in asked:
        answer = {"config": config, "trained": 9 if number == 4 else 0}
    else:
        answer = {"goes_on": asked["step"] != 9}
    print(json.dumps(answer), flush=True)
"""


def test_a_continued_trial_of_another_package_spends_only_what_it_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OTHERS, sys.executable)
    server = tmp_path / "server.py"
    server.write_text(SEARCH_OF_OTHERS)
    world = Synthetic(seed=0, random_trials=1)
    seen = asked(world, 0, 4.0, method="x", server=server)
    assert [s.trainings * world.total for s in seen] == pytest.approx(range(1, 4 * 27 + 1))
    choices = {"lr": 1e-4, "dropout": 0.6, "warmup": 0.1, "layer_decay": 1.0, "pooling": "mean"}
    curve = list(world.observed(world.base.replace(**choices)))
    assert [s.score for s in seen if s.score in curve] == curve


@pytest.mark.slow
@pytest.mark.skipif(OTHERS not in os.environ, reason=f"{OTHERS} names no Python with the packages")
@pytest.mark.parametrize("method", OF_OTHERS)
def test_other_packages_search_the_same_from_the_same_seed(method: str) -> None:
    world = Synthetic(seed=0, random_trials=1)
    world.has_recipe = True
    one, same, other = (asked(world, seed, 3.0, method=method) for seed in (0, 0, 1))
    assert len(one) == 3 * 27
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--worlds", "strnog"], "unknown world 'strnog'; did you mean 'strong'?"),
        (["--methods", "random;tpr"], "unknown method 'tpr'"),
    ],
)
def test_unknown_worlds_and_methods_are_one_line(options: list[str], error: str) -> None:
    code, out, err = run_in_process(efficiency.main, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {error}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--methods", "random;Syne Tune ASHA"], "--methods: Syne Tune ASHA needs --others PYTHON"),
        (["--others", "no-such"], "--others no-such: no Python with the packages"),
        (["--others", sys.executable], f"--others {sys.executable}: no Python with the packages"),
    ],
)
def test_other_packages_need_a_python_that_has_them(options: list[str], error: str) -> None:
    code, out, err = run_in_process(efficiency.main, *options, "--seeds", 1)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {error}; make one by python -m venv")
    assert len(err.splitlines()) == 1
