"""The ledger of a confirmation: what was fixed and concluded, and when, in an order to verify.

Entries are only added. Each holds the hash of the one before, so a changed or removed entry is
noticed. It cannot show that someone copied a whole study before, or confirmed elsewhere.
"""

import hashlib
import json
import time
from typing import Any, Literal

import pydantic

from minbert.errors import InputError
from minbert.settings import Settings
from search.record import Moment
from search.storage.study import Study

# plan: what will be trained and judged, before the first training; opened: the labelled test files
# are about to be scored; verdict: what all of it showed.
Kind = Literal["plan", "opened", "verdict"]


class Entry(Settings):
    """An entry of the ledger."""

    number: int
    """from 1"""
    kind: Kind
    at: Moment
    """seconds since the epoch"""
    content: dict[str, Any]
    before: str
    """sha256 of the entry before; empty for the first"""
    sha256: str
    """of the five fields above"""


class Ledger:
    """The entries in a study.

    Raises:
        InputError: they are not what was written.
    """

    def __init__(self, study: Study):
        self._study = study
        self.entries: list[Entry] = []
        while (given := study.noted(_key(len(self.entries) + 1))) is not None:
            self.entries.append(self._checked(given))

    def content(self, kind: Kind) -> dict[str, Any] | None:
        """What the entry of a kind says; None if there is none."""
        return next((entry.content for entry in self.entries if entry.kind == kind), None)

    def add(self, kind: Kind, content: dict[str, Any]) -> None:
        """Add an entry; each kind comes once."""
        if self.content(kind) is not None:
            raise ValueError(f"the ledger has an entry of kind {kind} already")
        fields = {
            "number": len(self.entries) + 1,
            "kind": kind,
            "at": time.time(),
            "content": content,
            "before": self._last,
        }
        entry = Entry(**fields, sha256=_sha256(fields))
        self._study.note(_key(entry.number), entry.model_dump(mode="json"))
        self.entries.append(entry)

    @property
    def _last(self) -> str:
        return self.entries[-1].sha256 if self.entries else ""

    def _checked(self, given: Any) -> Entry:
        number = len(self.entries) + 1
        try:
            entry = Entry.model_validate(given)
        except pydantic.ValidationError:
            raise InputError(f"entry {number} of the confirmation's ledger is damaged") from None
        fields = entry.model_dump(mode="json", exclude={"sha256"})
        is_next = entry.number == number and entry.before == self._last
        if not is_next or entry.sha256 != _sha256(fields):
            raise InputError(
                f"entry {number} of the confirmation's ledger was changed after it was written, so "
                "nothing it says can be relied on"
            )
        return entry


def _key(number: int) -> str:
    return f"ledger:{number:04d}"


def _sha256(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
