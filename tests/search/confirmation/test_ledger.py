"""The ledger: entries in a chain that shows each change."""

import pytest
from optuna.storages import InMemoryStorage

from minbert.errors import InputError
from search.confirmation.ledger import Ledger
from search.storage.study import Study


def make_study() -> Study:
    study = Study.create(InMemoryStorage(), "s", {})
    ledger = Ledger(study)
    ledger.add("plan", {"seeds": [1, 2]})
    ledger.add("verdict", {"ending": "better"})
    return study


def test_entries_are_read_again_in_their_order() -> None:
    study = make_study()
    ledger = Ledger(study)
    assert [entry.kind for entry in ledger.entries] == ["plan", "verdict"]
    assert ledger.content("plan") == {"seeds": [1, 2]}
    assert ledger.entries[1].before == ledger.entries[0].sha256
    with pytest.raises(ValueError, match="has an entry of kind verdict already"):
        ledger.add("verdict", {"ending": "worse"})


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {"content": {"seeds": [1, 2, 3]}}),
        (2, {"content": {"ending": "worse"}}),
        (2, {"at": 5.0}),
        (2, {"before": ""}),
        (2, {"sha256": "0" * 64}),
        (1, {"number": 2}),
    ],
)
def test_a_changed_entry_is_noticed(number: int, changes: dict[str, object]) -> None:
    study = make_study()
    key = f"ledger:{number:04d}"
    study.note(key, {**study.noted(key), **changes})
    with pytest.raises(InputError, match=f"entry {number} of the confirmation's ledger was chang"):
        Ledger(study)


def test_an_entry_that_took_the_place_of_another_is_noticed() -> None:
    study = make_study()
    study.note("ledger:0001", study.noted("ledger:0002"))
    with pytest.raises(InputError, match="entry 1 of the confirmation's ledger"):
        Ledger(study)
    study.note("ledger:0001", "text")
    with pytest.raises(InputError, match="entry 1 of the confirmation's ledger is damaged"):
        Ledger(study)
