"""The lease of a study: one driver at a time."""

import subprocess
import threading
from pathlib import Path
from typing import cast

import pytest

from minbert.errors import InputError
from search.storage import lease as lease_module
from search.storage.lease import Lease, lease
from search.storage.optuna_storage import open_storage
from search.storage.patience import StorageLostError
from search.storage.study import Study


class Clock:
    """Stands in for the module ``time``: it moves when somebody sleeps, or when told to."""

    CLOCK_MONOTONIC = 0

    def __init__(self) -> None:
        self.now = 1e9

    def time(self) -> float:
        return self.now

    def clock_gettime(self, which: int) -> float:  # noqa: ARG002
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Waits:
    """Stands in for the event that ends a lease: its waits pass on the clock, so many of them."""

    def __init__(self, clock: Clock, count: int):
        self._clock, self.left = clock, count

    def wait(self, seconds: float) -> bool:
        if not self.left:
            return True
        self.left -= 1
        self._clock.sleep(seconds)
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", clock)
    return clock


@pytest.fixture
def ours_and_theirs(tmp_path: Path) -> tuple[Study, Study]:
    """A study as two drivers have it open."""
    where = f"sqlite:///{tmp_path}/s.db"
    Study.create(open_storage(where), "s", {})
    ours, theirs = (Study.load(open_storage(where), "s") for _ in range(2))
    return ours, theirs


def test_a_lease_lets_one_driver_in_for_as_long_as_it_is_renewed(
    clock: Clock, ours_and_theirs: tuple[Study, Study]
) -> None:
    ours, theirs = ours_and_theirs
    held = Lease(ours)
    until = clock.now + 30
    held.over = cast("threading.Event", Waits(clock, 4))
    held.keep()
    # Four renewals, one every 10 s, so it is held beyond its first 30 s.
    assert clock.now > until
    with pytest.raises(InputError, match="another search is at work"), lease(theirs):
        pass
    # A driver that stands still renews nothing.
    clock.sleep(29.9)
    assert lease_module.is_leased(theirs)
    clock.sleep(0.1)
    assert not lease_module.is_leased(theirs)
    held.confirm()
    held.end()
    with lease(theirs):
        assert lease_module.is_leased(ours)
    assert not lease_module.is_leased(ours)


def test_a_lease_is_kept_by_a_thread_that_ends_with_it(
    clock: Clock, ours_and_theirs: tuple[Study, Study]
) -> None:
    del clock
    kept, ends = threading.Event(), threading.Event()

    def keep(_: Lease) -> None:
        kept.set()
        ends.wait(60)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lease, "keep", keep)
        with lease(ours_and_theirs[0]) as held:
            assert kept.wait(60)
            assert not held.over.is_set()
            ends.set()
    assert held.over.is_set()
    assert "lease" not in {thread.name for thread in threading.enumerate()}


def test_the_lease_of_a_driver_that_died_on_this_machine_is_over(
    clock: Clock, ours_and_theirs: tuple[Study, Study]
) -> None:
    ours, theirs = ours_and_theirs
    mine = {"owner": "gone", "until": clock.now + 99, "machine": lease_module._this_machine()}
    with subprocess.Popen(["true"]) as process:
        ours.note("lease", {**mine, "pid": process.pid})
        assert lease_module.is_leased(ours)
    assert not lease_module.is_leased(ours)
    with lease(theirs):
        pass


def test_a_driver_that_slept_too_long_finds_that_another_one_took_over(
    clock: Clock, ours_and_theirs: tuple[Study, Study]
) -> None:
    ours, theirs = ours_and_theirs
    lost: list[str] = []
    held = Lease(ours)
    held.when_lost(lost.append)
    theirs.note("lease", {"owner": "another", "until": clock.now + 9})
    held.over = cast("threading.Event", waits := Waits(clock, 9))
    held.keep()
    assert lost == ["another driver has taken over the study"]
    assert waits.left == 8
    # A writer asks too, but only where nobody has for half the length of the lease, as it costs a
    # query.
    ours.guard = held.check
    ours.note("within half its length", 1)
    clock.sleep(10)
    with pytest.raises(StorageLostError, match="another driver has taken over"):
        ours.note("planned", 9)
    held.end()
    assert theirs.noted("lease")["owner"] == "another"
    assert theirs.noted("planned") is None


@pytest.mark.parametrize("renewed", [True, False])
def test_a_lease_that_is_over_by_our_clock_may_be_renewed_by_a_clock_that_is_behind(
    renewed: bool, clock: Clock, ours_and_theirs: tuple[Study, Study]
) -> None:
    ours, theirs = ours_and_theirs
    over = clock.now - 60
    noted = {"owner": "far", "machine": "another", "pid": 1}
    theirs.note("lease", {**noted, "until": over})
    sleep = clock.sleep

    def and_meanwhile(seconds: float) -> None:
        sleep(seconds)
        # Its driver renews it every 10 s.
        if renewed and seconds > 10:
            theirs.note("lease", {**noted, "until": over + 10})

    clock.sleep = and_meanwhile  # type: ignore[method-assign]  # only here
    if renewed:
        with pytest.raises(InputError, match="another search is at work"):
            Lease(ours)
    else:
        Lease(ours)
