"""From the files of the tasks to flat arrays of word pieces, checked and cached."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from . import cache as array_cache
from . import notes as data_notes
from .config import InputSettings
from .errors import InputError, plain
from .examples import Dataset, Split
from .files import check_content
from .glue import prepare_glue
from .lookalikes import but, lookalikes_of, remedy
from .reading import BadRow, Table, check_bad_rows, check_stray, prepare_text, read_table
from .tasks import TASK_NAMES, TASKS, SplitName, Task
from .tokenizer import frame_ids
from .toy import write_toy

_NAMED_DATA = ("toy", "glue")
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "dev", "test")

# Part of every cache key: increase it when the same file would give other arrays.
_FORMAT = 5


def load_dataset(
    inputs: InputSettings,
    tokenizer: Tokenizer,
    *,
    splits: Sequence[SplitName] = SPLIT_NAMES,
    seed: int = 0,
    cache: Path | Literal["default"] | None = "default",
) -> Dataset:
    """Read, check and tokenise the files of ``inputs.tasks``.

    Args:
        inputs: which data to read, and how.
        tokenizer: the encoder's; its truncation, padding and special tokens are not used.
        splits: the splits to read. A test file may be missing or have no rows.
        seed: of the random samples of ``--train-limit`` and ``--dev-limit``.
        cache: folder for tokenised data; None for no cache.

    Raises:
        InputError: a folder, file or column is missing, or too many rows are bad.
    """
    folder = array_cache.cache_folder() if cache == "default" else cache
    reader = _Reader(inputs, tokenizer, folder, seed)
    cls_id, sep_id = frame_ids(tokenizer)
    loaded: dict[Task, dict[SplitName, data_notes.ReadFile]] = {}
    notes = reader.notes
    with _open_folder(inputs, splits, folder) as source:
        for task in inputs.tasks:
            read = {name: reader.read(source, task, name) for name in splits}
            loaded[task] = {name: file for name, file in read.items() if file is not None}
            notes += data_notes.on_task(
                task, loaded[task], reader.pieces.unknown, strict=inputs.strict
            )
        notes += data_notes.on_cut(loaded, inputs.max_length)
    return Dataset(
        name=inputs.data if inputs.data in _NAMED_DATA else Path(inputs.data).resolve().name,
        splits={
            task: {name: file.used for name, file in read.items()} for task, read in loaded.items()
        },
        classes=reader.classes,
        cls_id=cls_id,
        sep_id=sep_id,
        files=reader.files,
        # Notes quote ids and names of files, which may come from anyone.
        notes=tuple(dict.fromkeys(plain(note).replace("\n", " ") for note in notes)),
    )


@dataclass(frozen=True)
class LabelledTest:
    """Test examples with labels, which no training and no choice may use.

    Attributes:
        splits: the examples of each task.
        files: sha256 of the content of each file, by name.
        notes: what the user should know about them, one sentence each.
    """

    splits: dict[Task, Split]
    files: dict[str, str]
    notes: tuple[str, ...]


def load_labelled_test(
    inputs: InputSettings, tokenizer: Tokenizer, train: Mapping[Task, Split]
) -> LabelledTest:
    """Read, check and tokenise a data folder's files such as ``quora-test.csv``.

    Args:
        inputs: which data to read, and how.
        tokenizer: the encoder's.
        train: the training examples; that test examples are among them is noted.

    Raises:
        InputError: there is no such file, or a column is missing, or too many rows are bad.
    """
    if inputs.data in _NAMED_DATA:
        raise InputError(
            f"data '{inputs.data}' have no labelled test examples; give a folder that has files "
            f"such as {TASKS[inputs.tasks[0]].labelled_test_name}"
        )
    folder = _users_folder(inputs.data)
    reader = _Reader(inputs, tokenizer, array_cache.cache_folder(), 0)
    splits: dict[Task, Split] = {}
    for task in inputs.tasks:
        splits[task] = reader.read_labelled_test(folder, task).whole
        reader.notes += data_notes.on_labelled_test(task, train[task], splits[task])
    return LabelledTest(splits, reader.files, tuple(plain(note) for note in reader.notes))


class _Reader:
    """Reads files one after the other, and collects what concerns all of them.

    Attributes:
        notes: on the files, for the user.
        files: sha256 of each file, by name.
        classes: of sentiment, as far as the labels tell.
    """

    def __init__(self, inputs: InputSettings, tokenizer: Tokenizer, cache: Path | None, seed: int):
        self._inputs, self._cache, self._seed = inputs, cache, seed
        self.pieces = _Tokenizer(tokenizer, inputs.max_length)
        self.notes: list[str] = []
        self.files: dict[str, str] = {}
        self.classes = 0

    def read(self, source: Path, task: Task, name: SplitName) -> data_notes.ReadFile | None:
        """The file of a split; None for a test file that is missing or has no rows."""
        path = source / TASKS[task].file_name(name)
        if name == "test" and not path.exists() and not path.is_symlink():
            self.notes += _notes_on_missing_test(path, task, self._inputs)
            return None
        content = _read_file(path, task, self._inputs)
        if content or name != "test":
            check_content(path)
        return self._read(path, content, task, name)

    def read_labelled_test(self, source: Path, task: Task) -> data_notes.ReadFile:
        """The file of a task's labelled test examples."""
        path = source / TASKS[task].labelled_test_name
        if not path.is_file():
            raise InputError(
                f"data folder '{self._inputs.data}' has no {path.name}, the test examples of "
                f"{task} with their labels; add it, with the columns of "
                f"{TASKS[task].file_name('dev')}"
            )
        content = _read_file(path, task, self._inputs)
        check_content(path)
        # Its columns and checks are those of dev.
        read = self._read(path, content, task, "dev")
        assert read is not None
        return read

    def _read(
        self, path: Path, content: bytes, task: Task, name: SplitName
    ) -> data_notes.ReadFile | None:
        self.files[path.name] = hashlib.sha256(content).hexdigest()
        whole, is_cut, facts = _load_split(
            content, path.name, task, name, self.pieces, self._cache, self.notes
        )
        if name == "test" and not facts["rows"]:
            self.notes.append(data_notes.on_no_rows(path.name, task))
            return None
        self.notes += _notes_on_rows(path.name, facts, self._inputs)
        if task == "sst" and whole.labels is not None:
            self.classes = max(self.classes, 2, int(whole.labels.max()) + 1)
        return data_notes.ReadFile(
            path.name,
            whole,
            _sample(whole, name, self._inputs, self._seed),
            is_cut=is_cut,
            first_lines={int(label): line for label, line in facts["first_lines"]},
        )


def tokenize_texts(
    task: Task,
    rows: Sequence[tuple[str, ...]],
    tokenizer: Tokenizer,
    max_length: int,
    ids: Sequence[str] | None = None,
) -> Split:
    """Tokenise the given texts as ``load_dataset`` does those of a file, without labels.

    Args:
        task: a row has one text for sentiment, two for the tasks on pairs.
        rows: the texts.
        tokenizer: the encoder's.
        max_length: word pieces after which a sentence is cut, without [CLS] and [SEP].
        ids: one per row; numbers from 0 by default.

    Raises:
        InputError: a row has too few or too many texts, or an empty one.
    """
    wanted = len(TASKS[task].sentence_columns)
    prepared = [tuple(prepare_text(task, text) for text in row) for row in rows]
    for number, row in enumerate(prepared, start=1):
        if len(row) != wanted or not all(row):
            raise InputError(
                f"text {number}: {task} needs {wanted} text{'s' * (wanted > 1)} that "
                f"{'are' if wanted > 1 else 'is'} not empty"
            )
    names = list(ids) if ids is not None else [str(number) for number in range(len(rows))]
    table = Table(names, prepared, None, [])
    split, _ = _tokenize(task, table, _Tokenizer(tokenizer, max_length))
    return split


class _Tokenizer:
    """A copy of a tokenizer that adds nothing, and cuts only at ``max_length``."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        # Files such as MiniLM's switch on padding and truncation; the caller's copy keeps them.
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.max_length = max_length
        # The token may have another name, and not every kind of model has one.
        unknown = getattr(self._tokenizer.model, "unk_token", None) or "[UNK]"
        self.unknown: int | None = self._tokenizer.token_to_id(unknown)
        self.hash = hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()

    def encode(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def hash_text(self, text: str) -> bytes:
        """8 bytes that identify a text as the tokenizer normalises it, such as lower-cased."""
        normalizer = self._tokenizer.normalizer
        normal = text if normalizer is None else normalizer.normalize_str(text)
        return hashlib.blake2b(" ".join(normal.split()).encode(), digest_size=8).digest()


@contextlib.contextmanager
def _open_folder(
    inputs: InputSettings, splits: Sequence[SplitName], cache: Path | None
) -> Iterator[Path]:
    """The folder of the data files; generated files are removed afterwards."""
    if inputs.data not in _NAMED_DATA:
        yield _users_folder(inputs.data)
        return
    with tempfile.TemporaryDirectory() as temporary:
        if inputs.data == "glue":
            yield _glue_folder(inputs.tasks, splits, cache, Path(temporary))
        else:
            # Generated each time, which is faster than checking a stored copy.
            write_toy(Path(temporary))
            yield Path(temporary)


def _users_folder(data: str) -> Path:
    try:
        folder = Path(data)
        there = folder.exists()
        files = list(folder.iterdir()) if folder.is_dir() else None
    except OSError as error:
        raise InputError(f"data folder '{data[:200]}' cannot be read: {error}") from None
    layout = (
        f"{', '.join(_NAMED_DATA)} or a folder with {TASKS['sst'].file_name('train')} and so on"
    )
    if files is None:
        what = "is not a folder" if there else "does not exist"
        raise InputError(f"data folder '{data}' {what}; give {layout}")
    if not files:
        raise InputError(f"data folder '{data}' is empty; give {layout}")
    return folder


def _glue_folder(
    tasks: Sequence[Task], splits: Sequence[SplitName], cache: Path | None, temporary: Path
) -> Path:
    if cache:
        # If the cache cannot be written, the files are written for this run only.
        with contextlib.suppress(OSError):
            return _glue_folder(tasks, splits, None, cache / "glue")
    for task in tasks:
        for split in splits:
            prepare_glue(temporary, task, split)
    return temporary


def _read_file(path: Path, task: Task, inputs: InputSettings) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(
                f"{path}: a link to a file that is not there; correct the link or copy the file"
            ) from None
        others = ",".join(name for name in inputs.tasks if name != task)
        hint = f", or leave {task} out with --tasks {others}" if others else ""
        alike = lookalikes_of(path)
        raise InputError(
            f"data folder '{inputs.data}' has no {path.name}, which {task} needs"
            f"{but(alike)}; {remedy(alike)}{hint}"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; fix that") from None


def _notes_on_missing_test(path: Path, task: Task, inputs: InputSettings) -> list[str]:
    """A note on a missing test file, if a file has nearly its name."""
    alike = [] if inputs.data in _NAMED_DATA else lookalikes_of(path)
    if not alike:
        return []
    return [
        f"data folder '{inputs.data}' has no {path.name}{but(alike)}, so {task} gets no test "
        f"predictions; {remedy(alike)} to get them"
    ]


def _load_split(
    content: bytes,
    file: str,
    task: Task,
    name: SplitName,
    tokenizer: _Tokenizer,
    cache: Path | None,
    notes: list[str],
) -> tuple[Split, np.ndarray, dict[str, Any]]:
    """The split, which sentences are cut (see ``_tokenize``), and facts.

    The facts are the number of ``rows``, the ``bad`` ones, the lines with ``stray`` quotation marks
    and, for classes, the ``first_lines`` of the labels.
    """
    key = [_FORMAT, task, name == "test", tokenizer.max_length, tokenizer.hash]
    digest = hashlib.sha256(repr(key).encode() + content).hexdigest()
    entry = cache / "splits" / digest[:32] if cache else None
    stored = array_cache.load(entry) if entry else None
    if stored:
        arrays, facts = stored
        return _split_of(task, arrays), arrays["is_cut"], facts
    table = read_table(content, file, task, name)
    rows = len(table.ids) + len(table.bad)
    # Checked before the work of tokenising; the caller checks again if it is strict.
    check_bad_rows(file, rows, table.bad, strict=False)
    split, is_cut = _tokenize(task, table, tokenizer)
    first_lines = list(table.first_lines.items()) if TASKS[task].whole_labels else []
    facts = {
        "rows": rows,
        "bad": table.bad,
        "stray": table.stray,
        "first_lines": first_lines,
    }
    if entry:
        arrays = {
            name: value for name, value in vars(split).items() if isinstance(value, np.ndarray)
        }
        try:
            array_cache.store(entry, {**arrays, "is_cut": is_cut}, facts)
        except OSError as error:
            notes.append(
                f"the cache {cache} cannot be written ({error.strerror}); continuing without it"
            )
    return split, is_cut, facts


def _split_of(task: Task, arrays: dict[str, np.ndarray]) -> Split:
    absent: dict[str, Any] = {"second": None, "labels": None}
    own = {name: array for name, array in arrays.items() if name != "is_cut"}
    return Split(task=task, **{**absent, **own})


def _tokenize(task: Task, table: Table, tokenizer: _Tokenizer) -> tuple[Split, np.ndarray]:
    """The split, and for each sentence whether it is longer than the maximum length."""
    numbers: dict[str, int] = {}
    for row in table.texts:
        for text in row:
            numbers.setdefault(text, len(numbers))
    sentences = tokenizer.encode(list(numbers))
    is_cut = np.array([len(sentence) > tokenizer.max_length for sentence in sentences], np.bool_)
    kept = [np.array(sentence[: tokenizer.max_length], np.int32) for sentence in sentences]
    columns = [
        np.array([numbers[row[place]] for row in table.texts], np.int32)
        for place in range(len(TASKS[task].sentence_columns))
    ]
    split = Split(
        task=task,
        ids=np.array(table.ids, np.str_),
        tokens=np.concatenate([np.empty(0, np.int32), *kept]),
        offsets=np.cumsum([0, *(len(sentence) for sentence in kept)], dtype=np.int64),
        texts=np.frombuffer(b"".join(map(tokenizer.hash_text, numbers)), np.uint64),
        first=columns[0],
        second=columns[1] if TASKS[task].is_pair else None,
        labels=None if table.labels is None else np.array(table.labels, np.float32),
    )
    return split, is_cut


def _sample(split: Split, name: SplitName, inputs: InputSettings, seed: int) -> Split:
    limit = {"train": inputs.train_limit, "dev": inputs.dev_limit, "test": None}[name]
    if limit is None or limit >= len(split):
        return split
    # One generator per task and split, so that a sample does not depend on what else is loaded.
    place = [TASK_NAMES.index(split.task), SPLIT_NAMES.index(name)]
    generator = np.random.default_rng([seed, *place])
    return split.select(np.sort(generator.choice(len(split), limit, replace=False)))


def _notes_on_rows(file: str, facts: dict[str, Any], inputs: InputSettings) -> list[str]:
    bad = [BadRow(*row) for row in facts["bad"]]
    checked = (
        check_bad_rows(file, facts["rows"], bad, strict=inputs.strict),
        check_stray(file, facts["rows"], facts["stray"], strict=inputs.strict),
    )
    return [note for note in checked if note is not None]
