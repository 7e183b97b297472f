"""Fixtures for all tests live in tests/fixtures, one module a real part."""

from pathlib import Path

_FIXTURES = Path(__file__).parent / "fixtures"
pytest_plugins = [f"fixtures.{path.stem}" for path in sorted(_FIXTURES.glob("*.py")) if path.stem != "__init__"]
