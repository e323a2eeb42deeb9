"""Confirmations that are killed and continued."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from search.confirmation.conclusion import Conclusion
from search.confirmation.ledger import Ledger
from search.storage.folder import RunFolder
from search.storage.study import Study

from .simulated import KilledError, confirm, killed_at

KILLS = 8

pytestmark = pytest.mark.usefixtures("ray_once")


@pytest.fixture(scope="module")
def uninterrupted(
    searched: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, Any], Conclusion]:
    """How often a confirmation writes, its plan and its conclusion."""
    path = Path(shutil.copytree(searched, tmp_path_factory.mktemp("whole") / searched.name))
    writes = 0
    write = Study._write

    def counting(self: Study, action: Callable[[], Any]) -> Any:
        nonlocal writes
        writes += 1
        return write(self, action)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "_write", counting)
        conclusion = confirm(path)
    assert conclusion is not None
    with closing(RunFolder(path).load_confirmation()) as study:
        plan = Ledger(study).content("plan")
    assert plan is not None
    return writes, plan, conclusion


def _check_killed(
    run: Path, kill: int, whole: tuple[int, dict[str, Any], Conclusion], kills: int
) -> None:
    writes, plan, conclusion = whole
    # Spread over all writes; the plan's and the verdict's are the first and the last.
    with pytest.MonkeyPatch.context() as patch:
        at = kill // 2 * (writes - 1) // ((kills - 1) // 2)
        end = killed_at(patch, at, after=bool(kill % 2))
        with pytest.raises(KilledError):
            confirm(run)
        end()
    assert confirm(run) == conclusion
    with closing(RunFolder(run).load_confirmation()) as study:
        ledger = Ledger(study)
        assert ledger.content("plan") == plan
        assert [entry.kind for entry in ledger.entries] == ["plan", "verdict"]


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_confirmation_continues_to_the_same_verdict(
    run: Path, kill: int, uninterrupted: tuple[int, dict[str, Any], Conclusion]
) -> None:
    _check_killed(run, kill, uninterrupted, KILLS)


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(50))
def test_fifty_kills_change_no_verdict(
    run: Path, kill: int, uninterrupted: tuple[int, dict[str, Any], Conclusion]
) -> None:
    _check_killed(run, kill, uninterrupted, 50)
