"""The ready configurations under cluster/, read by several test files."""

import argparse
import functools
from pathlib import Path
from typing import Any

from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import (
    _default_utilization_scorer,
    get_nodes_for,
)

from minbert.config import InputSettings
from minbert.settings import add_options, given, make_parser
from search.settings import StudySettings

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
DOCS = ROOT / "docs" / "cluster"
LAUNCHED = ("ssh.yaml", "aws.yaml")
MANIFESTS = ("base.yaml", "raycluster.yaml", "rayjob.yaml")
SCRIPT = CLUSTER / "slurm" / "search.sbatch"

# A node that is gone is given up after about 10 s, as by `python -m cluster local`.
CHECKS_OF_NODES = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}


def options_of(command: Any) -> set[str]:
    """Options that a command of Ray's takes."""
    return {option for parameter in command.params for option in parameter.opts}


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


def settings_of(arguments: list[str]) -> StudySettings:
    """Settings of a ``python -m search.run`` with these arguments; fails where it would."""
    parser = make_parser("python -m search.run", "")
    parser.exit_on_error = False
    add_options(parser, StudySettings, InputSettings)
    taken: argparse.Namespace = parser.parse_args(arguments)
    InputSettings.check(given(taken, InputSettings))
    return StudySettings.check(given(taken, StudySettings))
