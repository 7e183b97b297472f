"""The layers of the code, listed in pyproject.toml (`tool.importlinter`), and libraries with few importers."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("nightreel", "tasks", "flows")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = [layer.split(" : ") for layer in CONTRACTS[0]["layers"]]
# The only packages that may import a library, as prefixes of module names.
RESERVED = {
    "torch": ("nightreel.models.", "nightreel.gpu", "nightreel.demo.training"),
    "transformers": ("nightreel.models.inprocess.", "nightreel.models.embedding.dual", "nightreel.demo.training"),
    "llguidance": ("nightreel.models.inprocess.",),
    "msgpack": ("nightreel.models.engine.",),
    "decord": ("nightreel.media",),
    "av": ("nightreel.media",),
    "s3fs": ("nightreel.storage",),
    "prefect": ("tasks", "flows", "nightreel.orchestration"),
}
LINES = {"nightreel": 300, "tasks": 100, "flows": 150}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    run = "from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", run, str(ROOT / "pyproject.toml"), "--no-cache"]
    environment = {"PYTHONPATH": str(root), "PATH": "", "TERM": "dumb", "COLUMNS": "200"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {name_of(path): path for top in PACKAGES for path in sorted((ROOT / top).rglob("*.py"))}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any place in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which layer they reach"
            yield str(node.module)


def test_no_module_imports_a_higher_layer_and_no_packages_form_a_circle():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_every_package_and_root_module_is_on_one_layer():
    listed = [name for layer in LAYERS for name in layer]
    children = {".".join(name.split(".")[:2]) for name in modules() if name.startswith("nightreel.")}
    assert sorted(listed) == sorted(children | {"flows", "tasks"})


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("nightreel.metrics.devices", "nightreel.cache.check"),
        ("nightreel.media.contact_sheet", "nightreel.stages.sweep"),
        ("nightreel.storage.spool", "nightreel.demo.grading"),
        ("nightreel.models.loading", "nightreel.demo"),
        ("nightreel.stages.write", "nightreel.orchestration.runs"),
        ("nightreel.services.state", "nightreel.metrics"),
    ],
)
def test_an_import_across_the_layers_is_found(tmp_path, importer, imported):
    for top in PACKAGES:
        shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    path = tmp_path / modules()[importer].relative_to(ROOT)
    path.write_text(f"{path.read_text()}\nimport {imported}\n")
    if imported == "nightreel.metrics":  # a circle between two packages of one layer
        other = tmp_path / "nightreel" / "metrics" / "labels.py"
        other.write_text(f"{other.read_text()}\nimport {importer}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert imported.split(".")[1] in done.stdout


def test_contributing_shows_the_layers_of_the_contract():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.search(r"```\n(nightreel\.cli.*?)```", page, re.DOTALL)
    assert shown, "CONTRIBUTING.md shows the layers"
    rows = [line.split("  ")[0].split(", ") for line in shown[1].splitlines() if not line.startswith(" ")]
    assert rows == LAYERS


@pytest.mark.parametrize("library", RESERVED)
def test_only_the_listed_packages_import_heavy_libraries(library):
    strangers = [
        name
        for name, path in modules().items()
        if any(other.split(".")[0] == library for other in imports(path)) and not name.startswith(RESERVED[library])
    ]
    assert not strangers


@pytest.mark.parametrize("library", ["torch", "decord", "s3fs", "sqlalchemy"])
def test_flows_and_tasks_import_no_library_that_works_on_videos_or_rows(library):
    users = [
        name
        for name, path in modules().items()
        if name.startswith(("flows", "tasks")) and any(other.split(".")[0] == library for other in imports(path))
    ]
    assert not users


def test_only_settings_reads_the_environment():
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


LOADED = """
import sys
import {module}
ours = [name for name in sys.modules if name.startswith("nightreel")]
print(len(ours), *sorted({{name.split(".")[0] for name in sys.modules}}))
"""


@pytest.mark.parametrize(
    ("module", "most", "absent"),
    [
        # `nightreel answers` prints rows: it needs neither features nor pictures nor metrics, nor migrations in a
        # database of this version. 17 modules are tables, and eight are cases, which an upgrade of the embedded
        # database makes.
        (
            "nightreel.cli.reports",
            108,
            {"torch", "transformers", "prefect", "pyarrow", "PIL", "prometheus_client", "av", "alembic"},
        ),
        ("nightreel.cli.app", 34, {"torch", "transformers", "prefect", "pyarrow", "PIL", "sqlalchemy"}),
        ("nightreel.models.served.remote", 56, {"torch", "transformers", "prefect", "pyarrow"}),
        ("nightreel.stages.run", 238, {"torch", "transformers", "prefect", "decord", "av"}),
    ],
)
def test_a_module_loads_no_more_than_it_uses(module, most, absent):
    command = [sys.executable, "-c", LOADED.format(module=module)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    ours, *tops = done.stdout.split()
    assert int(ours) <= most
    assert not absent & set(tops)


def test_folders_that_must_not_be_packages_are_not():
    """docker/__init__.py would shadow a package that Prefect needs."""
    assert not [folder for folder in ("docker", "sql", "deployments") if (ROOT / folder / "__init__.py").exists()]


def test_file_sizes_are_reported(record_property):
    """Report long files; only twice the size fails. See the report with `pytest -rP -k file_sizes`."""
    large = {
        name: lines
        for name, path in modules().items()
        if (lines := len(path.read_text().splitlines())) > LINES[name.split(".")[0]]
    }
    for name, lines in sorted(large.items(), key=lambda item: -item[1]):
        print(f"{lines:5} {name}")
    record_property("files past their size", large)
    assert all(lines < 2 * LINES[name.split(".")[0]] for name, lines in large.items()), "twice the size is a fault"
