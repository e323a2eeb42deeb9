"""The lease on a study in a database that several machines can reach. Its driver holds it."""

import contextlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from minbert.errors import InputError

from .patience import STORAGE_ERRORS, StorageLostError
from .study import Study

_SECONDS = 30.0
_SECONDS_BETWEEN_RENEWALS = _SECONDS / 3
_LEASE = "lease"


def is_leased(study: Study) -> bool:
    """Whether a driver holds the lease on a study; not if it died on this machine."""
    noted = study.noted(_LEASE, guarded=False)
    if noted is None or noted["until"] <= time.time():
        return False
    return bool(noted.get("machine") != _this_machine() or psutil.pid_exists(noted["pid"]))


def _is_renewed(study: Study) -> bool:
    """Whether a lease that expired by our clock is renewed: its driver's clock may be slow."""
    noted = study.noted(_LEASE, guarded=False)
    if noted is None or noted.get("machine") == _this_machine():
        return False
    time.sleep(1.2 * _SECONDS_BETWEEN_RENEWALS)
    return bool(study.noted(_LEASE, guarded=False) != noted)


def _this_machine() -> str:
    """An identifier of the space of process numbers: this machine, its boot, and the container."""
    boot, numbers = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if not boot.is_file():
        return f"{platform.node()} {uuid.getnode()}"
    return f"{platform.node()} {boot.read_text('ascii').strip()} {numbers.readlink()}"


def _now() -> float:
    """Monotonic seconds that include the time while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Lease:
    """Held by the only driver of a study: valid for 30 s, renewed every 10 s.

    So it expires when the driver dies. A driver that could not renew it in time, because the
    database or the driver was suspended, continues only if no other driver took it meanwhile.

    Args:
        study: whose lease to take.

    Attributes:
        over: set it to end ``keep``.

    Raises:
        InputError: another driver holds the lease.
    """

    def __init__(self, study: Study):
        self._study = study
        self._lost: str | None = None
        self._on_lost: Callable[[str], None] = lambda _: None
        self._owner = uuid.uuid4().hex
        self._confirmed = 0.0
        self.over = threading.Event()
        refused = InputError(
            f"another search is at work on this study; wait for it, or {_SECONDS:g} s after its end"
        )
        if is_leased(study) or _is_renewed(study):
            raise refused
        self._renew()
        # If two drivers write at once, the later one wins. The other sees that after this pause.
        time.sleep(0.5)
        try:
            self.confirm()
        except StorageLostError:
            raise refused from None

    def check(self) -> None:
        """Before a write: confirm the lease if it was not confirmed for half its validity."""
        if _now() - self._confirmed > _SECONDS / 2:
            self.confirm()

    def confirm(self) -> None:
        """Renew the lease.

        Raises:
            StorageLostError: another driver has taken it.
        """
        noted = self._study.noted(_LEASE, guarded=False)
        if noted is not None and noted["owner"] != self._owner:
            raise StorageLostError("another driver has taken over the study")
        self._renew()

    def _renew(self) -> None:
        until, now = time.time() + _SECONDS, _now()
        noted = {"owner": self._owner, "until": until}
        noted |= {"machine": _this_machine(), "pid": os.getpid()}
        self._study.note(_LEASE, noted, guarded=False)
        self._confirmed = now

    def when_lost(self, act: Callable[[str], None]) -> None:
        """Call ``act`` with the reason once another driver has taken the lease, also if it has.

        The call comes from a thread. Nothing more may be written then.
        """
        self._on_lost = act
        if self._lost is not None:
            act(self._lost)

    def keep(self) -> None:
        """Renew the lease regularly until ``over`` is set."""
        while not self.over.wait(_SECONDS_BETWEEN_RENEWALS):
            try:
                self.confirm()
            except StorageLostError as error:
                self._lost = str(error)
                self._on_lost(self._lost)
                return
            except STORAGE_ERRORS:
                # Writers wait by themselves until the storage answers again.
                continue

    def end(self) -> None:
        """Release the lease, if this driver still holds it."""
        noted = self._study.noted(_LEASE, guarded=False)
        if noted is not None and noted["owner"] == self._owner:
            self._study.note(_LEASE, None, guarded=False)


@contextmanager
def lease(study: Study) -> Iterator[Lease]:
    """Hold the lease on a study; InputError if another driver holds it."""
    held = Lease(study)
    keeper = threading.Thread(target=held.keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield held
    finally:
        # End the renewals first.
        held.over.set()
        keeper.join()
        # A lease that cannot be released expires by itself.
        with contextlib.suppress(*STORAGE_ERRORS):
            held.end()
