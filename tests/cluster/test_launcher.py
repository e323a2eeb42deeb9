"""ssh.yaml and aws.yaml, read by Ray's own validation."""

import shlex
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from .configs import CHECKS_OF_NODES, CLUSTER, DOCS, LAUNCHED, options_of, workers_for


def launcher(name: str) -> dict[str, Any]:
    """A configuration of Ray's cluster launcher, as ``ray up`` reads it."""
    prepared: dict[str, Any] = prepare_config(yaml.safe_load((CLUSTER / name).read_text()))
    return prepared


def ray_start(commands: list[str]) -> tuple[list[str], dict[str, str]]:
    """Environment and options of the ``ray start`` that ends a list of shell commands."""
    statement = commands[-1].split(";")[-1]
    words = shlex.split(statement)
    at = words.index("ray")
    assert words[at : at + 2] == ["ray", "start"]
    options = dict(word.partition("=")[::2] for word in words[at + 2 :])
    assert set(options) <= options_of(ray_cli.commands["start"])
    return words[:at], options


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
