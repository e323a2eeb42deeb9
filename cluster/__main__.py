"""python -m cluster local: several Ray nodes on one machine, to try out a cluster."""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from cluster import detect_dead_nodes_within
from minbert.errors import InputError
from minbert.settings import command_of, make_parser, run_command

_DESCRIPTION = """\
Run a Ray cluster of several nodes on this machine until Ctrl-C, to try out a cluster.

  python -m cluster local --nodes 3 --cpus 1

It prints the command that starts a search on the cluster. Each node has its own processes, as on a
separate machine. All of them listen only on the loopback address.
"""


def main() -> int:
    parser = make_parser("python -m cluster", _DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True)
    local = commands.add_parser("local", help="run several nodes on this machine")
    local.add_argument(
        "--nodes", type=int, default=3, metavar="N", help="nodes, including the head (default: 3)"
    )
    local.add_argument(
        "--cpus", type=int, default=1, metavar="N", help="CPUs of each node (default: 1)"
    )
    local.add_argument(
        "--detection",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="give up a dead node after this many seconds, and one that is alive but does not "
        "answer after up to twice as many (default: 10)",
    )
    arguments = parser.parse_args()
    for name in ("nodes", "cpus"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name} {getattr(arguments, name)}: give at least 1")
    if arguments.detection < 5:
        raise InputError(f"--detection {arguments.detection:g}: give at least 5 seconds")
    run_local_cluster(arguments.nodes, arguments.cpus, arguments.detection)
    return 0


def run_local_cluster(nodes: int, cpus: int, detection: float) -> None:
    """Run a cluster on this machine until SIGINT or SIGTERM.

    Args:
        nodes: how many, the head included.
        detection: seconds after which a dead node is given up.
    """
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    detect_dead_nodes_within(detection)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # A submitted job then runs this `python`.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Imported here because Ray takes seconds to import.
    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
    from ray._private.utils import get_ray_address_file, write_ray_address
    from ray.cluster_utils import Cluster

    from .local import guard_token, temporary_folder

    # Ray notes the address there, for --address auto, but does not create the folder.
    Path(get_ray_address_file(None)).parent.mkdir(parents=True, exist_ok=True)
    mask = os.umask(0o077)
    ensure_token_if_auth_enabled()
    os.umask(mask)
    guard_token()
    folder = temporary_folder()
    cluster = Cluster()
    try:
        for index in range(nodes):
            about: dict[str, Any] = {}
            if index == 0:
                # Without a given port, Ray looks for a free one.
                about = {"include_dashboard": True, "dashboard_port": None}
            # A folder per node, as on separate machines: in a shared one, nodes would remove each
            # other's packages. Any free port per agent, as another cluster may use Ray's default.
            cluster.add_node(
                num_cpus=cpus,
                temp_dir=str(folder / str(index)),
                dashboard_agent_listen_port=0,
                **about,
            )
            # Jobs on the node look here. Otherwise a job would join any cluster that runs on this
            # machine.
            write_ray_address(cluster.address, str(folder / str(index)))
        print(f"Nodes: {nodes}, CPUs of each: {cpus}. Ctrl-C ends them. In another terminal:")
        print(f"  {command_of('search.run')} --address {cluster.address}")
        print(f"Dashboard http://{cluster.webui_url}, with the token of: ray get-auth-token")
        sys.stdout.flush()
        over.wait()
    finally:
        # This also removes Ray's own note of the cluster that was started last.
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run_command(main)
