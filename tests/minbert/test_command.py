"""`python -m minbert` as a user types it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import minbert
from minbert.__main__ import main
from minbert.checkpoint import load_model, read_info
from minbert.errors import InputError
from minbert.recipes import Recipe, find_recipe
from minbert.report import Report
from minbert.train import Trainer

ROOT = Path(minbert.__file__).parent.parent
SMALL = ["--encoder", "tiny", "--batch-size", "8", "--epochs", "2", "--device", "cpu"]
# Of 30 steps with a report after each half, one in the middle of the second.
STEP, REPORTS = 22, 2


@pytest.fixture(scope="module")
def model(course_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "model"
    assert main(["train", "--data", str(course_folder), *SMALL, "--out", str(out)]) == 0
    return out


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )


def test_trained_model_is_evaluated_with_the_recorded_scores(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    recorded = load_model(model).info.report
    assert {task: found[task] for task in ("sst", "para", "sts")} == recorded.scores
    assert found["mean"] == pytest.approx(recorded.score)
    assert found["mean_2024"] == pytest.approx(
        (found["sst"] + found["para"] + (found["sts"] + 1) / 2) / 3
    )
    assert found["examples"] == {"sst": 24, "para": 24, "sts": 24}


def test_the_suggested_command_gives_the_recorded_scores(
    course_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my model"
    words = ["--data", str(course_folder), *SMALL, "--dev-limit", "10", "--train-limit", "16"]
    assert main(["train", *words, "--epochs", "1", "--out", str(out)]) == 0
    (suggested,) = re.findall(r"-m minbert (evaluate .*)", capsys.readouterr().out)
    assert main([*shlex.split(suggested), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == {"sst": 10, "para": 10, "sts": 10}
    recorded = load_model(out).info.report
    assert {task: found[task] for task in ("sst", "para", "sts")} == recorded.scores


def test_selection_weights_imply_their_rule(course_folder: Path, tmp_path: Path) -> None:
    words = ["--data", str(course_folder), *SMALL, "--train-limit", "16", "--epochs", "1"]
    given = ["--selection-weights", "1,1,2"]
    assert main(["train", *words, *given, "--out", str(tmp_path / "model")]) == 0
    config = json.loads((tmp_path / "model" / "run.json").read_bytes())["config"]
    assert (config["select"], config["selection_weights"]) == ("weighted", [1.0, 1.0, 2.0])


def test_predictions_of_both_splits(model: Path, tmp_path: Path) -> None:
    for split, rows in (("dev", 24), ("test", 8)):
        assert (
            main(["predict", "--model", str(model), "--split", split, "--out", str(tmp_path)]) == 0
        )
        for task in ("sst", "para", "sts"):
            lines = (tmp_path / f"{task}-{split}-output.csv").read_text().splitlines()
            assert len(lines) == 1 + rows


def test_texts_are_answered(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--model", str(model), "--text", "A dog .", "--text2", "A cat ."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sentiment"] * 2 + ["paraphrase", "similarity"]
    assert main(["predict", "--model", str(model), "--text", "A dog ."]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_one_task_needs_only_its_files(course_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sst only"
    folder.mkdir()
    for split in ("train", "dev"):
        name = f"ids-sst-{split}.csv"
        (folder / name).write_bytes((course_folder / name).read_bytes())
    out = tmp_path / "model"
    words = ["--data", str(folder), "--tasks", "sst", *SMALL, "--out", str(out)]
    assert main(["train", *words]) == 0
    saved = load_model(out)
    assert saved.info.tasks == ("sst",)
    assert saved.info.report.score == saved.info.report.scores["sst"]


def at_step(patch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> None:
    """Let something happen to training when a step of that number is done."""
    next_report = Trainer.next_report

    def disturbed(trainer: Trainer, on_step: Callable[[Trainer], None]) -> Report:
        def and_act(trainer: Trainer) -> None:
            if trainer.step == step:
                act()
            on_step(trainer)

        return next_report(trainer, and_act)

    patch.setattr(Trainer, "next_report", disturbed)


def reports(folder: Path) -> list[dict[str, object]]:
    return [
        Report.model_validate_json(line).model_dump(exclude={"train_seconds", "dev_seconds"})
        for line in (folder / "reports.jsonl").read_text().splitlines()
    ]


def assert_ends_as(whole: Path, broken: Path) -> None:
    """Go on with a run that was cut off; it comes to the same end as one that was not."""
    assert (broken / "state.pt").exists()
    assert main(["train", "--resume", "--out", str(broken)]) == 0
    assert not (broken / "state.pt").exists()
    for name in ("model.safetensors", "heads.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    assert len(reports(whole)) == REPORTS
    assert reports(broken) == reports(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_goes_on_to_the_same_end(
    number: signal.Signals,
    model: Path,
    course_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, before = tmp_path / "run", signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, STEP, lambda: signal.raise_signal(number))
        assert main(["train", "--data", str(course_folder), *SMALL, "--out", str(out)]) == 130
    said = capsys.readouterr().out
    assert f"Stopped at step {STEP} of " in said
    assert f"-m minbert train --resume --out {out}" in said
    assert signal.getsignal(number) is before
    assert_ends_as(model, out)


DIES = """
import os, signal, sys
import pytest
from minbert.__main__ import main
from tests.minbert.test_command import STEP, at_step

at_step(pytest.MonkeyPatch(), STEP, lambda: os.kill(os.getpid(), signal.SIGKILL))
main(sys.argv[1:])
"""


def test_killed_run_goes_on_from_its_last_report(
    model: Path, course_folder: Path, tmp_path: Path
) -> None:
    words = ["train", "--data", str(course_folder), *SMALL, "--out", str(tmp_path / "run")]
    killed = python("-c", DIES, *words)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 0 < len(reports(tmp_path / "run")) < REPORTS
    assert_ends_as(model, tmp_path / "run")


def test_a_recipe_of_the_user(course_folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "my.json"
    recipe.write_text('{"lr": 0.001, "dropout": 0.2, "seed": 5}')
    words = ["--data", str(course_folder), *SMALL, "--epochs", "1", "--train-limit", "4"]
    words += ["--tasks", "sst", "--dropout", "0.3"]
    out = tmp_path / "runs" / "a" / "best"
    assert main(["train", *words, "--recipe", str(recipe), "--out", str(out)]) == 0
    info = read_info(out)
    assert (info.config.lr, info.config.dropout, info.config.seed) == (0.001, 0.3, 5)
    assert "- Recipe: my.json, seed 5\n" in (out / "README.md").read_text()
    # The model's own configuration is a recipe again.
    assert find_recipe(str(out)) == Recipe("a/best", info.config)
    with pytest.raises(InputError, match=f"holds no saved model .*; give {out}$"):
        find_recipe(str(out.parent))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("train --out OUT --recipe best", "unknown recipe 'best'; there are: strong, paper, "),
        ("train --out OUT --recipe no.json", "--recipe no.json: cannot be read (No such file or"),
        ("train --out OUT --batch-size 0", "--batch-size: must be greater than or equal to 1"),
        ("train --out OUT --loss-weights 0,0,0", "--loss-weights: weights must not all be zero"),
        ("train --out OUT --data nowhere", "nowhere"),
        ("train --out OUT --data DATA --encoder no/such/folder", "no/such/folder"),
        ("train --out OUT --data DATA --encoder tiny --layers 3", "layers"),
        ("train --out OUT --device cuda:9 --device tpu", "--device: must be cpu or cuda"),
        ("train", "--out is required"),
        ("train --out OUT --optimizer adam", "--optimizer: unknown value 'adam'; did you mean 'r"),
        ("train --out OUT --tasks sts,sst2", "--tasks: unknown value 'sst2'; did you mean 'sst'?"),
        ("train --out OUT --pair-encoding joint", "--para-head: difference needs pair_encoding"),
        ("train --resume --out OUT", "holds no run to resume"),
        ("evaluate --model OUT", "holds no saved model"),
        ("predict --model OUT --text2 x", "--text2 needs --text"),
        ("predict --model OUT", "give --out DIR"),
    ],
)
def test_bad_input_is_one_line(
    words: str, problem: str, course_folder: Path, tmp_path: Path
) -> None:
    filled = words.replace("OUT", str(tmp_path / "out")).replace("DATA", str(course_folder))
    with pytest.raises(InputError) as error:
        main(filled.split())
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_input_ends_with_status_2_and_no_traceback() -> None:
    done = python("-m", "minbert", "train", "--out", "x", "--lr", "fast")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --lr: must be a valid number, unable to parse string as a number (got 'fast')\n"
    )
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_unwritable_output_folder(course_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to"):
        main(["train", "--data", str(course_folder), *SMALL, "--out", str(tmp_path / "file/x")])


def test_finished_or_other_run_is_not_overwritten(model: Path, course_folder: Path) -> None:
    words = ["train", "--data", str(course_folder), *SMALL, "--out", str(model)]
    with pytest.raises(InputError, match="holds a run; add --resume"):
        main(words)
    with pytest.raises(InputError, match=r"^the training in .* is finished, .* with another --out"):
        main([*words, "--resume"])


def test_one_of_a_thing_is_singular(
    course_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--layers", "1", "--train-limit", "4", "--tasks", "sst", "--out", str(tmp_path / "m")]
    assert main(["train", "--data", str(course_folder), *SMALL, *words, "--epochs", "1"]) == 0
    assert "strong on tiny, 1 layer, cpu: 1 step in 1 epoch" in capsys.readouterr().out
    card = (tmp_path / "m" / "README.md").read_text()
    assert "after 1 epoch." in card
    assert "the first 1 layer\n" in card
    with pytest.raises(InputError, match="has only 1 step, too few for 2 reports"):
        main(["train", *words[:-1], str(tmp_path / "n"), "--reports-per-epoch", "2", *SMALL])


def test_resume_with_other_options_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((model / "run.json").read_bytes())
    words = ["train", "--resume", "--out", str(tmp_path)]
    with pytest.raises(InputError, match=r"^--lr: the run in .* has 0\.0002, not 0\.1; leave "):
        main([*words, "--lr", "0.1"])
    with pytest.raises(InputError, match="no interrupted run"):
        main(words)
