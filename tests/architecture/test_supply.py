"""Where packages come from: one set of versions, hashes for the images, and an answer to each finding of the linter."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())
_HASHED = ("docker/requirements.txt", "docker/requirements-build.txt", "docker/requirements-vllm.txt")
_LISTS = ("constraints.txt", *_HASHED)
_RUN_TIME = _PROJECT["project"]["dependencies"]
_EXTRAS = _PROJECT["project"]["optional-dependencies"]
_GROUPS = _PROJECT["dependency-groups"]


def _pins(name: str) -> dict[str, Requirement]:
    """The requirements of a file, by name."""
    text = (_ROOT / name).read_text().replace("\\\n", " ")
    lines = [line.partition(" --hash")[0].strip() for line in text.splitlines() if not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, filter(None, lines))}


def _version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} names no single version"
    return specifier.version


def _lacking(wanted: list[str], pins: dict[str, Requirement]) -> list[str]:
    """The requirements without a pin that satisfies them."""
    asked = [Requirement(one) for one in wanted]
    return [
        str(one)
        for one in asked
        if canonicalize_name(one.name) not in pins
        or not one.specifier.contains(_version(pins[canonicalize_name(one.name)]), prereleases=True)
    ]


def test_constraints_have_a_version_for_everything_that_the_project_names() -> None:
    optional = chain.from_iterable([*_EXTRAS.values(), *_GROUPS.values()])
    named = [*_RUN_TIME, *optional, *_PROJECT["build-system"]["requires"]]
    assert _lacking(named, _pins("constraints.txt")) == [], "run `make lock`"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (_HASHED[0], [*_RUN_TIME, *_EXTRAS["adapters"]]),
        (_HASHED[1], [*_GROUPS["image"], *_PROJECT["build-system"]["requires"]]),
    ],
)
def test_the_images_install_the_versions_of_the_constraints(name: str, wanted: list[str]) -> None:
    pins, constraints = _pins(name), _pins("constraints.txt")
    assert _lacking(wanted, pins) == [], "run `make lock`"
    differing = {package for package, pin in pins.items() if _version(pin) != _version(constraints[package])}
    assert not differing, "run `make lock`"


def test_the_images_install_what_their_packages_need() -> None:
    pins, lacking = _pins(_HASHED[0]), []
    for package in pins:
        try:
            needed = [Requirement(line) for line in requires(package) or ()]
        except PackageNotFoundError:
            continue  # of another system
        lacking += [
            f"{package} needs {one}"
            for one in needed
            if (one.marker is None or one.marker.evaluate({"extra": ""})) and canonicalize_name(one.name) not in pins
        ]
    assert lacking == [], "run `make lock`"


def test_the_tests_run_with_the_versions_of_the_constraints() -> None:
    differing = {}
    for package, pin in _pins("constraints.txt").items():
        try:
            found = version(package)
        except PackageNotFoundError:
            continue  # of another system, or only for `make lock`, `make audit` and the images
        if package not in ("pip", "setuptools") and found.partition("+")[0] != _version(pin):
            differing[package] = found
    assert differing == {}, "these are not the tested versions: run `make install`"


@pytest.mark.parametrize("name", _HASHED)
def test_every_package_of_the_images_has_hashes(name: str) -> None:
    text = (_ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 20
    assert [line for line in lines if not re.search(r" --hash=sha256:[0-9a-f]{64}\b", line)] == []


@pytest.mark.parametrize("name", _LISTS)
def test_the_lists_name_no_package_index(name: str) -> None:
    text = (_ROOT / name).read_text()
    assert "://" not in text
    assert re.findall(r"^\s*-(?!-hash=sha256:).*", text, re.MULTILINE) == []


def test_the_images_install_nothing_without_hashes_and_look_up_no_dependency() -> None:
    text = re.sub(r"\\\n", " ", (_ROOT / "docker" / "Dockerfile").read_text())
    commands = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) [^&\n]*", text)
    assert len(commands) == 13
    for command in commands:
        assert "--no-deps" in command
        assert "--require-hashes" in command or "--no-index" in command
        assert " wheel " not in command or "--no-build-isolation" in command, "pip would fetch the build backend"


def test_the_build_of_images_sees_only_named_files() -> None:
    lines = [line for line in (_ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {"**/.env", "**/.nightreel"} <= set(lines)
    assert not any("secrets" in line for line in lines)


_SKIPPED = {"S101", "S603"}


def test_every_exception_from_the_rules_for_security_has_a_reason() -> None:
    ignored = _PROJECT["tool"]["ruff"]["lint"]["ignore"]
    assert "S" in _PROJECT["tool"]["ruff"]["lint"]["select"]
    assert {rule for rule in ignored if rule.startswith("S") and rule[1:].isdigit()} == _SKIPPED
    answers = (_ROOT / "SECURITY.md").read_text()
    unanswered = {rule for rule in _SKIPPED if f"`{rule}`" not in answers}
    for folder in ("nightreel", "flows", "tasks", "docs", "docker"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            for rule, reason in re.findall(r"# noqa: (S\d+)(.*)", path.read_text()):
                assert re.match(r" - \w+", reason), f"{path}: noqa {rule} without a reason"
                if f"`{rule}`" not in answers:
                    unanswered.add(rule)
    assert unanswered == set()
