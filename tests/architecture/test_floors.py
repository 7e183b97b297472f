"""Data flows one way: down the floors. These tests read the imports of every module and hold them to the design.

floor 0  domain, errors, settings, options, database.schema
floor 1  the rest of nightreel/
floor 2  tasks/: the first that may import prefect
floor 3  flows/: tasks and floor 0
top      nightreel/cli
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOOR_0 = {"nightreel", "nightreel.domain", "nightreel.errors", "nightreel.settings", "nightreel.options",
           "nightreel.database.schema"}  # fmt: skip
FLOOR_0_LIBRARIES = {"numpy", "pydantic", "pydantic_settings", "sqlalchemy"}
# Who alone may import what, as prefixes of module names.
RESERVED = {
    "torch": ("nightreel.models", "nightreel.gpu", "nightreel.demo.training"),
    "transformers": ("nightreel.models", "nightreel.demo.training"),
    "decord": ("nightreel.media",),
    "av": ("nightreel.media",),
    "s3fs": ("nightreel.storage",),
    "prefect": ("tasks", "flows", "nightreel.orchestration", "nightreel.cli"),
}
LINES = {"nightreel": 300, "tasks": 100, "flows": 150}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    paths = (path for top in LINES for path in sorted((ROOT / top).rglob("*.py")))
    return {name_of(path): path for path in paths}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it the import stands."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in modules())


def floor(name: str) -> int:
    if name in FLOOR_0 or name.startswith("nightreel.domain."):
        return 0
    if name.startswith("nightreel.cli"):
        return 4
    return {"nightreel": 1, "tasks": 2, "flows": 3}[name.split(".")[0]]


def is_ours(name: str) -> bool:
    return name in modules()


@pytest.mark.parametrize("name", modules())
def test_nothing_imports_a_floor_above_its_own(name):
    # The command line starts the flow by its name, and is imported by nobody.
    above = [other for other in imports(modules()[name]) if is_ours(other) and floor(other) > floor(name)]
    assert not above


@pytest.mark.parametrize("name", sorted(FLOOR_0))
def test_floor_0_needs_few_libraries(name):
    import sys

    tops = {other.split(".")[0] for other in imports(modules()[name])}
    assert tops - set(sys.stdlib_module_names) - {"nightreel"} <= FLOOR_0_LIBRARIES
    assert all(floor(other) == 0 for other in imports(modules()[name]) if is_ours(other))


@pytest.mark.parametrize("library", RESERVED)
def test_heavy_libraries_are_imported_where_they_belong_alone(library):
    strangers = [
        name
        for name, path in modules().items()
        if any(other.split(".")[0] == library for other in imports(path)) and not name.startswith(RESERVED[library])
    ]
    assert not strangers


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("flows.")])
def test_flows_know_tasks_the_ground_floor_and_flows_that_they_run_alone(name):
    ours = {other for other in imports(modules()[name]) if is_ours(other)}
    allowed = ("tasks", "flows", "nightreel.orchestration", "nightreel.stages.summary")
    assert all(other.startswith(allowed) or floor(other) == 0 for other in ours)
    tops = {other.split(".")[0] for other in imports(modules()[name])}
    assert not tops & {"torch", "decord", "s3fs", "sqlalchemy"}


def test_the_environment_is_read_in_settings_alone():
    readers = [
        name
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {"environ", "getenv"} & {a.name for a in node.names}
        )
    ]
    assert set(readers) <= {"nightreel.settings"}


def test_the_library_has_no_circles():
    graph = {
        name: {other for other in imports(path) if is_ours(other) and other != name} for name, path in modules().items()
    }
    # A package's __init__ gathers its own modules; what they import from the package's outside counts.
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in graph[name]:
                if not name.startswith(f"{other}."):
                    visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_folders_that_must_not_be_packages_are_none():
    """docker/__init__.py would shadow a package that Prefect needs."""
    assert not [folder for folder in ("docker", "sql", "deployments") if (ROOT / folder / "__init__.py").exists()]


def test_file_sizes_are_reported(record_property):
    """No failure: a long file is a question, not a fault. See the report with `pytest -rP -k file_sizes`."""
    large = {
        name: lines
        for name, path in modules().items()
        if (lines := len(path.read_text().splitlines())) > LINES[name.split(".")[0]]
    }
    for name, lines in sorted(large.items(), key=lambda item: -item[1]):
        print(f"{lines:5} {name}")
    record_property("files past their size", large)
    assert all(lines < 2 * LINES[name.split(".")[0]] for name, lines in large.items()), "twice the size is a fault"
