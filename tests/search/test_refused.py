"""python -m search.run refuses bad input in one line, before anything starts."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from search import run
from tests.in_process import run_in_process

from .commands import said

Refuse = Callable[..., str]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refuse:
    """Runs a command that is refused; gives the one line that says why."""

    def run_it(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        code, out, err = run_in_process(run.main, *arguments)
        assert (code, out) == (2, "")
        (line,) = err.splitlines()
        return line

    return run_it


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "nothing"], "unknown space 'nothing'; there are: full, lr"),
        (["--space", "nothing.py"], "space file nothing.py does not exist"),
        (["--recipe", "storng"], "unknown recipe 'storng'; did you mean 'strong'?"),
        (["--encoder", "/no/such/encoder"], "/no/such/encoder"),
        (["--trails", "3"], "unknown option '--trails'; did you mean '--trials'?"),
        (["--trials", "0"], "error: --trials: must be greater than or equal to 1 (got '0')"),
        (["--epochs", "many"], "error: --epochs: must be a valid integer"),
        (
            ["--objective", "1,-1,1"],
            "error: --objective: weights must be finite numbers of at least 0",
        ),
        (["--objective", "0,0,0"], "error: --objective: weights must not all be zero"),
        (["--data", "nowhere", "--encoder", "tiny"], "nowhere"),
        (["--data", "empty", "--encoder", "tiny"], "empty"),
        (["--data", "texts", "--encoder", "tiny"], "sentiment"),
        (["--out", "a-file", "--encoder", "tiny"], "cannot make the folder a-file/"),
        (["--name", "taken"], "runs/taken is there already; give another --name"),
        (["--address", "ray://head:10001"], "ray job submit"),
        (["--time-budget", "soon"], "error: --time-budget: give a time such as 90s"),
        (["--sampler", "gp"], "error: --sampler: gp learns from finished trials alone; give --sch"),
        (
            ["--sampler", "tep"],
            "error: --sampler: unknown value 'tep'; did you mean 'tpe'?; there are: recipe, tpe",
        ),
        (["--name", "a/b"], "error: --name: a name holds no / and does not begin with a blank; "),
        (
            ["--sampler", "grid"],
            "error: --sampler grid: loss_weights of space weights can have any value in a range, ",
        ),
        (
            ["--pruner", "medain"],
            "error: --pruner: unknown pruner 'medain'; did you mean 'median'?; there are: median, "
            "percentile, patient, threshold, none",
        ),
        (
            ["--pruner", "median:start=3"],
            "error: --pruner: got an unexpected keyword argument 'start' (got 'median:start=3')",
        ),
        (["--pruner", "none:start=3"], "error: --pruner: got an unexpected keyword argument 'st"),
        (["--pruner", "median:a=b"], "error: --pruner: give numbers, such as median:key=3 (got"),
        (["--eta", "4"], "error: --eta is now --reduction-factor"),
        (["--first-rung=2", "--name", "a"], "error: --first-rung is now --grace-period"),
        (
            ["--seed", "1", "--halving", "stop"],
            "--halving stop is now --scheduler asha-stop",
        ),
        (["--halving=promote"], "error: --halving promote is now --scheduler asha"),
        (["--halving", "none"], "error: --halving is now --scheduler"),
        (
            ["--scheduler", "promote"],
            "--scheduler: unknown value 'promote'; there are: asha, asha-stop",
        ),
        (["--try", "lr"], "--try lr: give fields as lr=2e-5 or loss_weights=.2/.3/.5"),
        (["--try", "lr=-1", "--space", "lr"], "--try lr=-1: lr: must be greater than 0"),
        (
            ["--try", "lr=1e-5", "--trials", "1", "--space", "lr"],
            "--trials 1 is too few for the recipe and 1 --try",
        ),
        (
            ["--try", "weights=.2/.3/.5", "--space", "lr"],
            "error: --try weights=.2/.3/.5: space lr does not vary loss_weights; it varies lr",
        ),
        (
            ["--try", "negative_strat=hard", "--space", "negatives"],
            "does not vary negative_strat; did you mean 'negative_strategy'?; it varies ",
        ),
        (["--start-from", "nowhere"], "nowhere holds no run"),
        (["--resume", "--name", "none", "--encoder", "tiny"], "runs/none holds no run to resume"),
        (["--storage", "nosuch://db", "--encoder", "tiny"], "--storage: "),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, refuse: Refuse, tmp_path: Path, course_folder: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "a-file").touch()
    (tmp_path / "texts").mkdir()
    for file in course_folder.iterdir():
        text = file.read_text()
        if file.name == "ids-sst-train.csv":
            text = re.sub(r"\d$", "good", text, flags=re.MULTILINE)
        (tmp_path / "texts" / file.name).write_text(text)
    line = refuse(*arguments)
    assert line.startswith("error: ")
    assert words in line
    # Nothing is left of a search that did not start.
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["taken"]


def test_error_in_own_space_is_told_before_anything_runs(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def space(trial):\n    return {'batch_size': 0}\n")
    line = refuse("--space", "mine.py")
    assert line == "error: mine.py:2: batch_size: must be greater than or equal to 1 (got 0)"


def test_the_ranges_of_all_spaces_stand_in_one_column() -> None:
    code, text = said(run.main, "--list-spaces")
    rows = [line for line in text.splitlines() if line.startswith("    ")]
    assert code == 0
    assert len(rows) > 30
    (start,) = {re.match(r" {4}\S+( \S+)*  +", row).end() for row in rows}  # type: ignore[union-attr]
    assert all(row[start - 2 : start] == "  " for row in rows)
