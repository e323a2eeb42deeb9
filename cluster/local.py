"""A Ray cluster for the length of a search: one of its own on this machine, or a given one."""

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import parameter, services
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
from ray.exceptions import AuthenticationError, RpcError
from ray.job_config import JobConfig

from minbert.errors import InputError, first_line

from . import LOOPBACK, token_file

# Ray's socket names must stay under 107 characters, which a long TMPDIR leaves no room for.
_SHORT = Path("/tmp")
_PREFIX = "minbert-ray-"
_SECONDS_TO_ANSWER = 10
_HANDLED_BY_RAY = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_OURS = Path(__file__).parent.parent
_OUR_PACKAGES = ("cluster", "minbert", "search", "spaces")


@dataclass(frozen=True)
class Machine:
    """What a machine of a cluster has for trials."""

    cpus: int
    gpus: float

    def slots(self, cpus_per_trial: int, gpus_per_trial: float) -> int:
        """Trials that can run on it at once."""
        by_cpu = self.cpus // cpus_per_trial
        if not gpus_per_trial:
            return by_cpu
        # A trial's share of a GPU is all on one card.
        if gpus_per_trial < 1:
            return min(by_cpu, int(self.gpus) * int(1 / gpus_per_trial + 1e-9))
        return min(by_cpu, int(self.gpus / gpus_per_trial))


@dataclass(frozen=True)
class Cluster:
    """What trials can run on.

    Attributes:
        joined: address of one that is not the search's own, and whose machines come and go.
        dashboard: address of the Ray dashboard; None where there is none.
        asks_for_token: the dashboard does, with ``ray get-auth-token`` to answer.
        head: machine that the dashboard runs on, where the cluster is not this machine's own.
    """

    joined: str | None = None
    dashboard: str | None = None
    asks_for_token: bool = False
    head: str | None = None

    @property
    def tunnel(self) -> str | None:
        """Command that makes the dashboard answer at a person's own machine, where that takes one.

        Unless its cluster was started otherwise, it listens on the loopback of the head alone.
        """
        if self.dashboard is None or self.head is None:
            return None
        host, _, port = self.dashboard.removeprefix("http://").rpartition(":")
        return f"ssh -N -L {port}:{host}:{port} {self.head}"

    def answers(self) -> bool:
        """Whether the head of a cluster that was joined can be reached."""
        if self.joined is None:
            return True
        try:
            _reach(self.joined)
        except OSError:
            return False
        return True

    def machines(self) -> list[Machine]:
        """The machines that are there now and have anything for trials."""
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        machines = [Machine(int(each.get("CPU", 0)), each.get("GPU", 0.0)) for each in resources]
        return [machine for machine in machines if machine.cpus or machine.gpus]

    def slots(self, cpus_per_trial: int, gpus_per_trial: float) -> int:
        """Trials that can run at once now."""
        return sum(machine.slots(cpus_per_trial, gpus_per_trial) for machine in self.machines())

    def check_room(self, cpus_per_trial: int, gpus_per_trial: float) -> None:
        """Refuse what the search's own cluster never has room for; InputError says what."""
        if self.joined is not None:
            return
        (machine,) = self.machines()
        for name, wanted, there in (
            ("cpus", cpus_per_trial, machine.cpus),
            ("gpus", gpus_per_trial, machine.gpus),
        ):
            if wanted > there:
                raise InputError(
                    f"--{name}-per-trial {wanted:g}: the cluster has {there:g}; ask for fewer"
                )


@contextmanager
def ray_cluster(
    address: str | None = None,
    *,
    dashboard: bool = True,
    metadata: dict[str, str] | None = None,
) -> Iterator[Cluster]:
    """Start Ray on this machine alone and stop it at the end, or join the cluster at ``address``.

    Args:
        address: ``auto`` or ``HOST:PORT`` of a running cluster. By default none is joined, even
            where one runs on this machine.
        dashboard: start the Ray dashboard with a cluster of our own.
        metadata: of Ray's job, as ``/api/jobs/`` of the dashboard tells them; its Jobs page shows
            ``job_name``.

    Raises:
        InputError: no cluster answers at the address.
    """
    folder = None
    handlers = {number: signal.getsignal(number) for number in _HANDLED_BY_RAY}
    try:
        if address is None:
            folder = temporary_folder()
            with _agent_of_any_port(), _in_groups_of_their_own():
                context = ray.init(
                    address="local",
                    include_dashboard=dashboard,
                    dashboard_host="127.0.0.1",
                    job_config=JobConfig(metadata=metadata),
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder),
                )
        else:
            context = _join(address, metadata)
        # Ray's own ends the process at once, without anything being written.
        _put_back(handlers)
        guard_token()
        # What goes wrong in a trial is told by the search itself, not by Ray's log.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        head = ray.get_runtime_context().gcs_address.rpartition(":")[0]
        yield Cluster(
            joined=address and ray.get_runtime_context().gcs_address,
            dashboard=f"http://{context.dashboard_url}" if context.dashboard_url else None,
            # Set by Ray itself too, where a token is to be had.
            asks_for_token=os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
            head=None if head in LOOPBACK else head,
        )
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        # Ray's own stay for good: a Ctrl-C while results are written would pass unheard.
        _put_back(handlers)


def _put_back(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set handlers of signals anew, also where Python still names them.

    What Ray sets and resets by its C++ code Python does not know of.
    """
    for number, handler in handlers.items():
        # None: set by C code before.
        if handler is not None:
            signal.signal(number, handler)


@contextmanager
def _agent_of_any_port() -> Iterator[None]:
    """Let the node's agent, which hands logs to the dashboard, listen where there is room.

    Ray's own port is fixed, so that of two clusters on a machine one would show no logs, and
    ``ray.init`` has no option for it.
    """
    original = parameter.RayParams
    parameter.RayParams = partial(original, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = original


@contextmanager
def _in_groups_of_their_own() -> Iterator[None]:
    """Keep the processes that Ray starts out of our group.

    ``timeout``, for one, sends SIGTERM to the whole group, and without Ray's processes the search
    could not end in order. To SIGINT they are deaf as it is. Elsewhere than on Linux Ray ends what
    a killed driver leaves by its group, so there they stay in it.
    """
    if sys.platform != "linux":
        yield
        return
    original = services.ConsolePopen
    services.ConsolePopen = partial(original, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = original


def temporary_folder() -> Path:
    """A new folder for what a cluster of this process writes, in place of those of dead ones."""
    parent = _SHORT if _SHORT.is_dir() else Path(tempfile.gettempdir())
    remove_leftovers(parent)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


def guard_token() -> None:
    """Let nobody else read the token: Ray makes its file as readable as any."""
    with contextlib.suppress(OSError):
        token_file().chmod(0o600)


def remove_leftovers(parent: Path) -> None:
    """Remove what killed searches of ours left behind: folders whose process is gone."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and folder.stat().st_uid == os.getuid() and not _is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _join(address: str, metadata: dict[str, str] | None) -> "ray.client_builder.ClientContext":
    try:
        # Ray would wait for minutes where nothing listens.
        if address.rpartition(":")[2].isdigit():
            _reach(address)
            with _without_stderr():
                # Ray would show a token that is refused again and again, for 20 seconds.
                GcsClient(address=address)
        # Who is refused for want of a token would read twenty lines of Ray's.
        with _without_stderr():
            return ray.init(
                address=address,
                job_config=JobConfig(metadata=metadata),
                # So that the nodes need the packages that ours depend on, and not ours.
                runtime_env={"py_modules": [str(_OURS / name) for name in _OUR_PACKAGES]},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except AuthenticationError:
        raise InputError(
            f"--address {address}: the cluster there asks for its token; set RAY_AUTH_MODE=token, "
            f"and put the token into {token_file()} or RAY_AUTH_TOKEN"
        ) from None
    except (OSError, ValueError, RuntimeError, RpcError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({first_line(error)})"
        ) from None


def _reach(address: str) -> None:
    """Connect to HOST:PORT and hang up; OSError where that fails."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Let nothing that this process writes to stderr be seen, also where C++ code writes it."""
    sys.stderr.flush()
    seen = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(seen, 2)
        os.close(seen)
