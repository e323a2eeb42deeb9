"""A cluster that starts from no worker: the search waits, Ray's autoscaler brings machines."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from cluster import LOOPBACK
from tests.faults.searches import search
from tests.gate import Gate

COMMANDS = (
    *("initialization", "setup", "head_setup", "worker_setup"),
    *("head_start_ray", "worker_start_ray"),
)
BIN = Path(sys.executable).parent


@pytest.fixture
def scaled() -> Iterator[tuple[str, dict[str, str]]]:
    """A head without CPUs whose autoscaler can start two nodes of one CPU on this machine."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        environment = {
            **os.environ,
            "RAY_TMPDIR": folder,
            "RAY_AUTH_MODE": "token",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
        config = {
            # As `ray up` would fill them in.
            **{name: {} for name in ("auth", "docker", "file_mounts")},
            **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
            **{f"{name}_commands": [] for name in COMMANDS},
            "file_mounts_sync_continuously": False,
            "upscaling_speed": 1.0,
            "cluster_name": "scaled",
            "max_workers": 2,
            "idle_timeout_minutes": 1,
            "provider": {"type": "fake_multinode", "disable_node_updaters": True},
            "available_node_types": {
                # The name and the number that Ray's provider of such nodes expects.
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "worker": worker,
            },
            "head_node_type": "ray.head.default",
        }
        file = Path(folder) / "cluster.json"
        file.write_text(json.dumps(config))
        start = [str(BIN / "ray"), "start", "--head", "--num-cpus=0"]
        start += [f"--autoscaling-config={file}", "--include-dashboard=false"]
        try:
            subprocess.run([*start, "--disable-usage-stats"], env=environment, check=True)
            address = (Path(folder) / "ray" / "ray_current_cluster").read_text()
            assert address.rpartition(":")[0] in LOOPBACK
            yield address, environment
        finally:
            for process in psutil.process_iter():
                try:
                    if folder in " ".join(process.cmdline()):
                        process.kill()
                except psutil.Error:
                    continue


@pytest.mark.slow
def test_a_search_brings_up_the_machines_it_needs(
    scaled: tuple[str, dict[str, str]], course_folder: Path, tmp_path: Path
) -> None:
    address, environment = scaled
    options = ["--data", str(course_folder), "--trials", "6", "--encoder", "tiny", "--epochs", "2"]
    options += ["--scheduler", "none", "--pruner", "none", "--address", address]
    # There is nothing yet to see whether there will be GPUs.
    with search(tmp_path / "n", *options, environment=environment) as one:
        status, text = one.end()
    assert (status, text.count("\n")) == (2, 1), text
    assert text.startswith("error: the cluster has no machine for trials yet")
    gate = Gate(tmp_path / "gate")
    gate.hold(0)
    options += ["--gpus-per-trial", "0"]
    with search(tmp_path / "n", *options, environment=environment, gate=gate) as one:
        # While the first trials wait, further ones have use for another machine.
        one.wait_for_words(r"(?m)^machines came: 2 trials at once$")
        gate.open()
        status, text = one.end()
    assert status == 0, text
    assert "Hardware  0 CPUs, no GPU: 0 trials at once" in text
    assert "no machine has room for a trial: the search waits until one joins" in text
    assert "6 of 6 over" in text
