"""Fixtures for all tests live in tests/fixtures, one module a real part."""

import gc
import signal
from pathlib import Path

import hypothesis
import pytest

# Whole runs first, short tests last: the workers then end together, and none is left with a long file.
_FIRST = ("chaos", "e2e", "security", "integration")
_FIXTURES = Path(__file__).parent / "fixtures"
pytest_plugins = [f"fixtures.{path.stem}" for path in sorted(_FIXTURES.glob("*.py")) if path.stem != "__init__"]

# A job started in the background ignores SIGINT, and so would every command that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take long where the machine is busy; pytest's own limit ends a test that hangs. Examples are the same
# in each run: a commit must not fail by chance. `--hypothesis-profile=random` looks for new ones.
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("fixed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(_FIRST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.removeprefix("tests/").partition("/")[0], len(ranks)))


def pytest_collection_finish() -> None:
    """The libraries that the fixtures imported stay: the garbage collector need not look at them in each test."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """At the end it looks at them: libraries made with nanobind print a list of what is left."""
    gc.unfreeze()
