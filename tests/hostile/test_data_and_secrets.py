"""A data set that someone else made, and secrets: neither comes where it does not belong."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.plugin_util import markdown_to_safe_html  # type: ignore[import-untyped]

from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.errors import plain
from minbert.hub import Pretrained, load_pretrained
from minbert.reading import read_table
from search import export
from search.review import __main__ as review
from tests.conftest import write_course_folder
from tests.search.review.tensorboard.logged_search import text_of

from .told import Told, assert_nothing_lives_in

ROOT = Path(export.__file__).parent.parent

# A data set


def written(*cells: str, split: str = "ids-sst-train") -> bytes:
    pair = split.startswith("quora")
    names = ["", "id", *(["sentence1", "sentence2"] if pair else ["sentence"])]
    names.append("is_duplicate" if pair else "sentiment")
    rows = [names, ["1", *cells]]
    return "\n".join("\t".join(row) for row in rows).encode(errors="surrogatepass") + b"\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (written("a", "x\ud800y", "1"), "line 2: not UTF-8 text"),
        (b"\xff\xfe" + written("a", "b", "1"), "line 1: not UTF-8 text"),
        (written("a", "x " * 500_000, "1"), "line 2: field larger than field limit"),
        (written("a", '"' + "x " * 500_000, "1"), "(a quotation mark may be left open)"),
        (written("a", "b", "<script>\x1b[2J"), "such as '<script>\\x1b[2J'"),
        (written("a", "b", "999"), "sentiment '999' is not within 0 to 99"),
        (written("\x1b]0;x\x07", "b", "1"), "id '\\x1b]0;x\\x07' contains an unprintable"),
        (written("a\u202eb", "b", "1"), "contains an unprintable character"),
        (written('"a\n7 , 4"', "b", "1"), "line 2: a field spans lines 2 to 3"),
        (written("=cmd|' /C calc'!A0", "b", "1"), "is a formula"),
        (written("@SUM(1)", "b", "1"), "is a formula"),
        (written("+cmd|'x'!A0", "b", "1"), "is a formula"),
        (written("a" * 201, "b", "1"), "an id of 201 characters"),
        (b"\x1b]0;x\x07\t<script>\n1\t2\n", "no column 'id' (found: "),
    ],
)
def test_hostile_files_are_refused_in_one_line(
    content: bytes, words: str, tmp_path: Path, course_folder: Path, told: Told, tiny: Pretrained
) -> None:
    shutil.copytree(course_folder, tmp_path / "data")
    (tmp_path / "data" / "ids-sst-train.csv").write_bytes(content)

    def load() -> int:
        load_dataset(InputSettings(data=str(tmp_path / "data")), tiny.tokenizer(), cache=None)
        return 0

    assert plain(words) in told(load)


def test_odd_but_harmless_files_are_read() -> None:
    for id_ in ("../../etc/passwd", "-17", "+1", "a+b/c==", "-abc", "\u00fc\u6f22"):
        table = read_table(written(id_, "=1+1\x00<b>\x1b[2J", "1"), "file", "sst", "train")
        assert (table.ids, table.texts) == ([id_], [("=1+1\x00<b>\x1b[2J",)])


@pytest.mark.parametrize("name", ["~nobody-of-that-name/data", "x" * 5000, "a\0b", "\x1b[2J"])
def test_odd_names_of_data_and_encoders_are_refused_in_one_line(
    name: str, told: Told, tiny: Pretrained
) -> None:
    def load() -> int:
        load_dataset(InputSettings.check({"data": name}), tiny.tokenizer(), cache=None)
        return 0

    assert re.match(r"error: data( folder '|: no home folder is known for ~)", told(load))

    def load_encoder() -> int:
        load_pretrained(f"./{name}")
        return 0

    assert told(load_encoder).startswith("error: no encoder folder '")


# A search on hostile data, with secrets around it

SECRETS = {
    name: f"SECRET-OF-{name}"
    for name in ("HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD")
}
IN_URL = "SECRET/IN?URL"
SENTENCE = "<script>alert(1)</script> [a](javascript:b) **c** \x1b[2J\x00 =cmd|' /C calc'!A0"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A search of two trials: its folder, and all that it printed."""
    out = tmp_path_factory.mktemp("searched")
    data = write_course_folder(out / "data", train=120)
    for path in data.iterdir():
        text = path.read_text().replace("sees", f"sees {SENTENCE}").replace("\tquora-", "\t../../")
        path.write_text(text.replace("The dog", "\u202e The dog"))
    bad = data / "ids-sst-train.csv"
    bad.write_text(
        re.sub(r"\t0$", "\t<script>alert(2)</script>", bad.read_text(), count=1, flags=re.M)
    )
    arguments = ["--data", str(data), "--encoder", "tiny", "--trials", "2", "--epochs", "1"]
    arguments += ["--no-dashboard", "--out", str(out), "--name", "run", "--space", "lr"]
    # SQLite takes no password, so this one goes nowhere but through all of our hands.
    arguments += ["--storage", f"sqlite:///{out}/study.db?password={IN_URL}"]
    command = [sys.executable, "-m", "search.run", *arguments]
    environment = {**os.environ, **SECRETS, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out, done.stdout


def test_hostile_sentences_stay_texts(searched: tuple[Path, str]) -> None:
    out, printed = searched
    run = out / "run"
    assert printed == plain(printed)
    assert "dropped 1 of 120 rows (line 2: sentiment '<script>alert(2)</script>' is not" in printed
    page = (run / "report.html").read_text()
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in page
    assert_nothing_lives_in(page)
    texts = [text_of(path.parent) for path in run.glob("tensorboard/0*/*tfevents*")]
    assert len(texts) == 2
    for text in texts:
        shown = markdown_to_safe_html(text)
        # As the tiny encoder's word pieces say it.
        assert "< script > alert ( 1 ) < / script >" in html.unescape(shown)
        assert "href" not in shown
        assert text == plain(text)
    for path in run.glob("best/predictions/*.csv"):
        rows = path.read_text().splitlines()[1:]
        prefix = r"\.\./\.\./" if "para" in path.name else "(ids-sst|sts)-"
        assert rows
        assert all(re.fullmatch(rf"{prefix}(dev|test-student)-\d+ , [\d.-]+ ", row) for row in rows)


@pytest.mark.filterwarnings("ignore:Query string argument")
def test_secrets_are_in_no_file_and_no_output(
    searched: tuple[Path, str], told: Told, tmp_path: Path
) -> None:
    out, printed = searched
    url = f"sqlite:///{out}/study.db"
    to = tmp_path / "exported"
    printed += told(review.main, out / "run", "--storage", f"{url}?password={IN_URL}", "--html")
    printed += told(review.main, out / "run", "--storage", f"{url}?password={IN_URL}")
    printed += told(review.main, out / "run")
    printed += told(export.main, out / "run", "--storage", url, "--to", to)
    assert f"the study is at {url}?password=***; give it with --storage" in printed
    contents = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    contents |= {path: path.read_bytes() for path in to.rglob("*") if path.is_file()}
    names = {path.name for path in contents}
    assert names >= {"study.db", "report.html", "summary.json", "README.md", "run.json"}
    assert b"password=***" in contents[out / "run" / "report.html"]
    for secret in (*SECRETS.values(), IN_URL):
        assert secret not in printed
        assert [path for path, content in contents.items() if secret.encode() in content] == []
