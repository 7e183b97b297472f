"""Run the examples in docstrings: people read them first, so they must be correct."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_with_examples() -> list[str]:
    paths = (path for path in sorted((ROOT / "nightreel").rglob("*.py")) if ">>>" in path.read_text())
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_are_correct(name):
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = doctest.testmod(importlib.import_module(name), optionflags=options)
    assert results.failed == 0
    assert results.attempted > 0
