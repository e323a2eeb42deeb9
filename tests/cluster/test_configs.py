"""The ready configurations under cluster/ and their pages: closed to strangers, links that lead."""

import os
import re
import shlex
from pathlib import Path

import pytest
from ray.dashboard.modules.job.cli import job_cli_group
from ray.scripts.scripts import cli as ray_cli

from cluster import detect_dead_nodes_within

from .configs import (
    CHECKS_OF_NODES,
    CLUSTER,
    DOCS,
    LAUNCHED,
    MANIFESTS,
    ROOT,
    SCRIPT,
    options_of,
    settings_of,
)

ALL = (
    *(CLUSTER / name for name in (*LAUNCHED, "Dockerfile")),
    *(CLUSTER / "kuberay" / name for name in MANIFESTS),
    SCRIPT,
)


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


# ── docs/cluster/ ──────────────────────────────────────────────────────────────────────────────


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
