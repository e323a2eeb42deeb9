"""The design's rules on imports, read from the source: everywhere in a file, in whatever branch."""

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _modules(package: str, root: Path) -> dict[str, Path]:
    """The files of a package by the names that imports give them."""
    modules = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _imports(path: Path, module: str) -> Iterator[str]:
    """What a module imports, under ``TYPE_CHECKING`` and inside functions too.

    ``from a import b`` gives ``a.b``, where ``b`` may be a module or a name in ``a``.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*(above if node.level else []), *([node.module] if node.module else [])]
            yield from (".".join([*parts, alias.name]) for alias in node.names)


def _graph(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """The modules of a package that each of them imports."""
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        graph[module] = set()
        for name in _imports(path, module):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules:
                graph[module].add(target)
    return graph


def _cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty without any."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


@pytest.mark.parametrize(
    "package", ["minbert", "search", "cluster", "spaces", "bench", "testkit", "tests"]
)
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    modules = _modules(package, ROOT)
    assert len(modules) > 1
    assert _cycle(_graph(modules)) == []


def test_the_trainer_imports_no_other_package_of_ours_nor_ray_or_optuna() -> None:
    forbidden = {"search", "spaces", "cluster", "bench", "testkit", "tests", "ray", "optuna"}
    found = {
        f"{module} imports {name}"
        for module, path in _modules("minbert", ROOT).items()
        for name in _imports(path, module)
        if name.split(".")[0] in forbidden
    }
    assert found == set()


def test_one_folder_of_the_search_imports_ray() -> None:
    found = {
        module
        for module, path in _modules("search", ROOT).items()
        for name in _imports(path, module)
        if name.split(".")[0] == "ray"
    }
    assert found
    assert all(module.startswith("search.workers.") for module in found)


@pytest.mark.parametrize(
    "source",
    [
        "from .b import x",
        "from . import b",
        "import package.b",
        "from package import b",
        "def f():\n    from .b import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import X",
        "from .within import c",
    ],
)
def test_a_cycle_is_found_however_it_is_closed(tmp_path: Path, source: str) -> None:
    (tmp_path / "package" / "within").mkdir(parents=True)
    (tmp_path / "package" / "a.py").write_text(source)
    (tmp_path / "package" / "b.py").write_text("from .within.c import y")
    (tmp_path / "package" / "within" / "c.py").write_text("from ..a import z")
    graph = _graph(_modules("package", tmp_path))
    assert "package.a" in _cycle(graph)
    (tmp_path / "package" / "a.py").write_text("import b, json")
    assert _cycle(_graph(_modules("package", tmp_path))) == []
