"""Files in a data folder whose names are almost names of the course layout."""

import difflib
import re
from pathlib import Path

from .tasks import TASK_NAMES, TASKS, SplitName, Task

_MOST = 3
# Above the likeness of two files of the layout, below that of a name with one wrong letter.
_ALIKE = 0.9

_TASK_WORDS: dict[Task, str] = {
    "sst": "sst|sentiment",
    "para": "quora|para|qqp",
    "sts": "sts|similarity",
}
_SPLIT_WORDS: dict[SplitName, str] = {
    "train": "train(ing)?",
    "dev": "dev|val(id(ation)?)?",
    "test": "test",
}
_TEXT = ("", ".csv", ".tsv", ".tab", ".txt")
_OTHER = (".gz", ".zip", ".xz", ".bz2", ".json", ".jsonl", ".parquet", ".xlsx", ".ods")


def lookalikes_of(path: Path) -> list[str]:
    """Files that may be the missing file of the layout, best first, relative to its folder.

    In the folder itself they share words or nearly all letters with its name; in a subfolder they
    have exactly its name.
    """
    task, split = next(
        (task, split)
        for task in TASK_NAMES
        for split in _SPLIT_WORDS
        if TASKS[task].file_name(split) == path.name
    )
    try:
        entries = sorted(path.parent.iterdir())
        # Without the hidden files of editors and macOS.
        files = [e.name for e in entries if e.is_file() and not e.name.startswith(".")]
        within = [f"{entry.name}/{path.name}" for entry in entries if (entry / path.name).is_file()]
    except OSError:
        return []
    alike = [name for name in files if _is_alike(name, path.name, task, split)]
    alike.sort(key=lambda name: -_likeness(name, path.name))
    return [*alike, *within][:_MOST]


def but(alike: list[str]) -> str:
    """The files found, as part of a sentence that names the missing one."""
    return f", but {' and '.join(alike)}" if alike else ""


def remedy(alike: list[str]) -> str:
    """What to do about the files found, in words."""
    if not alike:
        return "add it"
    if "/" in alike[0]:
        return "move it, or give its folder as --data"
    suffix = Path(alike[0].lower().strip()).suffix
    return "rename it" if suffix in _TEXT else "unpack or convert it"


def _likeness(name: str, wanted: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), wanted).ratio()


def _is_alike(name: str, wanted: str, task: Task, split: SplitName) -> bool:
    lower = name.lower().strip()
    layout = {TASKS[task].file_name(split) for task in TASK_NAMES for split in _SPLIT_WORDS}
    # Predictions may lie beside the data.
    if name in layout or "output" in lower or "predict" in lower:
        return False
    if Path(lower).suffix not in (*_TEXT, *_OTHER):
        return False
    tasks = {
        task for task, words in _TASK_WORDS.items() if re.search(f"(?<![a-z])({words})", lower)
    }
    words = _SPLIT_WORDS[split]
    if tasks and task not in tasks:
        return False
    if _likeness(name, wanted) >= _ALIKE:
        return True
    if not tasks:
        return re.fullmatch(rf"({words})(\.[a-z]+)+", lower) is not None
    begins = f"(?<![a-z])|{_TASK_WORDS[task]}"
    return re.search(f"({begins})({words})(?![a-z])", lower) is not None
