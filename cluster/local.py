"""A Ray cluster for the duration of a search: its own on this machine, or one that it joins."""

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

# Ray's socket names must be shorter than 107 characters, so a long TMPDIR cannot be used.
_SHORT = Path("/tmp")
_PREFIX = "minbert-ray-"
_SECONDS_TO_ANSWER = 10
_HANDLED_BY_RAY = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_OURS = Path(__file__).parent.parent
_OUR_PACKAGES = ("cluster", "minbert", "search", "spaces")


@dataclass(frozen=True)
class Machine:
    """What a machine of a cluster offers to trials."""

    cpus: int
    gpus: float

    def slots(self, cpus_per_trial: int, gpus_per_trial: float) -> int:
        """Number of trials that can run on the machine at once."""
        by_cpu = self.cpus // cpus_per_trial
        if not gpus_per_trial:
            return by_cpu
        # A trial's share of a GPU is on a single card.
        if gpus_per_trial < 1:
            return min(by_cpu, int(self.gpus) * int(1 / gpus_per_trial + 1e-9))
        return min(by_cpu, int(self.gpus / gpus_per_trial))


@dataclass(frozen=True)
class Cluster:
    """The cluster that trials run on.

    Attributes:
        joined: address of a cluster that the search joined, whose machines may come and go; None
            for the search's own.
        dashboard: address of the Ray dashboard; None if there is none.
        asks_for_token: the dashboard asks for a token, which ``ray get-auth-token`` prints.
        head: machine that the dashboard runs on; None if it is this one.
    """

    joined: str | None = None
    dashboard: str | None = None
    asks_for_token: bool = False
    head: str | None = None

    @property
    def tunnel(self) -> str | None:
        """Command that forwards the dashboard to a person's own machine; None if none is needed.

        By default the dashboard listens only on the loopback address of the head.
        """
        if self.dashboard is None or self.head is None:
            return None
        host, _, port = self.dashboard.removeprefix("http://").rpartition(":")
        return f"ssh -N -L {port}:{host}:{port} {self.head}"

    def answers(self) -> bool:
        """Whether the head of a joined cluster can be reached; True for the search's own."""
        if self.joined is None:
            return True
        try:
            _reach(self.joined)
        except OSError:
            return False
        return True

    def machines(self) -> list[Machine]:
        """The machines that are alive now and have CPUs or GPUs."""
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        machines = [Machine(int(each.get("CPU", 0)), each.get("GPU", 0.0)) for each in resources]
        return [machine for machine in machines if machine.cpus or machine.gpus]

    def slots(self, cpus_per_trial: int, gpus_per_trial: float) -> int:
        """Number of trials that can run at once now."""
        return sum(machine.slots(cpus_per_trial, gpus_per_trial) for machine in self.machines())

    def check_room(self, cpus_per_trial: int, gpus_per_trial: float) -> None:
        """Raise InputError if a trial needs more than the search's own cluster has."""
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
    """Start Ray on this machine and stop it at the end, or join the cluster at ``address``.

    Args:
        address: ``auto`` or ``HOST:PORT`` of a running cluster. By default none is joined, even
            if one runs on this machine.
        dashboard: start the Ray dashboard with a cluster of our own.
        metadata: of Ray's job, as shown by ``/api/jobs/`` of the dashboard; its Jobs page shows
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
        # Ray's own handlers end the process at once, before results are written.
        _put_back(handlers)
        guard_token()
        # The search itself reports errors of trials, not Ray's log.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        head = ray.get_runtime_context().gcs_address.rpartition(":")[0]
        yield Cluster(
            joined=address and ray.get_runtime_context().gcs_address,
            dashboard=f"http://{context.dashboard_url}" if context.dashboard_url else None,
            # Ray sets this too if it finds a token.
            asks_for_token=os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
            head=None if head in LOOPBACK else head,
        )
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        # Ray leaves its own handlers, which would ignore a Ctrl-C while results are written.
        _put_back(handlers)


def _put_back(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set signal handlers again, even if Python reports them as set.

    Python does not see what Ray's C++ code sets.
    """
    for number, handler in handlers.items():
        # None: it was set by C code before.
        if handler is not None:
            signal.signal(number, handler)


@contextmanager
def _agent_of_any_port() -> Iterator[None]:
    """Let the node's agent, which serves logs to the dashboard, listen on any free port.

    Ray's default port is fixed, so one of two clusters on a machine would show no logs.
    ``ray.init`` has no option for the port.
    """
    original = parameter.RayParams
    parameter.RayParams = partial(original, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = original


@contextmanager
def _in_groups_of_their_own() -> Iterator[None]:
    """Keep the processes that Ray starts out of our process group.

    ``timeout``, for example, sends SIGTERM to the whole group, but the search needs Ray's processes
    to end cleanly. They ignore SIGINT anyway. On systems other than Linux, Ray uses the group to
    end what a killed driver leaves, so there they stay in it.
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
    """A new folder for the files of this process's cluster; removes those of dead processes."""
    parent = _SHORT if _SHORT.is_dir() else Path(tempfile.gettempdir())
    remove_leftovers(parent)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


def guard_token() -> None:
    """Make the token readable only by its owner, which Ray does not do."""
    with contextlib.suppress(OSError):
        token_file().chmod(0o600)


def remove_leftovers(parent: Path) -> None:
    """Remove folders that killed searches left behind, whose process is gone."""
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
        # If nothing listens, Ray would wait for minutes.
        if address.rpartition(":")[2].isdigit():
            _reach(address)
            with _without_stderr():
                # Without this check, Ray would offer a refused token repeatedly for 20 seconds.
                GcsClient(address=address)
        # Without a valid token, Ray prints twenty lines.
        with _without_stderr():
            return ray.init(
                address=address,
                job_config=JobConfig(metadata=metadata),
                # The nodes need only the dependencies of our packages, not our packages.
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
    """Connect to HOST:PORT and close the connection; OSError if that fails."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Hide everything that this process writes to stderr, C++ code included."""
    sys.stderr.flush()
    seen = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(seen, 2)
        os.close(seen)
