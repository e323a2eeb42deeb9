"""The ready configurations under cluster/: what reads each takes it, and strangers are kept out.

Ray's own validation reads ssh.yaml and aws.yaml. No package that we install has a schema for
Kubernetes manifests, so the models below hold the fields that ours use, with the types of the API
references of KubeRay v1.7 and Kubernetes: they find a field that is misspelt or misplaced, not a
value that a cluster would refuse.
"""

import argparse
import functools
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import (
    _default_utilization_scorer,
    get_nodes_for,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.dashboard.modules.job.cli import job_cli_group
from ray.scripts.scripts import cli as ray_cli

from cluster import detect_dead_nodes_within
from minbert.config import InputSettings
from minbert.settings import add_options, given, make_parser
from search.settings import StudySettings
from testkit.waiting import PATIENCE, wait_for

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
DOCS = ROOT / "docs" / "cluster"
LAUNCHED = ("ssh.yaml", "aws.yaml")
MANIFESTS = ("base.yaml", "raycluster.yaml", "rayjob.yaml")
SCRIPT = CLUSTER / "slurm" / "search.sbatch"
ALL = (
    *(CLUSTER / name for name in (*LAUNCHED, "Dockerfile")),
    *(CLUSTER / "kuberay" / name for name in MANIFESTS),
    SCRIPT,
)


# A node that is gone is given up after about 10 s, as by `python -m cluster local`.
CHECKS_OF_NODES = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}


def launcher(name: str) -> dict[str, Any]:
    """A configuration of Ray's cluster launcher, as ``ray up`` reads it."""
    prepared: dict[str, Any] = prepare_config(yaml.safe_load((CLUSTER / name).read_text()))
    return prepared


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTER / "kuberay" / name).read_text()))


def options_of(command: Any) -> set[str]:
    """Options that a command of Ray's takes."""
    return {option for parameter in command.params for option in parameter.opts}


def ray_start(commands: list[str]) -> tuple[list[str], dict[str, str]]:
    """Environment and options of the ``ray start`` that ends a list of shell commands."""
    statement = commands[-1].split(";")[-1]
    words = shlex.split(statement)
    at = words.index("ray")
    assert words[at : at + 2] == ["ray", "start"]
    options = dict(word.partition("=")[::2] for word in words[at + 2 :])
    assert set(options) <= options_of(ray_cli.commands["start"])
    return words[:at], options


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_nothing_is_open_to_the_world(path: Path) -> None:
    text = path.read_text()
    for sign in (
        "0.0.0.0",
        "::/0",
        "NodePort",
        "LoadBalancer",
        "enableIngress",
        "kind: Ingress",
        "hostNetwork",
        "hostPort",
    ):
        assert sign not in text


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_holds_no_secret(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|PRIVATE KEY|\b[0-9a-f]{64}\b", text)
    # A token is in a file or a Secret, never on a command line.
    assert "RAY_AUTH_TOKEN=" not in text
    assert not re.search(r"(?i)password\s*[:=]", text)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_has_a_page(path: Path) -> None:
    linked = path.relative_to(ROOT).as_posix()
    assert any(linked in page.read_text() for page in DOCS.glob("*.md"))
    assert re.search(r"docs/cluster/\w+\.md", path.read_text())


def test_dead_nodes_are_given_up_as_soon_as_on_a_local_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in CHECKS_OF_NODES:
        monkeypatch.setenv(variable, "")
    detect_dead_nodes_within(10.0)
    assert {variable: os.environ[variable] for variable in CHECKS_OF_NODES} == CHECKS_OF_NODES
    page = (DOCS / "README.md").read_text()
    assert all(f"{variable}={value}" in page for variable, value in CHECKS_OF_NODES.items())


# ── ssh.yaml, aws.yaml ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_launcher_takes_it(name: str) -> None:
    validate_config(launcher(name))


def test_the_launcher_would_refuse_a_misspelt_field() -> None:
    config = launcher("ssh.yaml") | {"worker_start_commands": []}
    with pytest.raises(Exception, match="worker_start_commands"):
        validate_config(config)


@pytest.mark.parametrize("name", LAUNCHED)
def test_each_node_starts_ray_with_the_token(name: str) -> None:
    config = launcher(name)
    head_environment, head = ray_start(config["head_start_ray_commands"])
    environment, worker = ray_start(config["worker_start_ray_commands"])
    assert environment == ["RAY_AUTH_MODE=token"]
    checks = (f"{variable}={value}" for variable, value in CHECKS_OF_NODES.items())
    assert sorted(head_environment) == sorted(["RAY_AUTH_MODE=token", *checks])
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert worker == {"--address": "$RAY_HEAD_IP:6379"}
    without_trials = {"--num-cpus": "0", "--num-gpus": "0"} if name == "ssh.yaml" else {}
    assert head == {
        "--head": "",
        "--port": "6379",
        "--dashboard-host": "127.0.0.1",
        "--disable-usage-stats": "",
        "--autoscaling-config": "~/ray_bootstrap_config.yaml",
        **without_trials,
    }


@pytest.mark.parametrize("name", LAUNCHED)
def test_each_node_can_keep_its_study_in_postgresql(name: str) -> None:
    assert "'.[minilm,postgresql]'" in launcher(name)["setup_commands"][-1]


def test_ssh_holds_all_machines_from_the_start() -> None:
    config = launcher("ssh.yaml")
    (workers,) = config["available_node_types"].values()
    assert (workers["min_workers"], workers["max_workers"]) == (2, 2)


def test_aws_pays_for_spot_workers_from_none_to_four_and_a_head_without_trials() -> None:
    config = launcher("aws.yaml")
    head, gpu = (config["available_node_types"][name] for name in ("head", "gpu"))
    assert config["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (head["max_workers"], gpu["min_workers"], gpu["max_workers"]) == (0, 0, 4)
    assert config["max_workers"] == 4
    assert config["idle_timeout_minutes"] == 10
    assert config["provider"]["cache_stopped_nodes"] is False


def workers_for(config: dict[str, Any], trials: int) -> dict[str, int]:
    """Workers that Ray's autoscaler adds to a lone head where so many trials wait."""
    scorer = functools.partial(
        _default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({})
    )
    head = config["head_node_type"]
    types, most = config["available_node_types"], config["max_workers"]
    waiting = [{"CPU": 1, "GPU": 0.25}] * trials
    added, _ = get_nodes_for(types, {head: 1}, head, most, waiting, scorer)
    return dict(added)


def test_aws_starts_the_workers_that_waiting_trials_need() -> None:
    config = launcher("aws.yaml")
    gpu = config["available_node_types"]["gpu"]
    assert gpu["resources"] == {}
    # What `ray up` learns from AWS of the instance type.
    assert gpu["node_config"]["InstanceType"] == "g4dn.xlarge"
    gpu["resources"] = {"CPU": 4, "GPU": 1}
    assert [workers_for(config, trials) for trials in (0, 1, 4, 12, 13, 64)] == [
        {},
        {"gpu": 1},
        {"gpu": 1},
        {"gpu": 3},
        {"gpu": 4},
        {"gpu": 4},
    ]


def test_aws_leaves_no_security_group_to_ray() -> None:
    """Ray's own has port 22 open to the world, beside whatever the provider's section says."""
    config = launcher("aws.yaml")
    assert "security_group" not in config["provider"]
    for node_type in config["available_node_types"].values():
        assert node_type["node_config"]["SecurityGroupIds"] == ["SECURITY-GROUP-ID"]
        assert node_type["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
    page = (DOCS / "aws.md").read_text()
    assert "--port 22 --cidr YOUR-CIDR" in page
    assert page.count("--cidr") == 1


# ── kuberay/ ───────────────────────────────────────────────────────────────────────────────────


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Quantity = Annotated[str, Field(pattern=r"^\d+(m|Ki|Mi|Gi)?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Metadata(Part):
    name: Name | None = None
    labels: dict[str, str] = {}


class Resources(Part):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}


class Variable(Part):
    name: str
    value: str


class Capabilities(Part):
    drop: list[str]


class ContainerRights(Part):
    allowPrivilegeEscalation: Literal[False]  # noqa: N815
    capabilities: Capabilities


class Mount(Part):
    name: Name
    mountPath: str  # noqa: N815


class Container(Part):
    name: Name
    image: str
    env: list[Variable]
    securityContext: ContainerRights  # noqa: N815
    resources: Resources
    volumeMounts: list[Mount]  # noqa: N815


class SeccompProfile(Part):
    type: Literal["RuntimeDefault"]


class PodRights(Part):
    runAsNonRoot: Literal[True]  # noqa: N815
    runAsUser: int  # noqa: N815
    fsGroup: int  # noqa: N815
    seccompProfile: SeccompProfile  # noqa: N815


class Claim(Part):
    claimName: Name  # noqa: N815


class Volume(Part):
    name: Name
    persistentVolumeClaim: Claim  # noqa: N815


class Toleration(Part):
    key: str
    operator: Literal["Exists", "Equal"]
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Pod(Part):
    restartPolicy: Literal["Always", "OnFailure", "Never"]  # noqa: N815
    automountServiceAccountToken: bool = True  # noqa: N815
    securityContext: PodRights  # noqa: N815
    containers: list[Container]
    tolerations: list[Toleration] = []
    volumes: list[Volume]


class PodTemplate(Part):
    metadata: Metadata
    spec: Pod


class Group(Part):
    rayStartParams: dict[str, str]  # noqa: N815
    template: PodTemplate


class HeadGroup(Group):
    serviceType: Literal["ClusterIP"]  # noqa: N815


class WorkerGroup(Group):
    groupName: Name  # noqa: N815
    replicas: int
    minReplicas: int  # noqa: N815
    maxReplicas: int  # noqa: N815


class AuthOptions(Part):
    mode: Literal["token"]


class AutoscalerOptions(Part):
    idleTimeoutSeconds: int  # noqa: N815


class RayClusterSpec(Part):
    rayVersion: str  # noqa: N815
    authOptions: AuthOptions  # noqa: N815
    enableInTreeAutoscaling: Literal[True]  # noqa: N815
    autoscalerOptions: AutoscalerOptions  # noqa: N815
    headGroupSpec: HeadGroup  # noqa: N815
    workerGroupSpecs: list[WorkerGroup]  # noqa: N815

    @property
    def groups(self) -> list[Group]:
        return [self.headGroupSpec, *self.workerGroupSpecs]


class RayJobSpec(Part):
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]  # noqa: N815
    entrypoint: str
    backoffLimit: int  # noqa: N815
    shutdownAfterJobFinishes: bool  # noqa: N815
    ttlSecondsAfterFinished: int  # noqa: N815
    rayClusterSpec: RayClusterSpec  # noqa: N815


class ClaimSpec(Part):
    accessModes: list[Literal["ReadWriteOnce", "ReadWriteMany"]]  # noqa: N815
    storageClassName: str  # noqa: N815
    resources: Resources


class Selector(Part):
    matchLabels: dict[str, str] = {}  # noqa: N815


class Peer(Part):
    namespaceSelector: Selector | None = None  # noqa: N815
    podSelector: Selector  # noqa: N815


class Port(Part):
    protocol: Literal["TCP", "UDP"]
    port: int


class IngressRule(Part):
    model_config = ConfigDict(validate_by_alias=True)
    from_: list[Peer] = Field(alias="from", min_length=1)
    ports: list[Port] = []


class NetworkPolicySpec(Part):
    podSelector: Selector  # noqa: N815
    policyTypes: list[Literal["Ingress", "Egress"]]  # noqa: N815
    ingress: list[IngressRule]


class Manifest(Part):
    apiVersion: str  # noqa: N815
    kind: str
    metadata: Metadata


class RayCluster(Manifest):
    spec: RayClusterSpec


class RayJob(Manifest):
    spec: RayJobSpec


class PersistentVolumeClaim(Manifest):
    spec: ClaimSpec


class NetworkPolicy(Manifest):
    spec: NetworkPolicySpec


KINDS: dict[tuple[str, str], type[Manifest]] = {
    ("ray.io/v1", "RayCluster"): RayCluster,
    ("ray.io/v1", "RayJob"): RayJob,
    ("v1", "PersistentVolumeClaim"): PersistentVolumeClaim,
    ("networking.k8s.io/v1", "NetworkPolicy"): NetworkPolicy,
}


def parsed(name: str) -> list[Any]:
    """The manifests of a file, checked."""
    return [
        KINDS[manifest["apiVersion"], manifest["kind"]].model_validate(manifest)
        for manifest in manifests(name)
    ]


def ray_clusters() -> list[RayClusterSpec]:
    (cluster,), (job,) = parsed("raycluster.yaml"), parsed("rayjob.yaml")
    return [cluster.spec, job.spec.rayClusterSpec]


def test_manifests_have_the_fields_of_their_kinds() -> None:
    kinds = [[manifest.kind for manifest in parsed(name)] for name in MANIFESTS]
    assert kinds == [["PersistentVolumeClaim", "NetworkPolicy"], ["RayCluster"], ["RayJob"]]


def test_a_search_of_its_own_has_the_same_cluster_as_the_one_that_stays() -> None:
    stays, own = ray_clusters()
    assert own == stays


def test_pods_come_as_waiting_trials_need_them() -> None:
    (cluster,) = manifests("raycluster.yaml")
    cluster["metadata"]["namespace"] = "default"
    config = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    assert config["idle_timeout_minutes"] == 10
    assert [workers_for(config, trials) for trials in (0, 1, 5, 64)] == [
        {},
        {"gpu": 1},
        {"gpu": 2},
        {"gpu": 4},
    ]


def test_the_head_gives_up_pods_that_are_gone() -> None:
    for spec in ray_clusters():
        (head,) = spec.headGroupSpec.template.spec.containers
        assert CHECKS_OF_NODES.items() <= {each.name: each.value for each in head.env}.items()


def test_pods_scale_from_none_and_the_head_takes_no_trials() -> None:
    for spec in ray_clusters():
        assert spec.headGroupSpec.rayStartParams == {"num-cpus": "0", "num-gpus": "0"}
        (gpu,) = spec.workerGroupSpecs
        assert (gpu.replicas, gpu.minReplicas, gpu.maxReplicas) == (0, 0, 4)
        (worker,) = gpu.template.spec.containers
        assert worker.resources.limits["nvidia.com/gpu"] == "1"
        (head,) = spec.headGroupSpec.template.spec.containers
        assert "nvidia.com/gpu" not in head.resources.limits


def test_pods_share_the_volume_and_the_image_of_the_dockerfile() -> None:
    claim, _ = parsed("base.yaml")
    assert claim.spec.accessModes == ["ReadWriteMany"]
    for spec in ray_clusters():
        # Ray refuses to join nodes of two versions.
        assert f"ray=={spec.rayVersion}\n" in (ROOT / "constraints.txt").read_text()
        for group in spec.groups:
            pod = group.template.spec
            (volume,) = pod.volumes
            assert volume.persistentVolumeClaim.claimName == claim.metadata.name
            (container,) = pod.containers
            assert [mount.mountPath for mount in container.volumeMounts] == ["/results"]
            assert pod.securityContext.runAsUser == 1000


def test_only_the_cluster_and_the_operator_reach_a_pod() -> None:
    _, policy = parsed("base.yaml")
    ours = {"app": "minbert"}
    assert policy.spec.podSelector.matchLabels == ours
    assert policy.spec.policyTypes == ["Ingress"]
    pods, operator = policy.spec.ingress
    assert [peer.podSelector.matchLabels for peer in pods.from_] == [ours]
    (peer,) = operator.from_
    assert peer.podSelector.matchLabels == {"app.kubernetes.io/name": "kuberay-operator"}
    assert [port.port for port in operator.ports] == [8265]
    for spec in ray_clusters():
        for group in spec.groups:
            assert group.template.metadata.labels == ours


@pytest.mark.parametrize("there", [False, True], ids=["first", "again"])
def test_the_entrypoint_goes_on_with_a_run_that_is_there(there: bool, tmp_path: Path) -> None:
    (job,) = parsed("rayjob.yaml")
    assert job.spec.submissionMode == "HTTPMode"
    if there:
        (tmp_path / "weights-1").mkdir()
        (tmp_path / "weights-1" / "run.json").write_text("{}")
    # As Ray runs it: by a shell.
    command = job.spec.entrypoint.replace("/results", str(tmp_path)).replace("exec python", "echo")
    said = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert said.split()[:2] == ["-m", "search.run"]
    settings = settings_of(said.split()[2:])
    assert settings.resume is there
    assert (settings.address, settings.name) == ("auto", "weights-1")
    # No worker is there yet to tell whether there are GPUs.
    assert settings.gpus_per_trial == 0.25


# ── slurm/search.sbatch ────────────────────────────────────────────────────────────────────────

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
def test_the_script_goes_on_with_a_run_that_is_there(site: FakeSite, there: bool) -> None:
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


# ── Dockerfile ─────────────────────────────────────────────────────────────────────────────────

# Of Docker's Dockerfile reference; MAINTAINER, which is deprecated, left out.
INSTRUCTIONS = """
    ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL
    USER VOLUME WORKDIR
"""


def instructions() -> list[tuple[str, str]]:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def test_docker_knows_the_instructions() -> None:
    words = [word for word, _ in instructions()]
    assert set(words) <= set(INSTRUCTIONS.split())
    assert not {"ADD", "ENV", "EXPOSE"} & set(words)


def test_the_image_is_an_official_one_and_runs_without_rights() -> None:
    found = instructions()
    assert found[0] == ("FROM", "python:3.11-slim-bookworm")
    assert [rest for word, rest in found if word == "FROM"] == ["python:3.11-slim-bookworm"]
    assert [rest for word, rest in found if word == "USER"] == ["1000"]
    # Nothing is run with rights after it.
    assert [word for word, _ in found].index("USER") > max(
        at for at, (word, _) in enumerate(found) if word == "RUN"
    )
    assert "://" not in (CLUSTER / "Dockerfile").read_text()
    assert [rest for word, rest in found if word == "ARG"] == ['TORCH_INDEX=""']


def test_the_image_holds_the_program_alone_at_the_versions_of_the_constraints() -> None:
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    assert copied == [
        ["pyproject.toml", "constraints.txt", "README.md", "LICENSE"],
        ["minbert"],
        ["spaces"],
        ["cluster"],
        ["search"],
    ]
    assert all((ROOT / source).exists() for sources in copied for source in sources)
    installs = [
        part
        for word, rest in instructions()
        if word == "RUN"
        for part in rest.split("&&")
        if "pip install" in part
    ]
    assert len(installs) == 2
    assert "'.[minilm,postgresql]'" in installs[-1]
    assert all("-c constraints.txt" in install for install in installs)


# ── docs/cluster/ ──────────────────────────────────────────────────────────────────────────────


def settings_of(arguments: list[str]) -> StudySettings:
    """Settings of a ``python -m search.run`` with these arguments; fails where it would."""
    parser = make_parser("python -m search.run", "")
    parser.exit_on_error = False
    add_options(parser, StudySettings, InputSettings)
    taken: argparse.Namespace = parser.parse_args(arguments)
    InputSettings.check(given(taken, InputSettings))
    return StudySettings.check(given(taken, StudySettings))


def commands(page: Path) -> list[list[str]]:
    """The commands in the indented blocks of a page."""
    block = "\n".join(
        line.strip()
        for line in page.read_text().splitlines()
        if line.startswith("    ") and not line.lstrip().startswith("#")
    )
    return [
        shlex.split(line)
        for line in block.replace("\\\n", " ").splitlines()
        if line.count("'") % 2 == 0
    ]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_commands_on_the_pages_exist(page: Path) -> None:
    for words in commands(page):
        if words[0] == ".venv/bin/ray":
            name, arguments = words[1], words[2:]
            command = ray_cli.commands[name]
            if name == "job":
                name, arguments = words[2], words[3:]
                command = job_cli_group.commands[name]
            ours = arguments.index("--") if "--" in arguments else len(arguments)
            asked = {word for word in arguments[:ours] if word.startswith("--")}
            assert asked <= options_of(command), words
        if "search.run" in words:
            settings = settings_of(words[words.index("search.run") + 1 :])
            assert settings.address == "auto"
            if page.stem in ("aws", "kuberay"):
                # Where no worker is up yet, a search has to be told.
                assert settings.gpus_per_trial == 0.25


@pytest.mark.parametrize("name", ["ssh", "aws", "kuberay", "slurm"])
def test_each_page_says_the_same_things(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text()
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    run = ["Up, run"] if name == "slurm" else ["Up", "Run"]
    assert headings == ["Before", *run, "Watch", "Fetch", "Resuming", "Down", "What it costs"]


def test_links_on_the_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
