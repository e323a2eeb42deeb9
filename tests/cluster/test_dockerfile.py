"""The image for Kubernetes."""

from .configs import CLUSTER, ROOT

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
