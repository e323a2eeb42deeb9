"""The Kubernetes manifests under cluster/kuberay/.

No package that we install has a schema for them, so the models below hold the fields that ours use,
with the types of the API references of KubeRay v1.7 and Kubernetes: they find a field that is
misspelt or misplaced, not a value that a cluster would refuse.
"""

import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field
from ray.autoscaler._private.kuberay import autoscaling_config

from .configs import CHECKS_OF_NODES, CLUSTER, MANIFESTS, ROOT, settings_of, workers_for


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTER / "kuberay" / name).read_text()))


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
def test_the_entrypoint_resumes_a_run_that_is_there(there: bool, tmp_path: Path) -> None:
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
