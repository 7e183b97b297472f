"""Fixtures for all tests live in tests/fixtures, one module a real part."""

import signal
from pathlib import Path

import hypothesis

_FIXTURES = Path(__file__).parent / "fixtures"
pytest_plugins = [f"fixtures.{path.stem}" for path in sorted(_FIXTURES.glob("*.py")) if path.stem != "__init__"]

# A job started in the background ignores SIGINT, and so would every command that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take long where the machine is busy; pytest's own limit ends a test that hangs.
hypothesis.settings.register_profile("nightreel", deadline=None)
hypothesis.settings.load_profile("nightreel")
