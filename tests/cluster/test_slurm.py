"""The job script for Slurm, run with stand-ins for the programs that it calls."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.scripts.scripts import cli as ray_cli

from testkit.waiting import PATIENCE, wait_for

from .configs import CHECKS_OF_NODES, SCRIPT, options_of, settings_of

# Of sbatch(1), Slurm 22.05, as Debian 12 has it.
SBATCH_OPTIONS = """
    account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment
    constraint container contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task
    deadline delay-boot dependency distribution error exclude exclusive export export-file
    extra-node-info get-user-env gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket
    gpus-per-task gres gres-flags help hint hold ignore-pbs input job-name kill-on-invalid-dep
    licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network
    nice no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu
    ntasks-per-node ntasks-per-socket open-mode output overcommit oversubscribe parsable partition
    power prefer priority profile propagate qos quiet reboot requeue reservation signal
    sockets-per-node spread-job switches test-only thread-spec threads-per-core time time-min tmp
    uid usage use-min-nodes verbose version wait wait-all-nodes wckey wrap
"""


def directives() -> dict[str, str]:
    """The #SBATCH options, up to the first command, after which Slurm reads no more."""
    head = re.split(r"^(?!#|\s*$)", SCRIPT.read_text(), maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", head, flags=re.MULTILINE)
    assert len(found) == len(re.findall(r"^#SBATCH\b", SCRIPT.read_text(), flags=re.MULTILINE))
    return dict(found)


def test_slurm_takes_the_directives() -> None:
    assert set(directives()) <= set(SBATCH_OPTIONS.split())
    assert directives() == {
        "job-name": "minbert",
        "nodes": "2",
        "ntasks-per-node": "1",
        "cpus-per-task": "8",
        "gpus-per-node": "1",
        "mem": "32G",
        "time": "04:00:00",
        "output": "%x-%j.log",
        "open-mode": "append",
        "requeue": "",
        "signal": "B:INT@300",
    }


def test_the_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs Debian's package shellcheck")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)


# Each ends with the test, whose fixture removes the notes.
_STUBS = {
    "ray": """
        case "$1" in
          get-auth-token) mkdir -p ~/.ray; cd ~/.ray; [ -e auth_token ] || echo token > auth_token;;
          start) trap 'echo ended >> "$CALLS"; exit' TERM; env | grep RAY_health_check >> "$CALLS"
            echo "$RAY_AUTH_MODE ray $*" >> "$CALLS"
            while [ -e "$CALLS" ]; do sleep 0.05; done;;
          status) grep -q -- --head "$CALLS";;
        esac""",
    # The options of srun end where the program begins.
    "srun": 'while [[ $1 == --* ]]; do shift; done; "$@" & trap "kill $!" TERM; wait; wait',
    "python": """
        case "$1" in
          -c) echo 10.0.0.1;;
          -) cat > "$CALLS.py"
            until [ "$(grep -c 'ray start' "$CALLS")" = 2 ]; do sleep 0.05; done;;
          -m) trap 'echo interrupted >> "$CALLS"; exit 130' INT; echo "$*" >> "$CALLS"
            while [ -n "${WAITS:-}" ] && [ -e "$CALLS" ]; do sleep 0.05; done;;
        esac""",
}


class FakeSite:
    """A site of one node: programs that only note how they are called."""

    def __init__(self, folder: Path):
        self.folder, self.calls = folder, folder / "calls"
        binaries = folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        for name, body in _STUBS.items():
            (binaries / name).write_text(f"#!/bin/bash\n{body}\n")
            (binaries / name).chmod(0o755)
        (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "CALLS": str(self.calls),
            "SLURM_SUBMIT_DIR": str(folder),
            "SLURM_JOB_ID": "4001",
            "SLURM_CPUS_PER_TASK": "8",
        }
        (folder / "home").mkdir()

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env=self.environment | environment,
            start_new_session=True,
        )

    def lines(self, *, until: str) -> list[str]:
        """What was noted, as soon as ``until`` is in it."""
        wait_for(lambda: self.calls.exists() and until in self.calls.read_text(), until)
        return self.calls.read_text().splitlines()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    site = FakeSite(tmp_path)
    yield site
    site.calls.unlink(missing_ok=True)


def test_the_script_starts_a_head_without_trials_and_workers_and_ends_them(site: FakeSite) -> None:
    assert site.start("--space", "lr").wait(PATIENCE) == 0
    lines = site.calls.read_text().splitlines()
    starts = {line for line in lines if line.startswith("token ray start")}
    (head,) = (line.split()[3:] for line in starts if "--head" in line)
    (worker,) = (line.split()[3:] for line in starts if "--head" not in line)
    names = options_of(ray_cli.commands["start"])
    assert {word.partition("=")[0] for word in (*head, *worker)} <= names
    assert {"--num-cpus=0", "--num-gpus=0", "--dashboard-host=127.0.0.1"} <= set(head)
    # 20000 and three ports for each of 4,000 jobs.
    assert {"--port=20003", "--dashboard-port=20004", "--ray-client-server-port=20005"} <= set(head)
    assert {"--address=10.0.0.1:20003", "--num-cpus=8"} <= set(worker)
    assert {f"{name}={value}" for name, value in CHECKS_OF_NODES.items()} <= set(lines)
    assert lines.count("ended") == 2


def test_the_script_keeps_the_token_to_its_owner(site: FakeSite) -> None:
    assert site.start().wait(PATIENCE) == 0
    site.calls.unlink()
    token = site.folder / "home" / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    token.chmod(0o644)
    assert site.start().wait(PATIENCE) == 0
    assert token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("there", [False, True], ids=["first", "requeued"])
def test_the_script_resumes_a_run_that_is_there(site: FakeSite, there: bool) -> None:
    if there:
        (site.folder / "runs" / "search-4001").mkdir(parents=True)
        (site.folder / "runs" / "search-4001" / "run.json").write_text("{}")
    assert site.start("--space", "lr", "--trials", "64").wait(PATIENCE) == 0
    (called,) = (line for line in site.calls.read_text().splitlines() if "search.run" in line)
    settings = settings_of(called.split()[2:])
    assert settings.resume is there
    assert (settings.address, settings.out, settings.name) == ("auto", "runs", "search-4001")
    assert settings.storage == "runs/search-4001.journal"
    assert (settings.space, settings.trials) == ("lr", 64)


def test_the_search_hears_the_signal_that_slurm_sends_the_script(site: FakeSite) -> None:
    job = site.start(WAITS="1")
    site.lines(until="search.run")
    os.kill(job.pid, signal.SIGINT)
    assert job.wait(PATIENCE) == 130
    lines = site.calls.read_text().splitlines()
    assert lines.count("interrupted") == 1
    assert lines.count("ended") == 2


def test_the_python_in_the_script_compiles(site: FakeSite) -> None:
    assert site.start().wait(PATIENCE) == 0
    compile((site.folder / "calls.py").read_text(), "calls.py", "exec")
