"""A conclusion in the files that a search writes for people and programs."""

import contextlib
import json

from minbert.checkpoint import with_confirmation
from search.record import SearchRecord
from search.results import strict_json
from search.storage.directory import Directory

from .conclusion import Conclusion


def note_conclusion(directory: Directory, conclusion: Conclusion, record: SearchRecord) -> None:
    """Write a conclusion into summary.json, and into the model card if it is of the saved model.

    Files that are missing or damaged are left as they are.

    Args:
        directory: with the files.
        conclusion: of the confirmation.
        record: of the search.

    Raises:
        OSError: a file cannot be written.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        summary = json.loads(directory.read("summary.json"))
        summary["confirmation"] = conclusion.model_dump(mode="json")
        text = json.dumps(strict_json(summary), indent=2, ensure_ascii=False, allow_nan=False)
        directory.write("summary.json", (text + "\n").encode())
    if record.winner is None or conclusion.rival != record.winner.number:
        return
    best = directory / "best"
    with contextlib.suppress(FileNotFoundError, ValueError):
        for name, content in with_confirmation(best.read, conclusion.words).items():
            best.write(name, content)
