"""A Ray cluster of several nodes, each of its own processes, to kill and to add to.

    python -m tests.faults.nodes SECONDS CPUS CPUS...

starts a head and workers with so many CPUs, which give up a dead node after so many seconds, and
obeys lines on stdin; each answer is one line of JSON. The class ``Nodes`` is the other end.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import cluster
from testkit.waiting import PATIENCE

ROOT = Path(cluster.__file__).parent.parent


class Nodes:
    """A running cluster.

    Attributes:
        address: to join it at.
        dashboard: address of its dashboard.
        environment: of commands that join it.
    """

    def __init__(self, cpus: tuple[int, ...], detection: float, folder: str):
        self.environment = {**os.environ, "RAY_TMPDIR": folder, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "tests.faults.nodes", str(detection), *map(str, cpus)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.folder = f"minbert-ray-{self._process.pid}-"

    def wait_for_start(self) -> None:
        about = self._answer()
        self.address: str = about["address"]
        self.dashboard: str = about["dashboard"]
        self._raylets: list[dict[str, Any]] = about["nodes"]

    def ids(self) -> list[str]:
        """Ray's numbers of the nodes, as records show them; the head's is the first."""
        return [node["id"][:6] for node in self._raylets]

    def workers(self, index: int) -> list[psutil.Process]:
        """Processes of trials on a node."""
        raylet = psutil.Process(self._raylets[index]["pid"])
        # The class that Ray makes of ours, to give it resources.
        return [each for each in raylet.children() if "ResourceTrainable" in each.cmdline()[0]]

    def kill(self, index: int) -> None:
        """Kill a node's raylet, as when its machine loses power: its workers end with it."""
        psutil.Process(self._raylets[index]["pid"]).kill()

    def add(self) -> int:
        """Let a node with one CPU join; returns its index."""
        self._raylets.append(self._ask("add"))
        return len(self._raylets) - 1

    def kill_head(self) -> None:
        """Kill all processes of the head."""
        self._ask("kill head")

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if self.folder in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def end(self) -> None:
        """End the cluster, by force if need be."""
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=PATIENCE)
        self._process.kill()
        self._process.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Ray prints, too.
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError("the cluster did not start")


@contextmanager
def ray_nodes(*cpus: int, detection: float = 5.0) -> Iterator[Nodes]:
    """A head and workers with so many CPUs each; nothing of them is left afterwards."""
    # A short path, as Ray's sockets need.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        nodes = Nodes(cpus, detection, folder)
        # Reading its predictions has no limit of its own.
        limit = threading.Timer(PATIENCE, nodes.end)
        try:
            limit.start()
            nodes.wait_for_start()
            limit.cancel()
            yield nodes
        finally:
            limit.cancel()
            nodes.end()


def main() -> None:
    cluster.detect_dead_nodes_within(float(sys.argv[1]))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
    from ray._private.utils import get_ray_address_file
    from ray.cluster_utils import Cluster

    from cluster.local import guard_token, temporary_folder

    Path(get_ray_address_file(None)).parent.mkdir(parents=True, exist_ok=True)
    mask = os.umask(0o077)
    ensure_token_if_auth_enabled()
    os.umask(mask)
    guard_token()
    folder = str(temporary_folder())
    ray = Cluster()

    def start(cpus: int, **more: Any) -> dict[str, Any]:
        own = f"{folder}/{len(ray.list_all_nodes())}"
        node = ray.add_node(num_cpus=cpus, temp_dir=own, dashboard_agent_listen_port=0, **more)
        return {"id": node.node_id, "pid": node.all_processes["raylet"][0].process.pid}

    try:
        head = start(int(sys.argv[2]), include_dashboard=True, dashboard_port=None)
        nodes = [head, *(start(int(cpus)) for cpus in sys.argv[3:])]
        dashboard = f"http://{ray.webui_url}"
        print(json.dumps({"address": ray.address, "dashboard": dashboard, "nodes": nodes}))
        sys.stdout.flush()
        for line in sys.stdin:
            if line == "add\n":
                print(json.dumps(start(1)), flush=True)
            elif line == "kill head\n":
                ray.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
                print("{}", flush=True)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
